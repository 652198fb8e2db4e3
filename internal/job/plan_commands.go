package job

// What sft and reward keep in memory, phase by phase, and what the plans of all commands share. The roles follow
// SFT.start and startScorer; a network that is added there belongs here too.

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/trainers"
)

// PlanSFT predicts the memory of `salsa sft`.
func PlanSFT(_ context.Context, o *SFTOptions) (*Plan, error) {
	dir := o.Model + o.FromConfig
	p, cfg, enc, err := o.planFor("sft", dir)
	if err != nil {
		return nil, err
	}
	rows := lengths{most: int64(enc.MaxLength)}
	p.Rows = assumed("rows", enc.MaxLength)
	if o.Packing {
		p.Rows = fmt.Sprintf("packed rows of %d tokens", enc.MaxLength)
	} else if rows, err = longest(p, &o.Data, enc.MaxLength, enc.SFT, exampleSize); err != nil {
		return nil, err
	}
	p.learner("model", dir, cfg.Declared(), &o.LoRA, false)
	micro, parts := microBatch(&o.Common)
	p.phase("load", p.weights(), p.loadWork()...)
	x := rows.line(micro)
	p.learn(PlanItem{"activations", p.activations(cfg, x, o.GradientCheckpointing)},
		PlanItem{"log-probabilities", p.head(cfg, x.tokens, true) + o.spare(p, cfg, parts)})
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return &p.Plan, nil
}

// PlanReward predicts the memory of `salsa reward`.
func PlanReward(_ context.Context, o *RewardOptions) (*Plan, error) {
	p, cfg, enc, err := o.planFor("reward", o.Model)
	if err != nil {
		return nil, err
	}
	rows, err := longestSide(p, &o.Data, enc)
	if err != nil {
		return nil, err
	}
	p.learner("reward model", o.Model, cfg.DeclaredScorer(), &o.LoRA, false)
	micro, parts := microBatch(&o.Common)
	p.phase("load", p.weights(), p.loadWork()...)
	p.learn(PlanItem{"activations", p.activations(cfg, rows.line(2*micro), o.GradientCheckpointing) + o.spare(p, untied(cfg), parts)})
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return &p.Plan, nil
}

// planFor starts the plan of a command whose rows are encoded as the network of dir has them.
func (t *Training) planFor(command, dir string) (*planner, *models.Config, *data.Encoder, error) {
	cfg, err := models.ReadConfig(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := newPlanner(command, &t.Base)
	if err != nil {
		return nil, nil, nil, err
	}
	enc, err := t.encoder(dir, cfg)
	return p, cfg, enc, err
}

// untied is the config of a network whose head is no embedding: a scorer's.
func untied(c *models.Config) *models.Config {
	d := *c
	d.Tied, d.Scores = false, true
	return &d
}

// spare are the gradients of embeddings that exist beside their sum; adapters leave embeddings as they are.
func (t *Training) spare(p *planner, c *models.Config, parts int64) int64 {
	if t.LoRARank > 0 {
		return 0
	}
	return p.spareGradients(c, parts)
}

func assumed(what string, n int) string {
	return fmt.Sprintf("%s of %d tokens, the most that --max-length and the context allow", what, n)
}

// longest measures the rows of --data, or takes limit for all of them if no data is named; size is lengthsOf's.
func longest[T data.Example | data.Pair | data.Prompt](p *planner, d *Data, limit int, f func(*data.Row) (T, error), size func(T) (length int, cost float64)) (lengths, error) {
	if len(d.Data) == 0 {
		return lengths{most: int64(limit)}, nil
	}
	key := fmt.Sprint(reflect.TypeFor[T](), d.Data, limit)
	of, known := p.measured[key]
	if !known {
		rows, _, err := encoded(d, "rows", false, f)
		if err != nil {
			return lengths{}, err
		}
		of = lengthsOf(rows, size)
	}
	if p.measured != nil {
		p.measured[key] = of
	}
	if of.most == 0 {
		return of, fault.Inputf("%s: no row is left after encoding; check --max-length and --overlong", strings.Join(d.Data, ", "))
	}
	what, _, _ := strings.Cut(p.Rows, " ")
	p.Rows = fmt.Sprintf("%s of up to %d tokens, the longest of --data", what, of.most)
	return of, nil
}

// longestSide measures the completions of pairs, with their prompts, and says so in the plan's rows.
func longestSide(p *planner, d *Data, enc *data.Encoder) (lengths, error) {
	p.Rows = assumed("rows", enc.MaxLength)
	return longest(p, d, enc.MaxLength, enc.Pair, pairSize)
}

// microBatch returns how many sequences are computed at once and in how many parts a batch is.
func microBatch(c *trainers.Common) (size, parts int64) {
	size = int64(c.BatchSize)
	if c.MicroBatchSize > 0 {
		size = min(size, int64(c.MicroBatchSize))
	}
	return size, (int64(c.BatchSize) + size - 1) / size
}

// loadWork is what loading takes beside the weights: the file's pages where it is stored in another type. With a GPU
// they are the host's, of which a plan for a GPU says nothing.
func (p *planner) loadWork() []PlanItem {
	if !p.cpu {
		return nil
	}
	return []PlanItem{{"files", p.stored}}
}

// learn adds the phase of backward pass and optimizer step of all that learns.
func (p *planner) learn(working ...PlanItem) {
	p.update("learn", func(PlanRole) bool { return true }, working...)
}

// update adds a phase in which some of the roles learn. Activations go as gradients come, so the peak is at the beginning
// of the backward pass, for which working stands, or where all gradients are there and the optimizer steps.
func (p *planner) update(phase string, learns func(r PlanRole) bool, working ...PlanItem) {
	of := func(column func(r PlanRole) int64) int64 {
		return p.sum(func(r PlanRole) int64 {
			if !learns(r) {
				return 0
			}
			return column(r)
		})
	}
	gradients := of(func(r PlanRole) int64 { return r.Gradients })
	backward := sumOf(working)
	if step := gradients + of(p.optimizerWork); step > backward {
		working, backward = []PlanItem{{"gradients", gradients}, {"widened gradients", step - gradients}}, step
	}
	p.phase(phase, p.resident(), append(working, PlanItem{"allocator's holes", backward / holes})...)
}

// rewarders adds what a reward expression loads, every member of an ensemble by itself, and returns the configs.
func (p *planner) rewarders(role string, e rewardExpr) (configs []*models.Config, err error) {
	dirs := e.models.Dirs
	if !e.ensemble && len(dirs) > 1 {
		dirs = dirs[:1] // a soup in memory is one model
	}
	for _, dir := range dirs {
		cfg, err := models.ReadConfig(dir)
		if err != nil {
			return nil, err
		}
		p.network(role, dir, cfg.DeclaredScorer(), false)
		configs = append(configs, cfg)
	}
	return configs, nil
}

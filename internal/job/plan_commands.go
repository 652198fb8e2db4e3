package job

// What sft and reward keep in memory, phase by phase, and what the plans of all commands share. The roles follow
// SFT.start and startScorer; a network that is added there belongs here too.

import (
	"context"
	"fmt"
	"math"
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
	t := enc.MaxLength
	p.Rows = assumed("rows", t)
	if o.Packing {
		p.Rows = fmt.Sprintf("packed rows of %d tokens", t)
	} else if t, err = longest(p, &o.Data, t, enc.SFT, exampleSize); err != nil {
		return nil, err
	}
	p.learner("model", dir, cfg.Declared(), &o.LoRA, false)
	micro, parts := microBatch(&o.Common)
	p.phase("load", p.weights(), p.loadWork()...)
	p.learn(PlanItem{"activations", p.activations(cfg, micro, int64(t), o.GradientCheckpointing)},
		PlanItem{"log-probabilities", p.head(cfg, p.tokens(micro, int64(t)), true) + o.spare(p, cfg, parts)})
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return &p.Plan, nil
}

// PlanReward predicts the memory of `salsa reward`.
func PlanReward(_ context.Context, o *RewardOptions) (*Plan, error) {
	p, cfg, enc, err := o.planFor("reward", o.Model)
	if err != nil {
		return nil, err
	}
	t, err := longestSide(p, &o.Data, enc)
	if err != nil {
		return nil, err
	}
	p.learner("reward model", o.Model, cfg.DeclaredScorer(), &o.LoRA, false)
	micro, parts := microBatch(&o.Common)
	p.phase("load", p.weights(), p.loadWork()...)
	p.learn(PlanItem{"activations", p.activations(cfg, 2*micro, int64(t), o.GradientCheckpointing) + o.spare(p, untied(cfg), parts)})
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

// longest is the length of the longest row of --data, or limit if no data is named. It also notes what rows cost on the
// average; size gives a row's length, and how many tokens are computed for each of its sides.
func longest[T data.Example | data.Pair | data.Prompt](p *planner, d *Data, limit int, f func(*data.Row) (T, error), size func(T) (length int, cost float64)) (int, error) {
	if len(d.Data) == 0 {
		return limit, nil
	}
	rows, _, err := encoded(d, "rows", false, f)
	if err != nil {
		return 0, err
	}
	most, sum, squares, n := 0, 0.0, 0.0, float64(len(rows))
	for _, row := range rows {
		length, cost := size(row)
		most = max(most, length)
		sum, squares = sum+cost, squares+cost*cost
	}
	if most == 0 {
		return 0, fault.Inputf("%s: no row is left after encoding; check --max-length and --overlong", strings.Join(d.Data, ", "))
	}
	p.shorter, p.spread = float64(most)-sum/n, math.Sqrt(max(0, squares/n-sum/n*sum/n))
	what, _, _ := strings.Cut(p.Rows, " ")
	p.Rows = fmt.Sprintf("%s of up to %d tokens, the longest of --data", what, most)
	return most, nil
}

// longestSide is the length of the longest completion of a pair, with its prompt, and says so in the plan's rows.
func longestSide(p *planner, d *Data, enc *data.Encoder) (int, error) {
	p.Rows = assumed("rows", enc.MaxLength)
	return longest(p, d, enc.MaxLength, enc.Pair, pairSize)
}

func exampleSize(x data.Example) (int, float64) { return len(x.IDs), float64(len(x.IDs)) }

func promptSize(x data.Prompt) (int, float64) { return len(x.IDs), float64(len(x.IDs)) }

// pairSize counts what the sides of a pair begin with once.
func pairSize(x data.Pair) (int, float64) {
	a, b := x.Chosen.IDs, x.Rejected.IDs
	return max(len(a), len(b)), float64(models.LineTokens([][]int{a, b})) / 2
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
	backward := int64(0)
	for _, item := range working {
		backward += item.Bytes
	}
	if step := gradients + of(optimizerWork); step > backward {
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
	if !e.ensemble {
	}
	return configs, nil
}

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
	p.Rows = assumed("rows", enc.MaxLength)
	if o.Packing {
		p.Rows = fmt.Sprintf("packed rows of %d tokens", enc.MaxLength)
	}
	micro, parts := microBatch(&o.Common)
	x := lengths{most: int64(enc.MaxLength)}.line(micro)
	x.read = x.tokens
	b := alike(x, parts)
	if !o.Packing && len(o.Data.Data) > 0 {
		rows, err := namedRows(p, &o.Data, enc.MaxLength, enc.SFT, exampleSize)
		if err != nil {
			return nil, err
		}
		origin := func(x data.Example) *data.Row { return x.Row }
		if b, err = largestOf(o.MicroBatchSize, 0, false, streamOf(&o.Common, rows, origin, exampleUnit)); err != nil {
			return nil, err
		}
	}
	p.learner("model", dir, cfg.Declared(), &o.LoRA, false)
	p.phase("load", p.weights(), p.loadWork()...)
	p.learn(p.training(o.learns(p, "model", cfg, false), b))
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return &p.Plan, nil
}

// PlanReward predicts the memory of `salsa reward`.
func PlanReward(_ context.Context, o *RewardOptions) (*Plan, error) {
	p, cfg, enc, err := o.planFor("reward", o.Model)
	if err != nil {
		return nil, err
	}
	b, err := o.pairBatches(p, &o.Data, enc, &o.Common, rewardUnit)
	if err != nil {
		return nil, err
	}
	p.learner("reward model", o.Model, cfg.DeclaredScorer(), &o.LoRA, false)
	p.phase("load", p.weights(), p.loadWork()...)
	p.learn(p.training(o.learns(p, "reward model", cfg, true), b))
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return &p.Plan, nil
}

// pairBatches are the micro-batches of a run that learns from pairs, which its head reads as unit says.
func (t *Training) pairBatches(p *planner, d *Data, enc *data.Encoder, c *trainers.Common, unit func(data.Pair) unit) (batches, error) {
	p.Rows = assumed("rows", enc.MaxLength)
	if len(d.Data) == 0 {
		micro, parts := microBatch(c)
		return alike(anyPairs(int64(enc.MaxLength), micro, unit), parts), nil
	}
	pairs, err := namedRows(p, d, enc.MaxLength, enc.Pair, pairSize)
	if err != nil {
		return batches{}, err
	}
	return largestOf(c.MicroBatchSize, 0, false, streamOf(c, pairs, pairRowOf, unit))
}

// anyPairs are n pairs whose sides have most tokens each and share none, all of which may be read.
func anyPairs(most, n int64, unit func(data.Pair) unit) line {
	x := lengths{most: most}.line(2 * n)
	if x.read = x.tokens; unit(data.Pair{}).read > 0 { // at their ends
		x.read = 2 * n
	}
	return x
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
	p.readsTexts(dir)
	enc, err := t.encoder(dir, cfg)
	return p, cfg, enc, err
}

func assumed(what string, n int) string {
	return fmt.Sprintf("%s of %d tokens, the most that --max-length and the context allow", what, n)
}

// namedRows reads the rows of --data and says in the plan how long they are; size is lengthsOf's. Several plans of one run
// read them once.
func namedRows[T data.Example | data.Pair | data.Prompt](p *planner, d *Data, limit int, f func(*data.Row) (T, error), size func(T) (length int, cost float64)) ([]T, error) {
	key := fmt.Sprint(reflect.TypeFor[T](), d.Data, limit)
	rows, known := p.measured[key].([]T)
	if !known {
		var err error
		if rows, _, err = encoded(d, "rows", false, f); err != nil {
			return nil, err
		}
	}
	if p.measured != nil {
		p.measured[key] = rows
	}
	of := lengthsOf(rows, size)
	if of.most == 0 {
		return nil, fault.Inputf("%s: no row is left after encoding; check --max-length and --overlong", strings.Join(d.Data, ", "))
	}
	what, _, _ := strings.Cut(p.Rows, " ")
	p.Rows = fmt.Sprintf("%s of up to %d tokens, the longest of --data", what, of.most)
	return rows, nil
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

// learn adds the phase of backward pass and optimizer step of all that learns, given the backward pass's worst moment.
func (p *planner) learn(backward moment) {
	p.update("learn", func(PlanRole) bool { return true }, backward)
}

// update adds a phase in which some of the roles learn. The peak is in the backward pass, or where all gradients are there
// and the optimizer steps.
func (p *planner) update(phase string, learns func(r PlanRole) bool, backward moment) {
	of := func(column func(r PlanRole) int64) int64 {
		return p.sum(func(r PlanRole) int64 {
			if !learns(r) {
				return 0
			}
			return column(r)
		})
	}
	gradients := of(func(r PlanRole) int64 { return r.Gradients })
	step := moment{{"gradients", gradients}, {"widened gradients", of(p.optimizerWork)}}
	working := worst(backward, step)
	p.phase(phase, p.resident(), append(working, PlanItem{"allocator's holes", sumOf(working) / holes})...)
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

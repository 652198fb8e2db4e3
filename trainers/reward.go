package trainers

// Bradley–Terry reward models: a scalar head on the last token's hidden state, trained on preference pairs.

import (
	"context"
	"encoding/json"
	"slices"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// RewardOptions are the options of reward modelling.
type RewardOptions struct {
	Common `group:"Optimizer"`
	Margin float64 `yaml:"margin" help:"multiplies the pairs' own margins; 0: ignore them" check:">=0"`
	Centre float64 `yaml:"center_rewards_coefficient" help:"weight of (r_w+r_l)², which keeps rewards near 0" check:">=0"`
}

// DefaultReward returns the defaults of `salsa reward`.
func DefaultReward() RewardOptions {
	o := RewardOptions{Common: DefaultCommon()}
	o.LearningRate, o.Centre = 1e-5, 0.01
	return o
}

// Reward trains a scorer on pairs.
type Reward struct {
	opts  RewardOptions
	model *models.Scorer
	pairs []data.Pair
	eval  []data.Pair // held out; may be empty
	order data.Walk
	save  ScorerSaveFunc
}

// ScorerSaveFunc returns a scorer as the parts of a …ForSequenceClassification folder.
type ScorerSaveFunc func(s *models.Scorer) []checkpoint.Part

// NewReward makes the trainer.
func NewReward(m *models.Scorer, pairs, eval []data.Pair, opts RewardOptions, save ScorerSaveFunc) (*Reward, error) {
	if len(pairs) == 0 {
		return nil, fault.Inputf("no preference pairs are left after encoding; check --data and --max-length")
	}
	order, err := walkOver(&opts.Common, pairs, pairOrigin)
	if err != nil {
		return nil, err
	}
	return &Reward{opts: opts, model: m, pairs: pairs, eval: eval, save: save, order: order}, nil
}

// Params implements Trainer.
func (r *Reward) Params() []nn.Param { return prefixed("", r.model) }

// Steps implements Trainer.
func (r *Reward) Steps() int { return r.opts.StepCount(r.order.Len(), r.opts.BatchSize) }

// Step implements Trainer.
func (r *Reward) Step(ctx context.Context, u *Update) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	batch := pick(r.pairs, r.order.Next(r.opts.BatchSize))
	scalars, err := r.Update(u, batch)
	if err != nil {
		return Result{}, err
	}
	scalars["epoch"] = r.order.Epochs()
	return Result{Scalars: scalars, Tokens: pairTokens(batch)}, nil
}

// Update takes one optimizer step on the mean loss of batch.
func (r *Reward) Update(u *Update, batch []data.Pair) (map[string]float64, error) {
	batch = byLength(batch, func(p data.Pair) int { return max(len(p.Chosen.IDs), len(p.Rejected.IDs)) })
	parts := split(len(batch), r.opts.micro(len(batch)))
	var scores []pairScore
	u.holds(sidesOf(batch, func(p data.Pair) data.Pair { return p }))
	scalars, err := u.Do(len(parts), func(i int) (tensor.Tensor, Stats) {
		part := batch[parts[i][0]:parts[i][1]]
		chosen, rejected := r.scores(part) // [b] each
		scores = append(scores, hostScores(chosen, rejected)...)
		margins := make([]float32, len(part))
		for j, p := range part {
			margins[j] = float32(r.opts.Margin * p.Margin)
		}
		margin := tensor.Floats(margins, len(part)).OnDevice(chosen.Device())
		loss := BradleyTerry(chosen, rejected, margin, r.opts.Centre)
		return loss.Sum().DivScalar(float64(len(batch))), nil
	})
	if err != nil {
		return nil, err
	}
	for k, v := range summarise(scores) {
		scalars[k] = v
	}
	return scalars, nil
}

// scores reads the reward of both sides at their last token, in one forward pass: [b] fp32 each.
func (r *Reward) scores(pairs []data.Pair) (chosen, rejected tensor.Tensor) {
	rows := make([][]int, 0, 2*len(pairs))
	for _, p := range pairs {
		rows = append(rows, p.Chosen.IDs)
	}
	for _, p := range pairs {
		rows = append(rows, p.Rejected.IDs)
	}
	all := r.model.Rewards(models.Collate(rows)) // [2b]
	return all.Narrow(0, 0, len(pairs)), all.Narrow(0, len(pairs), len(pairs))
}

// pairScore is one pair's rewards on the host.
type pairScore struct{ chosen, rejected float64 }

func hostScores(chosen, rejected tensor.Tensor) []pairScore {
	w, l := chosen.Detach().Float64s(), rejected.Detach().Float64s()
	out := make([]pairScore, len(w))
	for i := range w {
		out[i] = pairScore{w[i], l[i]}
	}
	return out
}

// summarise returns TRL's reward metrics. Equal rewards do not count as correct.
func summarise(scores []pairScore) map[string]float64 {
	var all []float64
	accuracy, margin, sum := 0.0, 0.0, 0.0
	for _, s := range scores {
		if s.chosen > s.rejected {
			accuracy++
		}
		margin += s.chosen - s.rejected
		sum += s.chosen + s.rejected
		all = append(all, s.chosen, s.rejected)
	}
	n := float64(len(scores))
	return map[string]float64{"accuracy": accuracy / n, "margin": margin / n, "mean_reward": sum / (2 * n),
		"min_reward": slices.Min(all), "max_reward": slices.Max(all)}
}

// Finish implements Finisher: accuracy and margin on the held-out pairs.
func (r *Reward) Finish(ctx context.Context) (map[string]float64, error) {
	if len(r.eval) == 0 {
		return map[string]float64{}, nil
	}
	var scores []pairScore
	for _, part := range split(len(r.eval), r.opts.micro(r.opts.BatchSize)) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err := tensor.NoGrad(func() error {
			chosen, rejected := r.scores(r.eval[part[0]:part[1]])
			scores = append(scores, hostScores(chosen, rejected)...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	out := map[string]float64{}
	for k, v := range summarise(scores) {
		out["eval_"+k] = v
	}
	return out, nil
}

// State implements Trainer.
func (r *Reward) State() ([]byte, error) { return r.order.State() }

// Restore implements Trainer.
func (r *Reward) Restore(raw []byte) error { return r.order.Restore(json.RawMessage(raw)) }

// Parts implements Trainer.
func (r *Reward) Parts() ([]checkpoint.Part, error) { return keep(r.model, r.save) }

// Load implements Trainer.
func (r *Reward) Load(dir string) error { return loadInto(dir, r.model) }

func pairTokens(pairs []data.Pair) int {
	n := 0
	for _, p := range pairs {
		n += len(p.Chosen.IDs) + len(p.Rejected.IDs)
	}
	return n
}

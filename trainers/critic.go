package trainers

// The critic of PPO and its relatives: a value network, generalised advantages from its estimates, and its loss.

import (
	"context"
	"fmt"

	"salsa/internal/fault"
	"salsa/internal/profile"
	"salsa/models"
	"salsa/tensor"
)

// CriticOptions are the options of methods with a value network.
type CriticOptions struct {
	Gamma          float64 `yaml:"gamma" help:"discount" check:">=0,<=1"`
	Lambda         float64 `yaml:"lam" help:"λ of GAE" check:">=0,<=1"`
	VFCoef         float64 `yaml:"vf_coef" help:"weight of the value loss" check:">=0"`
	ClipRangeValue float64 `yaml:"cliprange_value" help:"clip range of the value" check:">0"`
	WhitenRewards  bool    `yaml:"whiten_rewards" help:"scale rewards to unit variance, mean kept"`
	WhitenAdv      bool    `yaml:"whiten_advantages" help:"scale advantages to mean 0, variance 1"`
	ScoreAt        string  `yaml:"score_at" enum:"eos,after_eos" help:"place of the score: the last token, or one after it (N+, TRL)"`
	CriticWarmup   int     `yaml:"critic_warmup" help:"steps at the start that train the value network alone" check:">=0"`
}

// DefaultCritic returns TRL's defaults.
func DefaultCritic() CriticOptions {
	return CriticOptions{Gamma: 1, Lambda: 0.95, VFCoef: 0.1, ClipRangeValue: 0.2, WhitenAdv: true, ScoreAt: "eos"}
}

// critic estimates the advantages of a run with a value network.
type critic struct {
	run *Online
	set *CriticOptions

	ahead tensor.Tensor // the values of samples that are to be learned from, with their graph: [P] fp32; absent if there is none
	of    []Sample      // whose they are
}

// extra tells whether a sample has a place after its last token for the score: only one that ended before the
// length limit has, as in TRL, where that place is the first one of padding.
func (c *critic) extra(s *Sample) bool {
	return c.set.ScoreAt == "after_eos" && s.Ended && len(s.Completion) < c.run.set.MaxNewTokens
}

// evaluate reads the values of samples. Where the first update takes all samples at once it computes them anew with the
// same weights; then it learns from this pass, whose graph is kept. Nothing but forward passes comes between.
func (c *critic) evaluate(ctx context.Context, samples []Sample) error {
	c.ahead = tensor.Tensor{} // a step that failed leaves one to its scope
	o := c.run.set
	if o.MiniBatches == 1 && o.micro(o.BatchSize) == len(samples) && !models.Recomputes(c.run.cast.Value) {
		return c.evaluateAhead(samples)
	}
	values, err := completionValues(ctx, c.run.cast.Value, samples, c.extra, o.micro(o.BatchSize))
	if err != nil {
		return fmt.Errorf("value network: %w", err)
	}
	for i := range samples {
		samples[i].Values = values[i]
	}
	return nil
}

// evaluateAhead is evaluate with a graph.
func (c *critic) evaluateAhead(samples []Sample) error {
	defer profile.Begin(profile.Values).End()
	c.of = samples
	err := tensor.Scope(func() error {
		values := valuesAt(c.run.cast.Value, samples, c.extra)
		for i, of := range bySample(values.Detach(), samples, c.extra) {
			samples[i].Values = of
		}
		c.ahead = values.Keep()
		return nil
	})
	if err != nil {
		return fmt.Errorf("value network: %w", err)
	}
	return nil
}

// lossAhead is the loss of the values that evaluateAhead kept.
func (c *critic) lossAhead(whole extent) (tensor.Tensor, Stats) {
	values := c.ahead
	defer values.Free()
	c.ahead = tensor.Tensor{}
	return c.lossOf(values, c.of, whole)
}

// warm tells whether the policy learns too by now.
func (c *critic) warm() bool { return c.run.step > c.set.CriticWarmup }

// loss is a micro-batch's share of VFCoef times the value loss, which is averaged over places.
func (c *critic) loss(part []Sample, whole extent) (tensor.Tensor, Stats) {
	return c.lossOf(valuesAt(c.run.cast.Value, part, c.extra), part, whole)
}

// lossOf is loss with the values of part, [P].
func (c *critic) lossOf(values tensor.Tensor, part []Sample, whole extent) (tensor.Tensor, Stats) {
	old := flatten(part, values.Device(), func(s *Sample) []float64 { return s.Values })
	returns := flatten(part, values.Device(), func(s *Sample) []float64 { return s.Returns })
	vf, over := ClippedValue(values, old, returns, c.set.ClipRangeValue)
	perPlace := 1 / float64(whole.places)
	value := vf.Sum().MulScalar(perPlace)
	return value.MulScalar(c.set.VFCoef), Stats{"loss/value_avg": value, "val/clipfrac_avg": over.Sum().MulScalar(perPlace)}
}

// shaping says how scores and KL become the rewards of tokens.
type shaping struct {
	beta      float64 // weight of the KL penalty
	estimator string  // of the KL: k1, k2 or k3
	extra     func(*Sample) bool
}

// advantages fills KL, Rewards, Advantages and Returns of samples that have scores, log-probs and values:
// per-token KL in the reward, score at the end, optional reward whitening, GAE, returns from the advantages
// before they are whitened. Places after the EOS take part in GAE and returns but not in the whitening of
// advantages, since no token was chosen there.
func (o *CriticOptions) advantages(samples []Sample, by shaping) error {
	rewards := make([][]float64, len(samples))
	for i := range samples {
		s := &samples[i]
		kl, err := KLPenalty(by.estimator, s.LogProbs, s.RefLogProbs)
		if err != nil {
			return fault.Inputf("kl_estimator: %w", err)
		}
		s.KL = kl
		s.Rewards = TokenRewards(kl, by.beta, s.Score, by.extra(s))
		rewards[i] = s.Rewards
	}
	if o.WhitenRewards {
		Whiten(rewards, false)
	}
	chosen := make([][]float64, len(samples))
	for i := range samples {
		s := &samples[i]
		s.Advantages, s.Returns = GAE(s.Rewards, s.Values, o.Gamma, o.Lambda)
		chosen[i] = s.Advantages[:len(s.Completion)]
	}
	if o.WhitenAdv {
		Whiten(chosen, true)
	}
	return nil
}

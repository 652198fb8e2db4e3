package trainers

// Inverse-Q*: token-level credit without a reward model, a critic or preference labels (Xia et al., arXiv 2408.14874).
// A guide stands for the optimal policy; by the identities of the token-level decision process (Rafailov et al., arXiv
// 2404.12358) its log-ratio to the reference is each token's advantage. The paper's exact objective is not public where
// we could read it: what stands here is a reconstruction from those identities (METHODS.md §13).

import (
	"context"
	"fmt"
	"math"
	"slices"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/tensor"
)

// InverseQOptions are the options of Inverse-Q*.
type InverseQOptions struct {
	OnlineOptions
	Beta       float64 `yaml:"beta" help:"scale β of the credit" check:">0"`
	PolicyStep string  `yaml:"policy_step" enum:"clip,regression" help:"clip: PPO's clipped step on the credit; regression: squared distance of β times the log-ratio to it"`
	ClipRange  float64 `yaml:"cliprange" help:"clip: clip range ε of the ratio" check:">0"`
	KLCoef     float64 `yaml:"kl_coef" help:"clip: weight of log π - log π_ref taken off a token's credit; at β the guide is where the policy comes to rest, at 0 nothing holds it" check:">=0"`
	CreditClip float64 `yaml:"credit_clip" help:"limit a token's credit to ± this, since rare tokens have huge log-ratios; 0: no limit" check:">=0"`
}

// DefaultInverseQ returns our defaults; the paper's were not found. The regression is bounded below and rests where the
// policy is the guide. The clipped step on bare credit does not: the optimum of ΣA_t alone is whatever the guide prefers
// most strongly, so the KL that the identities assume has to come off the credit.
func DefaultInverseQ() InverseQOptions {
	o := InverseQOptions{OnlineOptions: DefaultOnline(), Beta: 0.5, PolicyStep: "regression", ClipRange: 0.2, KLCoef: 0.5, CreditClip: 2}
	o.PPOEpochs, o.LearningRate, o.Temperature = 2, 1e-6, 1
	return o
}

// Validate checks what the tags cannot.
func (o *InverseQOptions) Validate() error {
	if o.MKL {
		return fault.Inputf("mkl: credit is measured from one reference; leave mkl out, the members are then averaged")
	}
	return o.OnlineOptions.Validate()
}

// Guide is the estimate π̂* of the optimal policy. It shares the policy's tokenizer; its prompt may be longer than the
// policy's, and the completion's tokens are the same.
type Guide struct {
	Model  models.Model
	Prompt func(p data.Prompt) data.Prompt // the prompt as the guide sees it; nil: as the policy does
}

// InverseQ is the trainer.
type InverseQ struct {
	Online
	plain
	opts  InverseQOptions
	guide Guide
}

// NewInverseQ makes the trainer; cast needs neither value network nor reward model, and a reward model that is given
// is logged and never learned from. save writes the policy into a folder; log may be nil.
func NewInverseQ(cast Cast, guide Guide, prompts []data.Prompt, opts InverseQOptions, log *SampleLog, save PartsFunc) (*InverseQ, error) {
	q := &InverseQ{opts: opts, guide: guide}
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	var err error
	q.Online, err = newOnline(q, cast, prompts, &q.opts.OnlineOptions, log, save)
	return q, err
}

func (q *InverseQ) beta() float64 { return q.opts.Beta }

func (q *InverseQ) credit(ctx context.Context, samples []Sample, clock *stopwatch) error {
	seen := make([]Sample, len(samples)) // as the guide sees them
	for i := range samples {
		seen[i] = Sample{Prompt: samples[i].Prompt, Completion: samples[i].Completion}
		if q.guide.Prompt != nil {
			seen[i].Prompt = q.guide.Prompt(samples[i].Prompt)
		}
	}
	best, err := completionLogProbs(ctx, q.guide.Model, seen, q.set.Temperature, q.set.micro(q.set.BatchSize))
	if err != nil {
		return fmt.Errorf("guide: %w", err)
	}
	clock.lap("guide")
	for i := range samples {
		s := &samples[i]
		s.Rewards = TokenCredit(best[i], s.RefLogProbs, q.opts.Beta, q.opts.CreditClip) // with values of 0: see CreditRewards
		s.Advantages = slices.Clone(s.Rewards)
		if q.opts.PolicyStep == "clip" {
			for t, k := range s.KL {
				s.Advantages[t] -= q.opts.KLCoef * k
			}
		}
	}
	return nil
}

func (q *InverseQ) loss(f forward) (tensor.Tensor, Stats) {
	credit := f.advantages()
	stats := Stats{"credit/mean": f.perToken(credit), "credit/abs": f.perToken(credit.Abs())}
	if q.opts.PolicyStep == "regression" {
		ref := f.of(func(s *Sample) []float64 { return s.RefLogProbs })
		loss := f.perToken(CreditRegression(f.now, ref, credit, q.opts.Beta))
		stats["loss/policy_avg"] = loss
		stats["val/ratio"] = f.perToken(f.now.Sub(f.old).Clamp(-maxLogRatio, maxLogRatio).Exp())
		return loss, stats
	}
	pg, ratio, clipped := ClippedPolicy(f.now, f.old, credit, q.opts.ClipRange)
	loss := f.perToken(pg)
	stats["loss/policy_avg"], stats["policy/clipfrac_avg"], stats["val/ratio"] = loss, f.perToken(clipped), f.perToken(ratio)
	return loss, stats
}

// TokenCredit is A_t = β(log π̂*(a_t|s_t) - log π_ref(a_t|s_t)), limited to ± limit if that is above 0 (arXiv
// 2404.12358, eq. 7, for the advantage of the optimal policy).
func TokenCredit(best, ref []float64, beta, limit float64) []float64 {
	credit := make([]float64, len(best))
	for t := range best {
		credit[t] = beta * (best[t] - ref[t])
		if limit > 0 {
			credit[t] = math.Max(-limit, math.Min(limit, credit[t]))
		}
	}
	return credit
}

// CreditRewards are the rewards r_t = A_t + V_t - V_{t+1} that explain credit under values V, with V after the end 0:
// whatever V is, they add up to ΣA_t + V_0.
func CreditRewards(credit, values []float64) []float64 {
	rewards := make([]float64, len(credit))
	for t := range credit {
		rewards[t] = credit[t] + values[t]
		if t+1 < len(values) {
			rewards[t] -= values[t+1]
		}
	}
	return rewards
}

// CreditRegression is (β(log π - log π_ref) - A)² per token, all [N] fp32; it is 0 where the policy is the guide.
func CreditRegression(now, ref, credit tensor.Tensor, beta float64) tensor.Tensor {
	return now.Sub(ref).MulScalar(beta).Sub(credit).Square()
}

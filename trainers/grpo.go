package trainers

// GRPO: group-relative policy optimisation (Shao et al., arXiv 2402.03300) with the aggregations of DAPO (arXiv
// 2503.14476) and Dr. GRPO (arXiv 2503.20783). A completion's advantage is its score relative to those of its prompt's
// other completions; the KL is a term of the loss, not of the reward.

import (
	"context"
	"slices"

	"salsa/data"
	"salsa/tensor"
)

// GRPOOptions are the options of GRPO; the defaults are TRL's.
type GRPOOptions struct {
	OnlineOptions
	GroupOptions
	KLCoef       float64 `yaml:"kl_coef" help:"weight β of k3 to the reference in the loss" check:">=0"`
	ClipRange    float64 `yaml:"cliprange" help:"clip range ε of the ratio of tokens" check:">0"`
	ScaleRewards bool    `yaml:"scale_rewards" help:"divide a group's advantages by the deviation of its scores"`
	Aggregation  string  `yaml:"loss_type" enum:"grpo,dapo,dr_grpo" help:"mean of the token losses: of each completion and then over completions, over all tokens, or over completions of full length"`
}

// DefaultGRPO returns TRL's defaults (METHODS.md §3).
func DefaultGRPO() GRPOOptions {
	o := GRPOOptions{OnlineOptions: DefaultOnline(), GroupOptions: GroupOptions{8}, ClipRange: 0.2, ScaleRewards: true, Aggregation: "dapo"}
	o.PPOEpochs, o.LearningRate = 1, 1e-6
	return o
}

// Validate checks what the tags cannot.
func (o *GRPOOptions) Validate() error { return o.validGroups(o.NumGenerations, "num-generations") }

// GRPO is the trainer.
type GRPO struct {
	Online
	plain
	opts GRPOOptions
}

// NewGRPO makes the trainer; cast needs no value network. save writes the policy into a folder; log may be nil.
func NewGRPO(cast Cast, prompts []data.Prompt, opts GRPOOptions, log *SampleLog, save PartsFunc) (*GRPO, error) {
	g := &GRPO{opts: opts}
	var err error
	g.Online, err = newOnline(g, cast, prompts, &g.opts.OnlineOptions, log, save)
	return g, err
}

func (g *GRPO) group() int    { return g.opts.NumGenerations }
func (g *GRPO) beta() float64 { return g.opts.KLCoef }

func (g *GRPO) credit(_ context.Context, samples []Sample, _ *stopwatch) error {
	n := g.opts.NumGenerations
	for from := 0; from < len(samples); from += n {
		group := samples[from : from+n]
		scores := make([]float64, n)
		for i := range group {
			scores[i] = group[i].Score
		}
		GroupAdvantages(scores, g.opts.ScaleRewards)
		for i := range group {
			group[i].Advantages = slices.Repeat(scores[i:i+1], len(group[i].Completion))
		}
	}
	return nil
}

// GroupAdvantages turns the scores of one group into its advantages in place: r - mean, divided by the deviation (of a
// sample, n-1) plus 1e-4 if scale is set.
func GroupAdvantages(scores []float64, scale bool) {
	if scale {
		normalize(scores)
		return
	}
	mean, _ := moments([][]float64{scores})
	for i := range scores {
		scores[i] -= mean
	}
}

func (g *GRPO) loss(f forward) (tensor.Tensor, Stats) {
	weight := f.of(func(s *Sample) []float64 {
		return slices.Repeat([]float64{g.weight(len(s.Completion), f.whole)}, len(s.Completion))
	}) // [N]
	pg, ratio, clipped := ClippedPolicy(f.now, f.old, f.advantages(), g.opts.ClipRange)
	loss := pg.Mul(weight).Sum()
	stats := Stats{"loss/policy_avg": loss, "policy/clipfrac_avg": f.perToken(clipped), "val/ratio": f.perToken(ratio)}
	if g.opts.KLCoef > 0 {
		kl := K3(f.now, f.of(func(s *Sample) []float64 { return s.RefLogProbs }))
		loss = loss.Add(kl.Mul(weight).Sum().MulScalar(g.opts.KLCoef))
		stats["loss/kl_avg"] = f.perToken(kl)
	}
	return loss, stats
}

// weight is a token's share in the loss; tokens is the length of its completion.
func (g *GRPO) weight(tokens int, whole extent) float64 {
	switch g.opts.Aggregation {
	case "grpo":
		return 1 / float64(tokens*whole.sequences)
	case "dr_grpo":
		return 1 / float64(g.opts.MaxNewTokens*whole.sequences)
	default:
		return 1 / float64(whole.tokens)
	}
}

// K3 is the estimate e^-d - 1 + d of the KL per token, d = now - ref: unbiased, never negative, and differentiable
// (Schulman, "Approximating KL divergence"). All [N] fp32.
func K3(now, ref tensor.Tensor) tensor.Tensor {
	d := now.Sub(ref).Clamp(-maxLogRatio, maxLogRatio)
	return d.Neg().Expm1().Add(d)
}

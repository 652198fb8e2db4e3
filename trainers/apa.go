package trainers

// APA: advantage-induced policy alignment (Zhu et al., arXiv 2306.02231), and advantage-weighted regression (Peng et
// al., arXiv 1910.00177) as its baseline. Both regress the policy on advantages from a critic; there is no ratio, no
// clipping and no KL in the reward. The reference stands for the start policy π_init.

import (
	"context"
	"math"

	"salsa/data"
	"salsa/tensor"
)

// APAOptions are the options of APA and AWR; the defaults are the published ones (METHODS.md §9).
type APAOptions struct {
	OnlineOptions
	Loss          string  `yaml:"loss" enum:"apa,awr" help:"apa: squared distance of the log-ratio to the advantage; awr: likelihood weighted by the exponential of the advantage"`
	Lambda        float64 `yaml:"temperature_lambda" help:"λ that advantages are divided by: the smaller, the bolder" check:">0"`
	MaxWeight     float64 `yaml:"max_weight" help:"awr: largest weight of a token" check:">0"`
	CriticOptions `group:"Critic"`
}

// DefaultAPA returns the published settings; the official code's 1/λ is 10 for APA.
func DefaultAPA() APAOptions {
	o := APAOptions{OnlineOptions: DefaultOnline(), CriticOptions: DefaultCritic(), Loss: "apa", Lambda: 0.1, MaxWeight: 20}
	o.PPOEpochs, o.LearningRate, o.VFCoef, o.Temperature = 2, 1e-6, 1, 1
	o.ClipRangeValue = 1e6 // a plain squared error
	return o
}

// Unread tells why a key's value changes nothing beside the others, as options.Selective has it.
func (o *APAOptions) Unread(key string) string {
	if key == "max_weight" && o.Loss != "awr" {
		return "is not read by --loss apa, which weighs nothing; leave it out, or choose --loss awr"
	}
	return o.OnlineOptions.Unread(key)
}

// APA is the trainer of both.
type APA struct {
	Online
	plain
	opts   APAOptions
	critic critic
}

// NewAPA makes the trainer. save writes policy and value network into a folder; log may be nil.
func NewAPA(cast Cast, prompts []data.Prompt, opts APAOptions, log *SampleLog, save PartsFunc) (*APA, error) {
	a := &APA{opts: opts}
	var err error
	a.critic = critic{run: &a.Online, set: &a.opts.CriticOptions}
	a.Online, err = newOnline(a, cast, prompts, &a.opts.OnlineOptions, log, save)
	return a, err
}

func (a *APA) beta() float64 { return 0 }

func (a *APA) credit(ctx context.Context, samples []Sample, clock *stopwatch) error {
	if err := a.critic.evaluate(ctx, samples); err != nil {
		return err
	}
	clock.lap("values")
	return a.opts.advantages(samples, shaping{0, "k1", a.critic.extra})
}

func (a *APA) estimator() *critic { return &a.critic }

func (a *APA) loss(f forward) (tensor.Tensor, Stats) {
	adv := f.advantages()
	var token tensor.Tensor // [N]
	if a.opts.Loss == "awr" {
		token = AWRLoss(f.now, adv, a.opts.Lambda, a.opts.MaxWeight)
	} else {
		token = APALoss(f.now, f.of(func(s *Sample) []float64 { return s.RefLogProbs }), adv, a.opts.Lambda)
	}
	policy := f.perToken(token)
	return policy, Stats{"loss/policy_avg": policy, "val/ratio": f.perToken(f.now.Sub(f.old).Clamp(-maxLogRatio, maxLogRatio).Exp())}
}

// APALoss is (log π - log π_init - Â/λ)² per token (arXiv 2306.02231, eq. 7): its minimum is π_init·exp(Â/λ) with a
// normaliser taken as 1. All [N] fp32.
func APALoss(now, init, adv tensor.Tensor, lambda float64) tensor.Tensor {
	return now.Sub(init).Sub(adv.DivScalar(lambda)).Square()
}

// AWRLoss is -log π·min(exp(Â/λ), limit) per token (arXiv 1910.00177, eq. 9). All [N] fp32.
func AWRLoss(now, adv tensor.Tensor, lambda, limit float64) tensor.Tensor {
	weight := adv.DivScalar(lambda).ClampMax(math.Log(limit)).Exp()
	return now.Neg().Mul(weight)
}

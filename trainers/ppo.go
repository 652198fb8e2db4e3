package trainers

// PPO for RLHF (Schulman et al., arXiv 1707.06347; Ziegler et al., arXiv 1909.08593; Ouyang et al., arXiv
// 2203.02155), with the details of summarize_from_feedback. The KL reference is any frozen model: with the
// average of two SFT checkpoints as reference this is SALSA (Chegini et al., arXiv 2411.01798).

import (
	"context"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/tensor"
)

// PPOOptions are the options of PPO; the defaults are TRL's.
type PPOOptions struct {
	OnlineOptions
	KLCoef        float64 `yaml:"kl_coef" help:"weight β of the KL penalty in the reward" check:">=0"`
	KLEstimator   string  `yaml:"kl_estimator" enum:"k1,k2,k3" help:"estimator of the KL per token"`
	KLTarget      float64 `yaml:"kl_target" help:"adapt β towards this KL per sequence; 0: β stays" check:">=0" unit:"nats"`
	KLHorizon     float64 `yaml:"kl_horizon" help:"episodes over which β adapts" check:">0"`
	ClipRange     float64 `yaml:"cliprange" help:"clip range ε of the ratio" check:">0"`
	EntropyCoef   float64 `yaml:"entropy_coef" help:"weight of the entropy bonus" check:">=0"`
	CriticOptions `group:"Critic"`
}

// DefaultPPO returns TRL's defaults (METHODS.md §2 says where they come from).
func DefaultPPO() PPOOptions {
	return PPOOptions{OnlineOptions: DefaultOnline(), CriticOptions: DefaultCritic(),
		KLCoef: 0.05, KLEstimator: "k1", KLHorizon: 10000, ClipRange: 0.2}
}

// PPO is the trainer.
type PPO struct {
	Online
	plain
	opts   PPOOptions
	critic critic
	kl     *KLController
}

// Validate checks what the tags cannot.
func (o *PPOOptions) Validate() error {
	if o.MKL && o.KLEstimator != "k1" {
		return fault.Inputf("kl_estimator %s: of several references only k1 is the mean of the members' estimates; use k1 with mkl", o.KLEstimator)
	}
	return o.OnlineOptions.Validate()
}

// NewPPO makes the trainer. save writes policy and value network into a folder; log may be nil.
func NewPPO(cast Cast, prompts []data.Prompt, opts PPOOptions, log *SampleLog, save PartsFunc) (*PPO, error) {
	p := &PPO{opts: opts, kl: NewKLController(opts.KLCoef, opts.KLTarget, opts.KLHorizon)}
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	var err error
	p.critic = critic{run: &p.Online, set: &p.opts.CriticOptions}
	p.Online, err = newOnline(p, cast, prompts, &p.opts.OnlineOptions, log, save)
	return p, err
}

func (p *PPO) beta() float64 { return p.kl.Beta }

func (p *PPO) credit(ctx context.Context, samples []Sample, clock *stopwatch) error {
	if err := p.critic.evaluate(ctx, samples); err != nil {
		return err
	}
	clock.lap("values")
	return p.opts.advantages(samples, shaping{p.kl.Beta, p.opts.KLEstimator, p.critic.extra})
}

func (p *PPO) estimator() *critic { return &p.critic }

// loss is policy - c_e·entropy, both averaged over tokens; the critic adds c_v·value.
func (p *PPO) loss(f forward) (tensor.Tensor, Stats) {
	pg, ratio, clipped := ClippedPolicy(f.now, f.old, f.advantages(), p.opts.ClipRange)
	policy := f.perToken(pg)
	loss := policy
	if p.opts.EntropyCoef > 0 {
		loss = loss.Sub(f.perToken(f.entropy).MulScalar(p.opts.EntropyCoef))
	}
	return loss, Stats{"loss/policy_avg": policy, "policy/clipfrac_avg": f.perToken(clipped), "val/ratio": f.perToken(ratio)}
}

func (p *PPO) taken(samples []Sample, scalars map[string]float64) error {
	scalars["kl_coef"] = p.kl.Beta
	p.kl.Update(meanSequenceKL(samples), len(samples))
	return nil
}

func (p *PPO) memory() any { return p.kl } // target and horizon come from the options

package trainers

// RLOO: REINFORCE with a leave-one-out baseline (Ahmadian et al., arXiv 2402.14740). A prompt gets several completions,
// each is judged against the mean of the others, and a completion is one action: no critic.

import (
	"context"
	"math"
	"slices"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/tensor"
)

// GroupOptions are the options of methods that compare the completions of a prompt with one another.
type GroupOptions struct {
	NumGenerations int `yaml:"num_generations" help:"completions of each prompt; --batch-size counts completions, so it is a multiple of this" check:">=2"`
}

// RLOOOptions are the options of RLOO; the defaults are TRL's.
type RLOOOptions struct {
	OnlineOptions
	GroupOptions
	KLCoef       float64 `yaml:"kl_coef" help:"weight β of the KL penalty, which is part of a completion's reward" check:">=0"`
	ClipRange    float64 `yaml:"cliprange" help:"clip range ε of the ratio of whole completions" check:">0"`
	NormalizeAdv bool    `yaml:"normalize_advantages" help:"scale the advantages of a batch to mean 0, deviation 1"`
}

// DefaultRLOO returns TRL's defaults (METHODS.md §3) with one pass over each batch, as the method's paper has it.
func DefaultRLOO() RLOOOptions {
	o := RLOOOptions{OnlineOptions: DefaultOnline(), GroupOptions: GroupOptions{2}, KLCoef: 0.05, ClipRange: 0.2}
	o.PPOEpochs, o.LearningRate = 1, 1e-6
	return o
}

// Validate checks what the tags cannot.
func (o *RLOOOptions) Validate() error { return o.validGroups(o.NumGenerations, "num-generations") }

// RLOO is the trainer.
type RLOO struct {
	Online
	plain
	opts RLOOOptions
}

// NewRLOO makes the trainer; cast needs no value network. save writes the policy into a folder; log may be nil.
func NewRLOO(cast Cast, prompts []data.Prompt, opts RLOOOptions, log *SampleLog, save PartsFunc) (*RLOO, error) {
	r := &RLOO{opts: opts}
	var err error
	r.Online, err = newOnline(r, cast, prompts, &r.opts.OnlineOptions, log, save)
	return r, err
}

func (r *RLOO) group() int    { return r.opts.NumGenerations }
func (r *RLOO) beta() float64 { return r.opts.KLCoef }

func (r *RLOO) tokenwise() bool { return false } // a ratio is of a whole completion

func (r *RLOO) credit(_ context.Context, samples []Sample, _ *stopwatch) error {
	rewards := make([]float64, len(samples))
	for i := range samples {
		s := &samples[i]
		rewards[i] = s.Score - r.opts.KLCoef*total(s.KL)
	}
	adv, err := LeaveOneOut(rewards, r.opts.NumGenerations)
	if err != nil {
		return err
	}
	if r.opts.NormalizeAdv {
		normalize(adv)
	}
	for i := range samples {
		samples[i].Advantages = slices.Repeat(adv[i:i+1], len(samples[i].Completion))
	}
	return nil
}

func (r *RLOO) loss(f forward) (tensor.Tensor, Stats) {
	b := len(f.part)
	now, old := f.at.SumRows(f.now, b), f.at.SumRows(f.old, b)                                    // [b] of whole completions
	adv := flatten(f.part, f.now.Device(), func(s *Sample) []float64 { return s.Advantages[:1] }) // [b]
	pg, ratio, clipped := ClippedPolicy(now, old, adv, r.opts.ClipRange)
	perSequence := func(x tensor.Tensor) tensor.Tensor { return x.Sum().MulScalar(1 / float64(f.whole.sequences)) }
	loss := perSequence(pg)
	return loss, Stats{"loss/policy_avg": loss, "policy/clipfrac_avg": perSequence(clipped), "val/ratio": perSequence(ratio)}
}

// LeaveOneOut returns A_i = R_i - mean of the other rewards of i's group; groups of n lie side by side. n must be at
// least 2 and divide the number of rewards.
func LeaveOneOut(rewards []float64, n int) ([]float64, error) {
	if n < 2 || len(rewards)%n != 0 {
		return nil, fault.Inputf("%d rewards do not make groups of %d: a completion needs others of its prompt to be judged against; set num_generations to 2 or more", len(rewards), n)
	}
	out := make([]float64, len(rewards))
	for from := 0; from < len(rewards); from += n {
		group := rewards[from : from+n]
		mean, _ := moments([][]float64{group})
		for i, r := range group {
			out[from+i] = float64(n) / float64(n-1) * (r - mean)
		}
	}
	return out, nil
}

// normalize scales values to mean 0 and the deviation of a sample (n-1) 1, plus 1e-4.
func normalize(xs []float64) {
	mean, variance := moments([][]float64{xs})
	n := float64(len(xs))
	std := math.Sqrt(variance * n / math.Max(n-1, 1))
	for i := range xs {
		xs[i] = (xs[i] - mean) / (std + 1e-4)
	}
}

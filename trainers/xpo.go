package trainers

// XPO: exploratory preference optimisation (Xie et al., arXiv 2405.21046), and online DPO (Guo et al., arXiv
// 2402.04792) as its case α = 0. Every prompt is answered twice, the reward model ranks the two answers, and the policy
// takes a step on the pair. XPO's second answer comes from the reference, and its likelihood is pushed down: what the
// reference would say anyway is explored least.

import (
	"context"
	"fmt"
	"math"
	"slices"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/tensor"
)

// XPOOptions are the options of XPO; the defaults are TRL's (METHODS.md §10).
type XPOOptions struct {
	OnlineOptions
	Beta     float64 `yaml:"beta" help:"strength β of the pull to the reference; τ of ipo"`
	Alpha    float64 `yaml:"alpha" help:"weight α of the exploration bonus, log π of the reference's answers; 0 is online DPO" check:">=0"`
	Loss     string  `yaml:"loss" enum:"sigmoid,ipo" help:"pairwise loss"`
	PairWith string  `yaml:"pair_with" enum:"reference,policy" help:"who gives a prompt's second answer; policy is online DPO's usual form, which has no bonus"`
}

// DefaultXPO returns TRL's defaults.
func DefaultXPO() XPOOptions {
	o := XPOOptions{OnlineOptions: DefaultOnline(), Beta: 0.1, Alpha: 1e-5, Loss: "sigmoid", PairWith: "reference"}
	o.PPOEpochs, o.LearningRate, o.Temperature = 1, 5e-7, 0.9
	return o
}

// Validate checks what the tags cannot.
func (o *XPOOptions) Validate() error {
	if !(o.Beta > 0) || math.IsInf(o.Beta, 0) {
		return fault.Inputf("beta %g: at 0 the loss teaches nothing and below it the wrong side; use a positive --beta, 0.1 is usual", o.Beta)
	}
	if o.Alpha > 0 && o.PairWith == "policy" {
		return fault.Inputf("alpha %g: the exploration bonus is of the reference's answers, and with --pair-with policy there are none; use --alpha 0, or --pair-with reference", o.Alpha)
	}
	if o.TargetKL > 0 {
		return fault.Inputf("target_kl %g: a pairwise loss has no ratio to stop at; leave --target-kl at 0", o.TargetKL)
	}
	if o.MKL {
		return fault.Inputf("mkl: a pairwise loss compares the policy with one reference; leave mkl out, the members are then averaged")
	}
	return o.validGroups(2, "")
}

// XPO is the trainer.
type XPO struct {
	Online
	plain
	opts XPOOptions
}

// NewXPO makes the trainer; cast needs no value network. save writes the policy into a folder; log may be nil.
func NewXPO(cast Cast, prompts []data.Prompt, opts XPOOptions, log *SampleLog, save PartsFunc) (*XPO, error) {
	x := &XPO{opts: opts}
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	var err error
	x.Online, err = newOnline(x, cast, prompts, &x.opts.OnlineOptions, log, save)
	return x, err
}

func (x *XPO) group() int    { return 2 }
func (x *XPO) beta() float64 { return x.opts.Beta }

// secondStream keeps the streams of the reference's answers apart from the policy's.
const secondStream = 0x7365636f

// Step implements Trainer: answer twice, rank, and learn from the pairs.
func (x *XPO) Step(ctx context.Context, u *Update) (Result, error) {
	clock := newStopwatch()
	samples, err := x.answers(ctx)
	if err != nil {
		return Result{}, err
	}
	clock.lap("gen")
	if err := x.judge(ctx, samples, clock); err != nil {
		return Result{}, err
	}
	own := slices.DeleteFunc(slices.Clone(samples), func(s Sample) bool { return s.Source != "" })
	scalars, err := x.describe(ctx, own)
	if err != nil {
		return Result{}, err
	}
	clock.lap("watch")
	duels := rank(samples)
	x.step++ // weights move from here on: ctx is not looked at any more
	learned, err := x.learn(u, duels)
	if err != nil {
		return Result{}, err
	}
	clock.lap("update")
	x.compare(samples, scalars)
	return x.finish(samples, scalars, learned, clock)
}

// answers draws both answers to each prompt of the next batch; they lie side by side, the policy's first.
func (x *XPO) answers(ctx context.Context) ([]Sample, error) {
	batch := pick(x.prompts, x.order.Next(x.perStep()))
	if x.opts.PairWith == "policy" {
		return x.draw(ctx, x.cast.Policy, batch, 2, x.step, rolloutStream)
	}
	own, err := x.draw(ctx, x.cast.Policy, batch, 1, x.step, rolloutStream)
	if err != nil {
		return nil, err
	}
	second, err := x.draw(ctx, x.cast.Reference, batch, 1, x.step, secondStream)
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	var both []Sample
	for i := range own {
		second[i].Source = "reference"
		both = append(both, own[i], second[i])
	}
	return both, nil
}

// duel is a ranked pair of answers to one prompt.
type duel struct {
	preference
	second bool // the reference's answer won
	same   bool // both say the same: neither is preferred
}

// rank makes a duel of each two samples; on a tie the first, the policy's, wins.
func rank(samples []Sample) []duel {
	var duels []duel
	for i := 0; i < len(samples); i += 2 {
		w, l := &samples[i], &samples[i+1]
		d := duel{second: l.Score > w.Score, same: slices.Equal(w.Completion, l.Completion)}
		if d.second {
			w, l = l, w
		}
		d.Chosen, d.Rejected = w.Prompt.Answered(w.Completion), l.Prompt.Answered(l.Completion)
		d.ref = RefLogProbs{Chosen: total(w.RefLogProbs), Rejected: total(l.RefLogProbs)}
		duels = append(duels, d)
	}
	return duels
}

func total(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum
}

// learn runs the epochs of updates on one batch of duels.
func (x *XPO) learn(u *Update, duels []duel) (map[string]float64, error) {
	sum := newAverage()
	err := x.passes(len(duels), func(at []int, _ bool) (bool, error) {
		scalars, err := x.Update(u, pick(duels, at))
		if err != nil {
			return false, err
		}
		sum.add(scalars)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	return sum.means(), nil
}

// Update takes one optimizer step on the mean loss of the duels.
func (x *XPO) Update(u *Update, batch []duel) (map[string]float64, error) {
	batch = byLength(batch, func(d duel) int { return pairLength(d.Pair) })
	micro := len(batch)
	if x.set.MicroBatchSize > 0 {
		micro = max(1, x.set.MicroBatchSize/2) // counts sequences
	}
	parts, whole := split(len(batch), micro), sizeOf(batch)
	u.holds(sidesOf(batch, duel.pair))
	return u.Do(len(parts), func(i int) (tensor.Tensor, Stats) { return x.loss(batch[parts[i][0]:parts[i][1]], whole) })
}

// loss is part's share in the mean over pairs of -log σ(βh) + α·log π(ỹ) (arXiv 2405.21046, Algorithm 1), ỹ the
// reference's answer. The bonus is minimised, so answers that the reference gives anyway become less likely. A pair of
// equal answers has the bonus alone.
func (x *XPO) loss(part []duel, whole pairSize) (tensor.Tensor, Stats) {
	prefs := make([]preference, len(part))
	differ, second := make([]float32, len(part)), make([]float32, len(part))
	for i, d := range part {
		prefs[i] = d.preference
		if !d.same {
			differ[i] = 1
		}
		if d.second {
			second[i] = 1
		}
	}
	s, ref := readPairs(x.cast.Policy, prefs, x.set.Temperature, whole)
	share := func(t tensor.Tensor) tensor.Tensor { return t.Sum().DivScalar(float64(whole.pairs)) }
	dev := s.sums.Chosen.Device()
	differs, won := tensor.Floats(differ, len(part)).OnDevice(dev), tensor.Floats(second, len(part)).OnDevice(dev) // [b]
	loss := share(pairMethods[x.opts.Loss].loss(s.sums, ref, PairSettings{Beta: x.opts.Beta}).Mul(differs))
	stats := pairMetrics(s, ref, x.opts.Beta, false, whole)
	stats["loss/dpo"] = loss
	if x.opts.PairWith == "reference" {
		answered := s.sums.Rejected.Add(won.Mul(s.sums.Chosen.Sub(s.sums.Rejected))) // log π(ỹ), [b]
		bonus := share(answered)
		stats["logps/reference_answer"] = bonus.Detach() // falls without bound if α is too large: watch it
		stats["loss/xpo"] = bonus.Detach().MulScalar(x.opts.Alpha)
		if x.opts.Alpha > 0 {
			loss = loss.Add(bonus.MulScalar(x.opts.Alpha))
		}
	}
	return loss, stats
}

// compare adds the scores of the two sides.
func (x *XPO) compare(samples []Sample, scalars map[string]float64) {
	first, second := 0.0, 0.0
	for i := 0; i < len(samples); i += 2 {
		first, second = first+samples[i].Score, second+samples[i+1].Score
	}
	n := float64(len(samples) / 2)
	scalars["objective/model_scores"], scalars["objective/ref_scores"] = first/n, second/n
	scalars["objective/scores_margin"] = (first - second) / n
	scalars["alpha"], scalars["beta"] = x.opts.Alpha, x.opts.Beta
}

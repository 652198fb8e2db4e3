package trainers

// What all online methods have in common: a batch of prompts is completed by the policy and scored, policy and
// reference read the completions' log-probabilities, and some epochs of updates follow. A method adds what credit it
// gives each token and the loss that it learns by; see ppo.go for one.

import (
	"context"
	"fmt"
	"math"
	"slices"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// OnlineOptions are the options of every method that learns from completions of its own.
type OnlineOptions struct {
	Common         `group:"Optimizer"`
	PPOEpochs      int     `yaml:"ppo_epochs" help:"passes over each batch of samples" check:">=1"`
	MiniBatches    int     `yaml:"num_mini_batches" help:"optimizer steps per pass" check:">=1"`
	MaxNewTokens   int     `yaml:"max_new_tokens" help:"longest completion" unit:"tokens" check:">=1"`
	Temperature    float64 `yaml:"temperature" help:"of sampling, and of all log-probabilities" check:">0"`
	RolloutBatch   int     `yaml:"rollout_batch_size" help:"sequences in flight during the rollout; 0: the whole batch" check:">=0"`
	TargetKL       float64 `yaml:"target_kl" help:"leave a batch early once approxkl exceeds this; 0: never" check:">=0" unit:"nats"`
	MissingEOS     string  `yaml:"missing_eos" enum:"none,replace,subtract" help:"what a completion without EOS costs: its score is replaced by, or lowered by, --missing-eos-penalty"`
	MissingPenalty float64 `yaml:"missing_eos_penalty" help:"replace: minus this is the new score; subtract: this is taken off"`
	NormalizeScore bool    `yaml:"normalize_scores" help:"map the reward model's scores on the start policy's samples to mean 0, deviation 1"`
	ScoreClip      float64 `yaml:"score_clip" help:"limit scores to ± this; 0: no limit" check:">=0"`
	SampleEvery    int     `yaml:"sample_every" help:"steps between samples written to samples.jsonl (all of step 1 are)" check:">=1" hash:"-"`

	ReferenceOptions
}

// DefaultOnline returns what the published settings of the online methods have in common (METHODS.md §2, TL;DR N+).
func DefaultOnline() OnlineOptions {
	o := OnlineOptions{Common: DefaultCommon(), PPOEpochs: 4, MiniBatches: 1, MaxNewTokens: 53, Temperature: 0.7,
		MissingEOS: "none", MissingPenalty: 1, SampleEvery: 10}
	o.LearningRate, o.BatchSize, o.AdamEpsilon = 3e-6, 64, 1e-5
	return o
}

// Unread tells why a key's value changes nothing beside the others, as options.Selective has it.
func (o *OnlineOptions) Unread(key string) string {
	if key == "missing_eos_penalty" && o.MissingEOS == "none" {
		return "is not read by --missing-eos none; choose --missing-eos replace or subtract, or leave it out"
	}
	return ""
}

// Validate checks what the tags cannot.
func (o *OnlineOptions) Validate() error {
	if o.BatchSize%o.MiniBatches != 0 {
		return fault.Inputf("batch_size %d is not a multiple of num_mini_batches %d; give --batch-size %d, or other mini-batches", o.BatchSize, o.MiniBatches, o.nextBatch(1))
	}
	return o.ReferenceOptions.validate()
}

// validGroups is Validate for a method that gives every prompt n completions: each mini-batch holds all of a prompt's.
// setBy names the option that n comes from; "": the method itself.
func (o *OnlineOptions) validGroups(n int, setBy string) error {
	if o.BatchSize%n != 0 || o.BatchSize/n%o.MiniBatches != 0 {
		other := ""
		if setBy != "" {
			other = fmt.Sprintf(", or another --%s than %d", setBy, n)
		}
		return fault.Inputf("batch_size %d is not a multiple of %d, the %d completions of a prompt times num_mini_batches %d; give --batch-size %d%s",
			o.BatchSize, n*o.MiniBatches, n, o.MiniBatches, o.nextBatch(n), other)
	}
	return o.Validate()
}

// nextBatch is the least batch size, not below the one that was asked for, of whole mini-batches of groups of n.
func (o *OnlineOptions) nextBatch(n int) int {
	unit := n * o.MiniBatches
	return (o.BatchSize + unit - 1) / unit * unit
}

// Watched is a frozen model whose KL is logged beside the reference's: the start policy, a soup member.
type Watched struct {
	Name  string
	Model models.Model
}

// Cast are the networks of an online run. Policy and Value are trained; the others are frozen.
type Cast struct {
	Policy    models.Model
	Value     *models.Scorer // nil for methods without a critic
	Reference models.Model
	Members   []Member // several references in its place, for MKL
	Reward    Rewarder
	Gold      Rewarder // exact reward that is logged and never learned from; may be nil
	Watch     []Watched
	Stops     []int // token ids that end a completion; the one that came is kept
}

// scheme is what every online run must know of its method.
type scheme interface {
	// group is how many completions a prompt gets; they lie side by side in a batch.
	group() int
	// beta is the weight of the KL penalty in what the method maximises.
	beta() float64
	// memory points to what a checkpoint must hold of the method, as JSON; nil if there is nothing.
	memory() any
}

// method is what sets one method apart from the others that learn token by token from samples of the policy alone.
type method interface {
	scheme
	// credit gives samples, which have scores, log-probabilities and k1 as KL, the advantages that the loss reads.
	credit(ctx context.Context, samples []Sample, clock *stopwatch) error
	// loss is a view's share in the policy's loss of its mini-batch, with the same share of its metrics.
	loss(f forward) (tensor.Tensor, Stats)
	// tokenwise tells whether loss is a sum over tokens, so that it can be taken of some of them at a time.
	tokenwise() bool
	// estimator is the critic, whose loss has a graph of its own; nil if the method has none.
	estimator() *critic
	// taken is called after the updates of a step: controllers move here, and may add scalars.
	taken(samples []Sample, scalars map[string]float64) error
}

// plain is embedded by methods with one completion a prompt that learn token by token, have nothing to adapt after a step
// and nothing to remember beyond it; a method of its own of these names goes before.
type plain struct{}

func (plain) group() int         { return 1 }
func (plain) tokenwise() bool    { return true }
func (plain) memory() any        { return nil }
func (plain) estimator() *critic { return nil }

func (plain) taken([]Sample, map[string]float64) error { return nil }

// Online is the run of an online method, which embeds it.
type Online struct {
	set     *OnlineOptions
	scheme  scheme
	method  method // nil where the method has a Step of its own
	cast    Cast
	prompts []data.Prompt
	order   data.Walk
	norm    *ScoreNorm // nil until fitted, or not wanted
	step    int
	samples *SampleLog
	save    PartsFunc
	phase   func(string) // says what goes on, may be nil
}

// newOnline checks what every online run needs. save writes the trained networks into a folder; log may be nil.
func newOnline(m scheme, cast Cast, prompts []data.Prompt, set *OnlineOptions, log *SampleLog, save PartsFunc) (Online, error) {
	if len(prompts) == 0 {
		return Online{}, fault.Inputf("no prompts are left after encoding; check --data and --max-length")
	}
	if len(cast.Stops) == 0 {
		return Online{}, fault.Inputf("the policy has no EOS token: neither generation_config.json nor config.json has eos_token_id; add it")
	}
	if err := set.validGroups(m.group(), ""); err != nil {
		return Online{}, err
	}
	if err := noNoise(cast); err != nil {
		return Online{}, err
	}
	r := Online{set: set, scheme: m, cast: cast}
	if err := r.checkReference(); err != nil {
		return Online{}, err
	}
	order, err := walkOver(&set.Common, prompts, promptOrigin)
	if err != nil {
		return Online{}, err
	}
	r.method, _ = m.(method)
	r.prompts, r.order, r.samples, r.save = prompts, order, log, save
	return r, nil
}

// Params implements Trainer: the policy's and, where there is one, the value network's.
func (r *Online) Params() []nn.Param {
	params := prefixed("policy.", r.cast.Policy)
	if r.cast.Value != nil {
		params = append(params, prefixed("value.", r.cast.Value)...)
	}
	return params
}

// perStep is how many prompts a step takes.
func (r *Online) perStep() int { return r.set.BatchSize / r.scheme.group() }

// Steps implements Trainer: one step is one batch of samples.
func (r *Online) Steps() int { return r.set.StepCount(r.order.Len(), r.perStep()) }

// Step implements Trainer: sample, score, give credit, then some epochs of updates.
func (r *Online) Step(ctx context.Context, u *Update) (Result, error) {
	clock := newStopwatch()
	samples, err := r.experience(ctx, clock)
	if err != nil {
		return Result{}, err
	}
	scalars, err := r.describe(ctx, samples)
	if err != nil {
		return Result{}, err
	}
	clock.lap("watch")
	r.step++ // weights move from here on: ctx is not looked at any more
	learned, err := r.learn(u, samples)
	if err != nil {
		return Result{}, err
	}
	clock.lap("update")
	if err := r.method.taken(samples, scalars); err != nil {
		return Result{}, err
	}
	return r.finish(samples, scalars, learned, clock)
}

// finish ends a step whose updates are taken: what it reports, the reference's move, the samples that are kept.
func (r *Online) finish(samples []Sample, scalars, learned map[string]float64, clock *stopwatch) (Result, error) {
	clock.into(scalars)
	for k, v := range learned {
		scalars[k] = v
	}
	scalars["episode"], scalars["epoch"] = float64(r.step*r.set.BatchSize), r.order.Epochs()
	if err := r.follow(scalars); err != nil {
		return Result{}, err
	}
	res := Result{Scalars: scalars, Tokens: completionTokens(samples) * (1 + r.set.PPOEpochs)}
	if r.samples != nil {
		step := r.step
		res.Write = func() error { return r.samples.write(step, samples, r.set.SampleEvery) }
	}
	return res, nil
}

// passes visits n items some epochs long, each epoch in an order of its own, a mini-batch at a time. It ends early once
// visit has enough; first marks the batch's first update.
func (r *Online) passes(n int, visit func(at []int, first bool) (enough bool, err error)) error {
	for epoch := range r.set.PPOEpochs {
		order := data.NewOrder(n, tensor.Mix(r.set.Seed, uint64(r.step), uint64(epoch)), true)
		for mini := range r.set.MiniBatches {
			enough, err := visit(order.Next(n/r.set.MiniBatches), epoch == 0 && mini == 0)
			if err != nil || enough {
				return err
			}
		}
	}
	return nil
}

// learn runs the epochs of updates on one batch of samples.
func (r *Online) learn(u *Update, samples []Sample) (map[string]float64, error) {
	sum, early := newAverage(), 0.0
	err := r.passes(len(samples), func(at []int, first bool) (bool, error) {
		scalars, err := r.Update(u, pick(samples, at), first)
		if err != nil {
			return false, err
		}
		sum.add(scalars)
		if r.set.TargetKL > 0 && scalars["policy/approxkl_avg"] > r.set.TargetKL {
			early = 1
		}
		return early == 1, nil
	})
	if err != nil {
		return nil, err
	}
	return sum.ratioMeans(early), nil
}

// Update takes one optimizer step on a mini-batch; means are over the valid tokens of the whole mini-batch, so
// the micro-batch size changes nothing. first asks for the invariant of a batch's first update: ratio = 1.
func (r *Online) Update(u *Update, batch []Sample, first bool) (map[string]float64, error) {
	batch = byLength(batch, func(s Sample) int { return len(s.Prompt.IDs) + len(s.Completion) })
	parts := split(len(batch), r.set.micro(len(batch)))
	whole := extent{sequences: len(batch)}
	for i := range batch {
		whole.tokens += len(batch[i].Completion)
		whole.places += len(batch[i].Returns)
	}
	var drift float64
	policy := func(i int) (tensor.Tensor, Stats) {
		return r.policyLoss(batch[parts[i][0]:parts[i][1]], whole, func(f forward) {
			if first {
				drift = math.Max(drift, f.now.Detach().Sub(f.old).Abs().Max().Item())
			}
		})
	}
	terms := []func(i int) (tensor.Tensor, Stats){policy}
	if c := r.method.estimator(); c != nil {
		if !c.warm() {
			terms[0] = unlearned(policy)
		}
		if first && c.ahead.Defined() { // its activations are there already, so it goes first
			terms = slices.Insert(terms, 0, func(int) (tensor.Tensor, Stats) { return c.lossAhead(whole) })
		} else {
			terms = append(terms, func(i int) (tensor.Tensor, Stats) { return c.loss(batch[parts[i][0]:parts[i][1]], whole) })
		}
	}
	u.holds(func() []data.Example { return examplesOf(batch) })
	scalars, err := u.Do(len(parts), terms...)
	if err != nil {
		return nil, err
	}
	if first {
		if err := r.checkDrift(drift); err != nil {
			return nil, err
		}
		scalars["rollout/logp_diff_max"] = drift
	}
	return scalars, nil
}

// checkDrift holds the invariant of a batch's first update: the learner recomputes the rollout's log-probs.
func (r *Online) checkDrift(drift float64) error {
	limit := 1e-3
	if r.cast.Policy.HeadWeight().DType() != tensor.Float32 {
		limit = 0.2 // half precision rounds differently in batches of other shapes
	}
	if drift > limit || math.IsNaN(drift) {
		return fmt.Errorf("the first update's log-probs differ from the rollout's by %g (more than %g): the ratio does not start at 1; the model is not deterministic (dropout?) or its cache is wrong", drift, limit)
	}
	return nil
}

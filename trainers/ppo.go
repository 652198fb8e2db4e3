package trainers

// PPO for RLHF (Schulman et al., arXiv 1707.06347; Ziegler et al., arXiv 1909.08593; Ouyang et al., arXiv
// 2203.02155), with the details of summarize_from_feedback. The KL reference is any frozen model: with the
// average of two SFT checkpoints as reference this is SALSA (Chegini et al., arXiv 2411.01798).

import (
	"context"
	"fmt"
	"math"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// PPOOptions are the options of PPO; the defaults are TRL's.
type PPOOptions struct {
	Common         `group:"Optimizer"`
	PPOEpochs      int     `yaml:"ppo_epochs" help:"passes over each batch of experience" check:">=1"`
	MiniBatches    int     `yaml:"num_mini_batches" help:"optimizer steps per pass" check:">=1"`
	MaxNewTokens   int     `yaml:"max_new_tokens" help:"longest completion" unit:"tokens" check:">=1"`
	Temperature    float64 `yaml:"temperature" help:"of sampling, and of all log-probabilities" check:">0"`
	RolloutBatch   int     `yaml:"rollout_batch_size" help:"sequences in flight during the rollout; 0: the whole batch" check:">=0"`
	KLCoef         float64 `yaml:"kl_coef" help:"weight β of the KL penalty in the reward" check:">=0"`
	KLEstimator    string  `yaml:"kl_estimator" enum:"k1,k2,k3" help:"estimator of the KL per token"`
	KLTarget       float64 `yaml:"kl_target" help:"adapt β towards this KL per sequence; 0: β stays" check:">=0" unit:"nats"`
	KLHorizon      float64 `yaml:"kl_horizon" help:"episodes over which β adapts" check:">0"`
	TargetKL       float64 `yaml:"target_kl" help:"leave a batch early once approxkl exceeds this; 0: never" check:">=0" unit:"nats"`
	ClipRange      float64 `yaml:"cliprange" help:"clip range ε of the ratio" check:">0"`
	ClipRangeValue float64 `yaml:"cliprange_value" help:"clip range of the value" check:">0"`
	VFCoef         float64 `yaml:"vf_coef" help:"weight of the value loss" check:">=0"`
	EntropyCoef    float64 `yaml:"entropy_coef" help:"weight of the entropy bonus" check:">=0"`
	Gamma          float64 `yaml:"gamma" help:"discount" check:">=0,<=1"`
	Lambda         float64 `yaml:"lam" help:"λ of GAE" check:">=0,<=1"`
	WhitenRewards  bool    `yaml:"whiten_rewards" help:"scale rewards to unit variance, mean kept"`
	WhitenAdv      bool    `yaml:"whiten_advantages" help:"scale advantages to mean 0, variance 1"`
	ScoreAt        string  `yaml:"score_at" enum:"eos,after_eos" help:"place of the score: the last token, or one after it (N+, TRL)"`
	MissingEOS     string  `yaml:"missing_eos" enum:"none,replace,subtract" help:"what a completion without EOS costs: its score is replaced by, or lowered by, --missing-eos-penalty"`
	MissingPenalty float64 `yaml:"missing_eos_penalty" help:"replace: minus this is the new score; subtract: this is taken off"`
	NormalizeScore bool    `yaml:"normalize_scores" help:"map the reward model's scores on the start policy's samples to mean 0, deviation 1"`
	ScoreClip      float64 `yaml:"score_clip" help:"limit scores to ± this; 0: no limit" check:">=0"`
	CriticWarmup   int     `yaml:"critic_warmup" help:"steps at the start that train the value network alone" check:">=0"`
	SampleEvery    int     `yaml:"sample_every" help:"steps between samples written to samples.jsonl (all of step 1 are)" check:">=1" hash:"-"`
}

// DefaultPPO returns TRL's defaults (METHODS.md §2 says where they come from).
func DefaultPPO() PPOOptions {
	o := PPOOptions{Common: DefaultCommon(), PPOEpochs: 4, MiniBatches: 1, MaxNewTokens: 53, Temperature: 0.7,
		KLCoef: 0.05, KLEstimator: "k1", KLHorizon: 10000, ClipRange: 0.2, ClipRangeValue: 0.2, VFCoef: 0.1,
		Gamma: 1, Lambda: 0.95, WhitenAdv: true, ScoreAt: "eos", MissingEOS: "none", MissingPenalty: 1, SampleEvery: 10}
	o.LearningRate, o.BatchSize, o.AdamEpsilon = 3e-6, 64, 1e-5
	return o
}

// Validate checks what the tags cannot.
func (o *PPOOptions) Validate() error {
	if o.BatchSize%o.MiniBatches != 0 {
		return fault.Inputf("batch_size %d is not a multiple of num_mini_batches %d", o.BatchSize, o.MiniBatches)
	}
	return nil
}

// Watched is a frozen model whose KL is logged beside the reference's: the start policy, a soup member.
type Watched struct {
	Name  string
	Model models.Model
}

// Cast are the networks of a PPO run. Policy and Value are trained; the others are frozen.
type Cast struct {
	Policy    models.Model
	Value     *models.Scorer
	Reference models.Model
	Reward    Rewarder
	Gold      Rewarder // exact reward that is logged and never learned from; may be nil
	Watch     []Watched
	Stops     []int // token ids that end a completion; the one that came is kept
}

// PPO is the trainer.
type PPO struct {
	opts    PPOOptions
	cast    Cast
	prompts []data.Prompt
	order   data.Walk
	kl      *KLController
	norm    *ScoreNorm // nil until fitted, or not wanted
	step    int
	samples *SampleLog
	save    func(dir string) error
	phase   func(string) // says what goes on, may be nil
}

// NewPPO makes the trainer. save writes policy and value network into a folder; log may be nil.
func NewPPO(cast Cast, prompts []data.Prompt, opts PPOOptions, log *SampleLog, save func(dir string) error) (*PPO, error) {
	if len(prompts) == 0 {
		return nil, fault.Inputf("no prompts are left after encoding; check --data and --max-length")
	}
	if len(cast.Stops) == 0 {
		return nil, fault.Inputf("the policy has no EOS token: neither generation_config.json nor config.json has eos_token_id; add it")
	}
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if err := noNoise(cast); err != nil {
		return nil, err
	}
	order, err := walkOver(&opts.Common, prompts, promptOrigin)
	if err != nil {
		return nil, err
	}
	return &PPO{opts: opts, cast: cast, prompts: prompts, samples: log, save: save, order: order,
		kl: NewKLController(opts.KLCoef, opts.KLTarget, opts.KLHorizon)}, nil
}

// Params implements Trainer: the policy's and the value network's.
func (p *PPO) Params() []nn.Param {
	return append(prefixed("policy.", p.cast.Policy), prefixed("value.", p.cast.Value)...)
}

// Steps implements Trainer: one step is one batch of experience.
func (p *PPO) Steps() int { return p.opts.steps(p.order.Len(), p.opts.BatchSize) }

// Step implements Trainer: sample, score, estimate advantages, then several epochs of clipped updates.
func (p *PPO) Step(ctx context.Context, u *Update) (Result, error) {
	clock := newStopwatch()
	samples, tokens, err := p.experience(ctx, clock)
	if err != nil {
		return Result{}, err
	}
	scalars, err := p.describe(ctx, samples)
	if err != nil {
		return Result{}, err
	}
	clock.lap("watch")
	p.step++ // weights move from here on: ctx is not looked at any more
	learned, err := p.learn(u, samples)
	if err != nil {
		return Result{}, err
	}
	clock.lap("update")
	clock.into(scalars)
	for k, v := range learned {
		scalars[k] = v
	}
	scalars["kl_coef"] = p.kl.Beta
	p.kl.Update(meanSequenceKL(samples), len(samples))
	scalars["episode"], scalars["epoch"] = float64(p.step*p.opts.BatchSize), p.order.Epochs()
	if p.samples != nil {
		if err := p.samples.write(p.step, samples, p.opts.SampleEvery); err != nil {
			return Result{}, err
		}
	}
	return Result{Scalars: scalars, Tokens: tokens * (1 + p.opts.PPOEpochs)}, nil
}

// learn runs the epochs of clipped updates on one batch of experience.
func (p *PPO) learn(u *Update, samples []Sample) (map[string]float64, error) {
	total := newAverage()
	size := len(samples) / p.opts.MiniBatches
	for epoch := range p.opts.PPOEpochs {
		order := data.NewOrder(len(samples), tensor.Mix(p.opts.Seed, uint64(p.step), uint64(epoch)), true)
		for mini := range p.opts.MiniBatches {
			batch := pick(samples, order.Next(size))
			first := epoch == 0 && mini == 0
			scalars, err := p.Update(u, batch, first)
			if err != nil {
				return nil, err
			}
			total.add(scalars)
			if p.opts.TargetKL > 0 && scalars["policy/approxkl_avg"] > p.opts.TargetKL {
				return total.means("stopped_early", 1), nil
			}
		}
	}
	return total.means("stopped_early", 0), nil
}

// Update takes one optimizer step on a mini-batch; means are over the valid tokens of the whole mini-batch, so
// the micro-batch size changes nothing. first asks for the invariant of a batch's first update: ratio = 1.
func (p *PPO) Update(u *Update, batch []Sample, first bool) (map[string]float64, error) {
	batch = byLength(batch, func(s Sample) int { return len(s.Prompt.IDs) + len(s.Completion) })
	parts := split(len(batch), p.opts.micro(len(batch)))
	tokens, places := 0, 0
	for i := range batch {
		tokens += len(batch[i].Completion)
		places += len(batch[i].Returns)
	}
	var drift float64
	scalars, err := u.Do(len(parts), func(i int) (tensor.Tensor, Stats) {
		part := batch[parts[i][0]:parts[i][1]]
		loss, stats, now, old := p.loss(part, 1/float64(tokens), 1/float64(places))
		if first {
			drift = math.Max(drift, now.Detach().Sub(old).Abs().Max().Item())
		}
		return loss, stats
	})
	if err != nil {
		return nil, err
	}
	if first {
		if err := p.checkDrift(drift); err != nil {
			return nil, err
		}
		scalars["rollout/logp_diff_max"] = drift
	}
	return scalars, nil
}

// loss is the share of a micro-batch in the mini-batch's loss: policy + c_v·value - c_e·entropy, the first and
// the last averaged over tokens, the value loss over places. It also returns the new and old log-probs [N].
func (p *PPO) loss(part []Sample, perToken, perPlace float64) (loss tensor.Tensor, stats Stats, now, old tensor.Tensor) {
	in, at := collate(examplesOf(part))
	scores := models.LogProbs(p.cast.Policy, in, at, p.opts.Temperature) // [N]
	now, entropy := scores.LogP, scores.Entropy
	dev := now.Device()
	old = flatten(part, dev, func(s *Sample) []float64 { return s.LogProbs })
	adv := flatten(part, dev, func(s *Sample) []float64 { return s.Advantages[:len(s.Completion)] })
	pg, ratio, clipped := ClippedPolicy(now, old, adv, p.opts.ClipRange)

	values := valuesAt(p.cast.Value, part, p.opts.extra) // [P]
	oldValues := flatten(part, dev, func(s *Sample) []float64 { return s.Values })
	returns := flatten(part, dev, func(s *Sample) []float64 { return s.Returns })
	vf, valueClipped := ClippedValue(values, oldValues, returns, p.opts.ClipRangeValue)

	policy, value := pg.Sum().MulScalar(perToken), vf.Sum().MulScalar(perPlace)
	loss = value.MulScalar(p.opts.VFCoef)
	if p.step > p.opts.CriticWarmup {
		loss = loss.Add(policy)
		if p.opts.EntropyCoef > 0 {
			loss = loss.Sub(entropy.Sum().MulScalar(p.opts.EntropyCoef * perToken))
		}
	}
	return loss, Stats{
		"loss/policy_avg":     policy,
		"loss/value_avg":      value,
		"policy/approxkl_avg": now.Sub(old).Square().Sum().MulScalar(0.5 * perToken),
		"policy/clipfrac_avg": clipped.Sum().MulScalar(perToken),
		"policy/entropy_avg":  entropy.Sum().MulScalar(perToken),
		"val/clipfrac_avg":    valueClipped.Sum().MulScalar(perPlace),
		"val/ratio":           ratio.Sum().MulScalar(perToken),
	}, now, old
}

// flatten lays one per-token series of all samples end to end as a constant: [N] fp32.
func flatten(samples []Sample, dev tensor.Device, of func(*Sample) []float64) tensor.Tensor {
	var flat []float32
	for i := range samples {
		for _, v := range of(&samples[i]) {
			flat = append(flat, float32(v))
		}
	}
	return tensor.Floats(flat, len(flat)).OnDevice(dev)
}

// checkDrift holds the invariant of PPO's first update: the learner recomputes the rollout's log-probs.
func (p *PPO) checkDrift(drift float64) error {
	limit := 1e-3
	if p.cast.Policy.HeadWeight().DType() != tensor.Float32 {
		limit = 0.2 // half precision rounds differently in batches of other shapes
	}
	if drift > limit || math.IsNaN(drift) {
		return fmt.Errorf("the first update's log-probs differ from the rollout's by %g (more than %g): the ratio does not start at 1; the model is not deterministic (dropout?) or its cache is wrong", drift, limit)
	}
	return nil
}

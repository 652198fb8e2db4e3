package trainers

// The rollout half of PPO: from prompts to advantages, all without autograd.

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"salsa/internal/fault"
	"salsa/models"
	"salsa/tensor"
)

// experience is steps a-d of PPO: sample, score, read π_old, π_ref and V, estimate advantages. It also returns
// how many tokens were sampled.
func (p *PPO) experience(ctx context.Context, clock *stopwatch) ([]Sample, int, error) {
	samples, err := p.sample(ctx, p.step)
	if err != nil {
		return nil, 0, err
	}
	clock.lap("gen")
	if err := p.score(ctx, samples); err != nil {
		return nil, 0, err
	}
	clock.lap("reward")
	micro := p.opts.micro(p.opts.BatchSize)
	now, err := completionLogProbs(ctx, p.cast.Policy, samples, p.opts.Temperature, micro)
	if err != nil {
		return nil, 0, fmt.Errorf("policy: %w", err)
	}
	clock.lap("old_log_prob")
	ref, err := completionLogProbs(ctx, p.cast.Reference, samples, p.opts.Temperature, micro)
	if err != nil {
		return nil, 0, fmt.Errorf("reference: %w", err)
	}
	clock.lap("ref")
	values, err := completionValues(ctx, p.cast.Value, samples, p.opts.extra, micro)
	if err != nil {
		return nil, 0, fmt.Errorf("value network: %w", err)
	}
	clock.lap("values")
	tokens := 0
	for i := range samples {
		s := &samples[i]
		s.LogProbs, s.RefLogProbs, s.Values = now[i], ref[i], values[i]
		tokens += len(s.Completion)
	}
	return samples, tokens, Advantages(samples, p.opts, p.kl.Beta)
}

// sample draws one completion for each prompt of the next batch. Every row has a random stream of its own, so a
// completion does not depend on its companions.
func (p *PPO) sample(ctx context.Context, step int) ([]Sample, error) {
	batch := pick(p.prompts, p.order.Next(p.opts.BatchSize))
	samples := make([]Sample, len(batch))
	prompts, seeds := make([][]int, len(batch)), make([]uint64, len(batch))
	for i, prompt := range batch {
		samples[i].Prompt = prompt
		prompts[i] = prompt.IDs
		seeds[i] = tensor.Mix(p.opts.Seed, uint64(step), uint64(i), rolloutStream)
	}
	out, err := models.Generate(ctx, p.cast.Policy, prompts, models.GenOptions{
		MaxNewTokens: p.opts.MaxNewTokens,
		Sampler:      tensor.Sampler{Temperature: p.opts.Temperature, TopP: 1},
		Stop:         p.cast.Stops,
		IgnoreEOS:    true, // Stops is the whole list
		Seeds:        seeds,
		BatchSize:    cmp.Or(p.opts.RolloutBatch, len(batch)),
		Progress:     func(done, total int) { p.say(fmt.Sprintf("rollout %d/%d", done, total)) },
	})
	if err != nil {
		return nil, err
	}
	for i, c := range out {
		samples[i].Completion, samples[i].Ended = c.IDs, c.Stopped
	}
	return samples, nil
}

// rolloutStream keeps the streams of sampling apart from the others that start from the run's seed.
const rolloutStream = 0x726f6c6c

func (p *PPO) say(phase string) {
	if p.phase != nil {
		p.phase(phase)
	}
}

// OnPhase sets who is told what goes on inside a step.
func (p *PPO) OnPhase(say func(string)) { p.phase = say }

// score asks the reward model, normalises, clips and applies the missing-EOS rule.
func (p *PPO) score(ctx context.Context, samples []Sample) error {
	p.say("scoring")
	raw, err := p.raw(ctx, samples)
	if err != nil {
		return err
	}
	if p.opts.NormalizeScore && p.norm == nil { // the first batch comes from the start policy
		norm, err := FitScoreNorm(raw, 0, 1)
		if err != nil {
			return err
		}
		p.norm = &norm
	}
	for i := range samples {
		samples[i].Raw = raw[i]
		samples[i].Score = p.opts.finalScore(raw[i], p.norm, samples[i].Ended)
	}
	return nil
}

func (p *PPO) raw(ctx context.Context, samples []Sample) ([]float64, error) {
	prompts, completions := splitSamples(samples)
	raw, err := p.cast.Reward.Score(ctx, prompts, completions)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(raw, func(r float64) bool { return !isFinite(r) }); i >= 0 {
		return nil, fmt.Errorf("the reward model scores prompt %d of the batch with %g; check its weights", i, raw[i])
	}
	return raw, nil
}

// finalScore turns a raw score into the one that is rewarded.
func (o *PPOOptions) finalScore(raw float64, norm *ScoreNorm, ended bool) float64 {
	score := raw
	if norm != nil {
		score = norm.Apply(score)
	}
	if o.ScoreClip > 0 {
		score = math.Max(-o.ScoreClip, math.Min(o.ScoreClip, score))
	}
	switch {
	case ended || o.MissingEOS == "none":
		return score
	case o.MissingEOS == "replace":
		return -o.MissingPenalty
	default: // subtract
		return score - o.MissingPenalty
	}
}

// extra tells whether a sample has a place after its last token for the score: only one that ended before the
// length limit has, as in TRL, where that place is the first one of padding.
func (o *PPOOptions) extra(s *Sample) bool {
	return o.ScoreAt == "after_eos" && s.Ended && len(s.Completion) < o.MaxNewTokens
}

// Advantages fills KL, Rewards, Advantages and Returns of samples that have scores, log-probs and values:
// per-token KL in the reward, score at the end, optional reward whitening, GAE, returns from the advantages
// before they are whitened. Places after the EOS take part in GAE and returns but not in the whitening of
// advantages, since no token was chosen there.
func Advantages(samples []Sample, o PPOOptions, beta float64) error {
	rewards := make([][]float64, len(samples))
	for i := range samples {
		s := &samples[i]
		kl, err := KLPenalty(o.KLEstimator, s.LogProbs, s.RefLogProbs)
		if err != nil {
			return fault.Inputf("kl_estimator: %w", err)
		}
		s.KL = kl
		s.Rewards = TokenRewards(kl, beta, s.Score, o.extra(s))
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

// ppoState is what PPO saves beside weights and optimizer.
type ppoState struct {
	Step  int             `json:"step"`
	Order json.RawMessage `json:"order"`
	KL    *KLController   `json:"kl"`
	Norm  *ScoreNorm      `json:"norm,omitempty"`
}

// State implements Trainer. All random streams are functions of seed, step and row, so the step number is their
// whole state.
func (p *PPO) State() ([]byte, error) {
	order, err := p.order.State()
	if err != nil {
		return nil, err
	}
	return json.Marshal(ppoState{Step: p.step, Order: order, KL: p.kl, Norm: p.norm})
}

// Restore implements Trainer.
func (p *PPO) Restore(raw []byte) error {
	st := ppoState{KL: p.kl} // target and horizon come from the options
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	p.step, p.norm = st.Step, st.Norm
	if p.samples != nil {
		if err := p.samples.keepUpTo(p.step); err != nil {
			return err
		}
	}
	return p.order.Restore(st.Order)
}

// Save implements Trainer.
func (p *PPO) Save(dir string) error {
	if !models.Adapted(p.cast.Policy) {
		return p.save(dir)
	}
	if err := models.SaveAdapter(dir, p.cast.Policy); err != nil {
		return err
	}
	return models.SaveAdapter(filepath.Join(dir, ValueDir), p.cast.Value)
}

// ValueDir is the folder of the value network inside a PPO checkpoint.
const ValueDir = "value"

// Load implements Trainer.
func (p *PPO) Load(dir string) error {
	if err := loadInto(dir, p.cast.Policy); err != nil {
		return err
	}
	return loadInto(filepath.Join(dir, ValueDir), p.cast.Value)
}

package trainers

// The rollout half of a step: from prompts to samples with scores and log-probabilities, all without autograd.

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"salsa/data"
	"salsa/models"
	"salsa/tensor"
)

// experience draws and scores a batch, reads the log-probabilities of policy and reference, and lets the method give
// credit.
func (r *Online) experience(ctx context.Context, clock *stopwatch) ([]Sample, error) {
	samples, err := r.sample(ctx, r.step)
	if err != nil {
		return nil, err
	}
	clock.lap("gen")
	if err := r.judge(ctx, samples, clock); err != nil {
		return nil, err
	}
	if err := r.method.credit(ctx, samples, clock); err != nil {
		return nil, err
	}
	return samples, finiteAdvantages(samples)
}

// completionTokens adds up what was sampled.
func completionTokens(samples []Sample) int {
	n := 0
	for i := range samples {
		n += len(samples[i].Completion)
	}
	return n
}

// judge scores samples, whoever wrote them, and reads their log-probabilities under policy and reference.
func (r *Online) judge(ctx context.Context, samples []Sample, clock *stopwatch) error {
	if err := r.score(ctx, samples); err != nil {
		return err
	}
	clock.lap("reward")
	if err := r.oldLogProbs(ctx, samples); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	clock.lap("old_log_prob")
	ref, err := r.referenceLogProbs(ctx, samples)
	if err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	clock.lap("ref")
	for i := range samples {
		s := &samples[i]
		s.RefLogProbs = ref[i]
		if s.KL, err = KLPenalty("k1", s.LogProbs, ref[i]); err != nil {
			return err
		}
	}
	return nil
}

// oldLogProbs fills in the policy's log-probabilities of samples. Those that the rollout noted stay where they are the
// forward pass's, to which checkDrift holds them: in float32. Half precision rounds otherwise in another kernel, and the
// ratio would begin beside 1.
func (r *Online) oldLogProbs(ctx context.Context, samples []Sample) error {
	exact := r.cast.Policy.HeadWeight().DType() == tensor.Float32
	if exact && !slices.ContainsFunc(samples, func(s Sample) bool { return s.LogProbs == nil }) {
		return nil
	}
	now, err := completionLogProbs(ctx, r.cast.Policy, samples, r.set.Temperature, r.set.micro(r.set.BatchSize))
	for i := range now {
		samples[i].LogProbs = now[i]
	}
	return err
}

// finiteAdvantages holds the invariant of all credit.
func finiteAdvantages(samples []Sample) error {
	for i := range samples {
		if slices.ContainsFunc(samples[i].Advantages, func(a float64) bool { return !isFinite(a) }) {
			return fmt.Errorf("the advantages of prompt %d of the batch are not finite; look at its score %g in samples.jsonl", i, samples[i].Score)
		}
	}
	return nil
}

// sample completes the prompts of the next batch by the policy.
func (r *Online) sample(ctx context.Context, step int) ([]Sample, error) {
	return r.draw(ctx, r.cast.Policy, pick(r.prompts, r.order.Next(r.perStep())), r.scheme.group(), step, rolloutStream)
}

// draw lets m complete each prompt n times; the completions of a prompt lie side by side. Every row has a random
// stream of its own, so a completion does not depend on its companions.
func (r *Online) draw(ctx context.Context, m models.Model, batch []data.Prompt, n, step int, stream uint64) ([]Sample, error) {
	samples := make([]Sample, n*len(batch))
	prompts, seeds := make([][]int, len(batch)), make([]uint64, len(samples))
	for i := range batch {
		prompts[i] = batch[i].IDs
	}
	for i := range samples {
		samples[i].Prompt = batch[i/n]
		seeds[i] = tensor.Mix(r.set.Seed, uint64(step), uint64(i), stream)
	}
	out, err := models.Generate(ctx, m, prompts, models.GenOptions{
		MaxNewTokens: r.set.MaxNewTokens,
		Sampler:      tensor.Sampler{Temperature: r.set.Temperature, TopP: 1},
		Stop:         r.cast.Stops,
		IgnoreEOS:    true, // Stops is the whole list
		NPerPrompt:   n,
		Seeds:        seeds,
		BatchSize:    cmp.Or(r.set.RolloutBatch, len(samples)),
		Progress:     func(done, total int) { r.say(fmt.Sprintf("rollout %d/%d", done, total)) },
	})
	if err != nil {
		return nil, err
	}
	for i, c := range out {
		samples[i].Completion, samples[i].Ended = c.IDs, c.Stopped
		if m == r.cast.Policy {
			samples[i].LogProbs = widened(c.LogProbs)
		}
	}
	return samples, nil
}

func widened(xs []float32) []float64 {
	out := make([]float64, len(xs))
	for i, x := range xs {
		out[i] = float64(x)
	}
	return out
}

// rolloutStream keeps the streams of sampling apart from the others that start from the run's seed.
const rolloutStream = 0x726f6c6c

func (r *Online) say(phase string) {
	if r.phase != nil {
		r.phase(phase)
	}
}

// OnPhase sets who is told what goes on inside a step.
func (r *Online) OnPhase(say func(string)) { r.phase = say }

// score asks the reward model, if there is one, normalises, clips and applies the missing-EOS rule.
func (r *Online) score(ctx context.Context, samples []Sample) error {
	if r.cast.Reward == nil {
		return nil
	}
	r.say("scoring")
	raw, err := r.raw(ctx, samples)
	if err != nil {
		return err
	}
	if r.set.NormalizeScore && r.norm == nil { // the first batch comes from the start policy
		norm, err := FitScoreNorm(raw, 0, 1)
		if err != nil {
			return err
		}
		r.norm = &norm
	}
	for i := range samples {
		samples[i].Raw = raw[i]
		samples[i].Score = r.set.finalScore(raw[i], r.norm, samples[i].Ended)
	}
	return nil
}

func (r *Online) raw(ctx context.Context, samples []Sample) ([]float64, error) {
	prompts, completions := splitSamples(samples)
	raw, err := r.cast.Reward.Score(ctx, prompts, completions)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(raw, func(r float64) bool { return !isFinite(r) }); i >= 0 {
		return nil, fmt.Errorf("the reward model scores prompt %d of the batch with %g; check its weights", i, raw[i])
	}
	return raw, nil
}

// finalScore turns a raw score into the one that is rewarded.
func (o *OnlineOptions) finalScore(raw float64, norm *ScoreNorm, ended bool) float64 {
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

package trainers

// What a step of an online method reports, under TRL's names, every mean over valid tokens only, and samples.jsonl.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/models"
)

// describe returns the scalars of a batch of experience before any update: rewards, KL against everybody who is
// watched, lengths. It also holds the invariant k3 >= 0.
func (r *Online) describe(ctx context.Context, samples []Sample) (map[string]float64, error) {
	out := map[string]float64{}
	n, beta := float64(len(samples)), r.scheme.beta()
	minLen, maxLen := math.MaxInt, 0
	for i := range samples {
		s := &samples[i]
		nonScore := 0.0
		for t, k := range s.KL {
			nonScore -= beta * k
			out["objective/entropy"] -= s.LogProbs[t] / n
		}
		out["objective/non_score_reward"] += nonScore / n
		if r.cast.Reward != nil {
			out["objective/scores"] += s.Score / n
			out["objective/rlhf_reward"] += (s.Score + nonScore) / n
			out["objective/scores_raw"] += s.Raw / n
		}
		out["completions/mean_length"] += float64(len(s.Completion)) / n
		minLen, maxLen = min(minLen, len(s.Completion)), max(maxLen, len(s.Completion))
		if s.Ended {
			out["val/num_eos_tokens"]++
		} else {
			out["completions/clipped_ratio"] += 1 / n
		}
	}
	out["completions/min_length"], out["completions/max_length"] = float64(minLen), float64(maxLen)
	if r.cast.Value != nil {
		out["val/explained_var"] = explainedVariance(samples)
	}
	if e, ok := r.cast.Reward.(*Ensemble); ok {
		maps.Copy(out, e.Scalars())
	}
	if err := r.logGold(ctx, samples, out); err != nil {
		return nil, err
	}
	return out, r.logKL(ctx, samples, out)
}

// explainedVariance is the share of the returns' variance that the values account for.
func explainedVariance(samples []Sample) float64 {
	var returns, residuals []float64
	for i := range samples {
		s := &samples[i]
		for t := range s.Returns {
			returns, residuals = append(returns, s.Returns[t]), append(residuals, s.Returns[t]-s.Values[t])
		}
	}
	_, total := moments([][]float64{returns})
	_, left := moments([][]float64{residuals})
	return 1 - left/math.Max(total, 1e-12)
}

// logGold adds the mean exact reward where there is one.
func (r *Online) logGold(ctx context.Context, samples []Sample, out map[string]float64) error {
	if r.cast.Gold == nil {
		return nil
	}
	prompts, completions := splitSamples(samples)
	gold, err := r.cast.Gold.Score(ctx, prompts, completions)
	if err != nil {
		return fmt.Errorf("gold reward: %w", err)
	}
	mean, _ := moments([][]float64{gold})
	out["objective/gold"] = mean
	return nil
}

// logKL adds the sequence KL against the reference and every watched model, as k1 and k3.
func (r *Online) logKL(ctx context.Context, samples []Sample, out map[string]float64) error {
	ref := make([][]float64, len(samples))
	for i := range samples {
		ref[i] = samples[i].RefLogProbs
	}
	k1, k3 := sequenceKL(samples, ref)
	out["objective/kl"], out["objective/kl_k3"] = k1, k3
	if k3 < -1e-6 || !isFinite(k1) {
		return fmt.Errorf("KL to the reference is %g (k1) and %g (k3): k3 cannot be negative; the log-probs are wrong", k1, k3)
	}
	known := map[models.Model][][]float64{} // several names may stand for one model
	if r.cast.Reference != nil {
		known[r.cast.Reference] = ref
	}
	for _, w := range r.cast.Watch {
		if known[w.Model] == nil {
			logp, err := completionLogProbs(ctx, w.Model, samples, r.set.Temperature, r.set.micro(r.set.BatchSize))
			if err != nil {
				return fmt.Errorf("%s: %w", w.Name, err)
			}
			known[w.Model] = logp
		}
		out["objective/kl_"+w.Name], out["objective/kl_k3_"+w.Name] = sequenceKL(samples, known[w.Model])
	}
	return nil
}

// sequenceKL returns the batch means of the sums over tokens of k1 and k3 against the given log-probs.
func sequenceKL(samples []Sample, ref [][]float64) (k1, k3 float64) {
	for i := range samples {
		for t, lp := range samples[i].LogProbs {
			d := lp - ref[i][t]
			k1 += klEstimators["k1"](d)
			k3 += klEstimators["k3"](d)
		}
	}
	n := float64(len(samples))
	return k1 / n, k3 / n
}

func meanSequenceKL(samples []Sample) float64 {
	ref := make([][]float64, len(samples))
	for i := range samples {
		ref[i] = samples[i].RefLogProbs
	}
	k1, _ := sequenceKL(samples, ref)
	return k1
}

// average collects the scalars of several updates.
type average struct {
	sum     map[string]float64
	ratios  []float64
	skipped float64
	n       int
}

func newAverage() *average { return &average{sum: map[string]float64{}} }

func (a *average) add(scalars map[string]float64) {
	for k, v := range scalars {
		a.sum[k] += v
	}
	a.ratios = append(a.ratios, scalars["val/ratio"])
	a.skipped = scalars["skipped_steps"]
	a.n++
}

// means returns the means, with the quantities that are not means put right.
func (a *average) means() map[string]float64 {
	out := map[string]float64{}
	for k, v := range a.sum {
		out[k] = v / float64(a.n)
	}
	if drift, ok := a.sum["rollout/logp_diff_max"]; ok { // measured once a batch
		out["rollout/logp_diff_max"] = drift
	}
	if a.n > 0 { // a count that runs on
		out["skipped_steps"] = a.skipped
	}
	return out
}

// ratioMeans are means with the spread of the ratio over the updates, and whether the batch was left early.
func (a *average) ratioMeans(stoppedEarly float64) map[string]float64 {
	out := a.means()
	out["stopped_early"] = stoppedEarly
	_, out["val/ratio_var"] = moments([][]float64{a.ratios})
	return out
}

func splitSamples(samples []Sample) (prompts []data.Prompt, completions [][]int) {
	for i := range samples {
		prompts, completions = append(prompts, samples[i].Prompt), append(completions, samples[i].Completion)
	}
	return prompts, completions
}

// SampleLog writes samples.jsonl: enough to recompute every number of a step with another tool.
type SampleLog struct {
	Path   string
	Decode func(ids []int) string
	Few    int // samples of a step other than the first
}

// sampleRow is one line of samples.jsonl.
type sampleRow struct {
	Step          int       `json:"step"`
	PromptIDs     []int     `json:"prompt_ids"`
	CompletionIDs []int     `json:"completion_ids"`
	Text          string    `json:"text"`
	LogProbs      []float64 `json:"logprobs"`
	RefLogProbs   []float64 `json:"ref_logprobs"`
	Values        []float64 `json:"values"`
	Rewards       []float64 `json:"rewards"`
	Advantages    []float64 `json:"advantages"`
	Returns       []float64 `json:"returns"`
	ScoreRaw      float64   `json:"score_raw"`
	Score         float64   `json:"score"`
	KL            []float64 `json:"kl"`
	Ended         bool      `json:"ended"`
	Source        string    `json:"source,omitempty"` // who wrote it, if not the policy
}

// write appends the samples of a step: all of the first, a few of every n-th after it.
func (l *SampleLog) write(step int, samples []Sample, every int) error {
	switch {
	case step == 1:
	case step%every == 0:
		samples = samples[:min(l.Few, len(samples))]
	default:
		return nil
	}
	mode := os.O_APPEND
	if step == 1 { // what is there is of a run that never reached a checkpoint
		mode = os.O_TRUNC
	}
	f, err := os.OpenFile(l.Path, mode|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for i := range samples {
		s := &samples[i]
		err = errors.Join(err, enc.Encode(sampleRow{Step: step, PromptIDs: s.Prompt.IDs, CompletionIDs: s.Completion,
			Text: l.Decode(s.Completion), LogProbs: s.LogProbs, RefLogProbs: s.RefLogProbs, Values: s.Values,
			Rewards: s.Rewards, Advantages: s.Advantages, Returns: s.Returns, ScoreRaw: s.Raw, Score: s.Score,
			KL: s.KL, Ended: s.Ended, Source: s.Source}))
	}
	return errors.Join(err, w.Flush(), f.Sync(), f.Close())
}

// keepUpTo drops the rows of steps that a resumed run will take again.
func (l *SampleLog) keepUpTo(step int) error {
	raw, err := os.ReadFile(l.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := slices.Collect(bytes.Lines(raw))
	kept := slices.DeleteFunc(lines, func(line []byte) bool {
		var row struct{ Step int }
		return json.Unmarshal(line, &row) != nil || row.Step > step
	})
	return checkpoint.WriteFileAtomic(l.Path, bytes.Join(kept, nil))
}

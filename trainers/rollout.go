package trainers

// Experience for the online methods: sample completions, score them, and read everybody's log-probabilities.

import (
	"context"
	"fmt"

	"salsa/data"
	"salsa/internal/profile"
	"salsa/models"
	"salsa/tensor"
)

// Rewarder scores completions; a reward model is one, a task's exact reward another.
type Rewarder interface {
	// Score returns one number per prompt and completion.
	Score(ctx context.Context, prompts []data.Prompt, completions [][]int) ([]float64, error)
}

// ModelRewarder is a reward model that shares the policy's tokenizer.
type ModelRewarder struct {
	Scorer *models.Scorer
	Micro  int // sequences at once; 0: all
}

// Score implements Rewarder: the head's output at the last token of prompt+completion.
func (r ModelRewarder) Score(ctx context.Context, prompts []data.Prompt, completions [][]int) ([]float64, error) {
	defer profile.Begin(profile.Score).End()
	var out []float64
	for _, part := range split(len(prompts), r.Micro) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		rows := joinRows(prompts[part[0]:part[1]], completions[part[0]:part[1]])
		err := tensor.NoGrad(func() error {
			out = append(out, r.Scorer.Rewards(models.Collate(rows)).Float64s()...)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reward model: %w", err)
		}
	}
	return out, nil
}

// Sample is one completion with everything that PPO knows of it; slices are per completion token, but for
// values, rewards, advantages and returns, which have one place more when the score stands after the EOS.
type Sample struct {
	Prompt     data.Prompt
	Completion []int
	Ended      bool    // stopped by itself, not by the length limit
	Raw        float64 // the reward model's score
	Score      float64 // after normalisation, clipping and the missing-EOS rule
	Source     string  // who wrote it; empty: the policy

	LogProbs, RefLogProbs []float64
	Values                []float64
	KL                    []float64 // estimate of the reward's penalty
	Rewards               []float64
	Advantages, Returns   []float64
}

// row returns prompt and completion as one sequence.
func (s *Sample) row() []int { return joinIDs(s.Prompt.IDs, s.Completion) }

func joinIDs(prompt, completion []int) []int {
	row := make([]int, 0, len(prompt)+len(completion))
	return append(append(row, prompt...), completion...)
}

func joinRows(prompts []data.Prompt, completions [][]int) [][]int {
	rows := make([][]int, len(prompts))
	for i := range prompts {
		rows[i] = joinIDs(prompts[i].IDs, completions[i])
	}
	return rows
}

func examplesOf(samples []Sample) []data.Example {
	out := make([]data.Example, len(samples))
	for i := range samples {
		out[i] = samples[i].Prompt.Answered(samples[i].Completion)
	}
	return out
}

// completionLogProbs returns log π(y_t|·) at the given temperature for every completion token of every sample.
func completionLogProbs(ctx context.Context, m models.Model, samples []Sample, temperature float64, micro int) ([][]float64, error) {
	defer profile.Begin(profile.LogProbs).End()
	out := make([][]float64, 0, len(samples))
	for _, part := range split(len(samples), micro) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		group := samples[part[0]:part[1]]
		err := tensor.NoGrad(func() error {
			in, at := collate(examplesOf(group))
			flat := models.LogProbs(m, in, at, temperature).LogP.Float64s() // [N]
			for i := range group {
				n := len(group[i].Completion)
				out = append(out, flat[:n:n])
				flat = flat[n:]
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// completionValues returns V before every completion token, and after the last one too where extra asks for it.
func completionValues(ctx context.Context, v *models.Scorer, samples []Sample, extra func(*Sample) bool, micro int) ([][]float64, error) {
	defer profile.Begin(profile.Values).End()
	out := make([][]float64, 0, len(samples))
	for _, part := range split(len(samples), micro) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		group := samples[part[0]:part[1]]
		err := tensor.NoGrad(func() error {
			out = append(out, bySample(valuesAt(v, group, extra), group, extra)...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// bySample cuts the values of valuesAt, [N], into those of each sample.
func bySample(values tensor.Tensor, samples []Sample, extra func(*Sample) bool) [][]float64 {
	flat, out := values.Float64s(), make([][]float64, len(samples))
	for i := range samples {
		n := valueCount(&samples[i], extra)
		out[i], flat = flat[:n:n], flat[n:]
	}
	return out
}

func valueCount(s *Sample, extra func(*Sample) bool) int {
	if extra(s) {
		return len(s.Completion) + 1
	}
	return len(s.Completion)
}

// valuesAt runs the value network on samples and gathers its outputs at the places of valueCount: [N] fp32.
func valuesAt(v *models.Scorer, samples []Sample, extra func(*Sample) bool) tensor.Tensor {
	rows := make([][]int, len(samples))
	width := 0
	for i := range samples {
		rows[i] = samples[i].row()
		width = max(width, len(rows[i]))
	}
	var index []int
	for i := range samples {
		first := i*width + len(samples[i].Prompt.IDs) - 1 // the state before the first completion token
		for t := range valueCount(&samples[i], extra) {
			index = append(index, first+t)
		}
	}
	return v.ValuesAt(models.Collate(rows), tensor.Ints(index, len(index)))
}

// SequenceLogProbs returns Σ_t log π(y_t|·) at the given temperature for each completion.
func SequenceLogProbs(ctx context.Context, m models.Model, prompts []data.Prompt, completions [][]int, temperature float64, micro int) ([]float64, error) {
	samples := make([]Sample, len(prompts))
	for i := range prompts {
		samples[i] = Sample{Prompt: prompts[i], Completion: completions[i]}
	}
	perToken, err := completionLogProbs(ctx, m, samples, temperature, micro)
	if err != nil {
		return nil, err
	}
	sums := make([]float64, len(perToken))
	for i, row := range perToken {
		for _, lp := range row {
			sums[i] += lp
		}
	}
	return sums, nil
}

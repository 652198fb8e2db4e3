package trainers

// Several reward models as one. A policy that is optimised against one learned reward follows that model's mistakes; the
// members of an ensemble err differently, so their least or their mean less their disagreement is harder to exploit
// (Coste et al., arXiv 2310.02743). And log-ratios of aligned models as rewards, which they are by DPO's own account.

import (
	"context"
	"fmt"
	"math"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
)

// Ensemble scores with several rewarders and combines what they say.
type Ensemble struct {
	Members []Rewarder
	Names   []string // of the members, for logs; as many
	Combine Combine

	last map[string]float64
}

// Combine says how an ensemble's scores become one.
type Combine struct {
	Min bool    // the least; Std is not read
	Std float64 // the mean less this many standard deviations (over the members, divided by their number); 0: the mean
}

// Of combines the scores that the members gave one completion.
func (c Combine) Of(scores []float64) float64 {
	mean, std, least := spread(scores)
	if c.Min {
		return least
	}
	return mean - c.Std*std
}

// String writes the rule as users do: mean, min or mean-1std.
func (c Combine) String() string {
	switch {
	case c.Min:
		return "min"
	case c.Std == 0:
		return "mean"
	}
	return fmt.Sprintf("mean-%gstd", c.Std)
}

// spread returns mean, population standard deviation and least of scores.
func spread(scores []float64) (mean, std, least float64) {
	mean, least = meanOf(scores), math.Inf(1)
	for _, x := range scores {
		std += (x - mean) * (x - mean)
		least = min(least, x)
	}
	return mean, math.Sqrt(std / float64(len(scores))), least
}

// Score implements Rewarder. A member's error names it.
func (e *Ensemble) Score(ctx context.Context, prompts []data.Prompt, completions [][]int) ([]float64, error) {
	if len(e.Members) == 0 || len(e.Members) != len(e.Names) {
		return nil, fault.Inputf("an ensemble of %d reward models with %d names; give at least one, each with a name", len(e.Members), len(e.Names))
	}
	all := make([][]float64, len(e.Members))
	for i, m := range e.Members {
		var err error
		if all[i], err = m.Score(ctx, prompts, completions); err != nil {
			return nil, fmt.Errorf("reward model %s: %w", e.Names[i], err)
		}
	}
	out, stds := make([]float64, len(prompts)), 0.0
	one := make([]float64, len(all))
	for k := range out {
		for i := range all {
			one[i] = all[i][k]
		}
		_, std, _ := spread(one)
		stds += std
		out[k] = e.Combine.Of(one)
	}
	e.last = map[string]float64{}
	if len(out) > 0 {
		for i, name := range e.Names {
			e.last["reward_model/"+name] = meanOf(all[i])
		}
		e.last["reward_model/disagreement"] = stds / float64(len(out))
	}
	return out, nil
}

// Scalars describes the last call of Score: the mean score of every member as reward_model/NAME, and as
// reward_model/disagreement the mean over completions of the members' standard deviation.
func (e *Ensemble) Scalars() map[string]float64 { return e.last }

// LogRatioRewarder scores a completion with Σ_t log π(y_t|·) - log π_ref(y_t|·), the reward that a model aligned by DPO
// stands for, over β and but for a constant of the prompt (Rafailov et al., arXiv 2305.18290, eq. 5).
type LogRatioRewarder struct {
	Model, Reference models.Model
	Micro            int // sequences at once; 0: all
}

// Score implements Rewarder.
func (r LogRatioRewarder) Score(ctx context.Context, prompts []data.Prompt, completions [][]int) ([]float64, error) {
	own, err := SequenceLogProbs(ctx, r.Model, prompts, completions, 1, r.Micro)
	if err != nil {
		return nil, err
	}
	ref, err := SequenceLogProbs(ctx, r.Reference, prompts, completions, 1, r.Micro)
	if err != nil {
		return nil, err
	}
	for i := range own {
		own[i] -= ref[i]
	}
	return own, nil
}

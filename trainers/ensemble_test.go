package trainers

// Ensembles of reward models and log-ratios as rewards.

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/nn"
)

// fixedRewarder gives the same scores whatever it is asked.
type fixedRewarder []float64

func (f fixedRewarder) Score(context.Context, []data.Prompt, [][]int) ([]float64, error) {
	if f == nil {
		return nil, errors.New("broken")
	}
	return f, nil
}

func TestEnsemble(t *testing.T) {
	members, names := []Rewarder{fixedRewarder{1, 5}, fixedRewarder{2, 5}, fixedRewarder{6, 5}}, []string{"a", "b", "c"}
	prompts, completions := make([]data.Prompt, 2), make([][]int, 2)
	const std = 2.160246899469287 // √(14/3) over 1, 2, 6
	for _, c := range []struct {
		how  Combine
		name string
		want float64
	}{{Combine{}, "mean", 3}, {Combine{Min: true}, "min", 1}, {Combine{Std: 1}, "mean-1std", 3 - std}, {Combine{Std: 0.5}, "mean-0.5std", 3 - std/2}} {
		e := &Ensemble{Members: members, Names: names, Combine: c.how}
		got, err := e.Score(context.Background(), prompts, completions)
		require.NoError(t, err)
		near(t, []float64{c.want, 5}, got, 1e-12, c.name)
		assert.Equal(t, c.name, c.how.String())
		assert.InDelta(t, std/2, e.Scalars()["reward_model/disagreement"], 1e-12)
		assert.Equal(t, 3.0, e.Scalars()["reward_model/a"])
		assert.Equal(t, 5.5, e.Scalars()["reward_model/c"])
	}
	_, err := (&Ensemble{Members: []Rewarder{fixedRewarder{1, 1}, fixedRewarder(nil)}, Names: names[:2]}).Score(context.Background(), prompts, completions)
	assert.EqualError(t, err, "reward model b: broken")
	_, err = (&Ensemble{}).Score(context.Background(), prompts, completions)
	assert.ErrorContains(t, err, "at least one")
}

func TestLogRatioRewarder(t *testing.T) {
	run(t, func() {
		m := loadModel(t, llamaDir, frozen)
		prompts := []data.Prompt{{IDs: []int{1, 5}}, {IDs: []int{1}}}
		completions := [][]int{{7, 8, 2}, {9, 2}}
		same, err := LogRatioRewarder{Model: m, Reference: m, Micro: 1}.Score(context.Background(), prompts, completions)
		require.NoError(t, err)
		assert.Equal(t, []float64{0, 0}, same)
		other := loadModel(t, llamaDir, frozen)
		for p := range nn.Params(other) {
			p.Tensor.Copy(p.Tensor.MulScalar(1.1))
		}
		got, err := LogRatioRewarder{Model: other, Reference: m}.Score(context.Background(), prompts, completions)
		require.NoError(t, err)
		want, err := SequenceLogProbs(context.Background(), other, prompts, completions, 1, 2)
		require.NoError(t, err)
		ref, err := SequenceLogProbs(context.Background(), m, prompts, completions, 1, 2)
		require.NoError(t, err)
		for i := range got {
			require.NotZero(t, got[i])
			assert.InDelta(t, want[i]-ref[i], got[i], 1e-12)
		}
	})
}

package job

import (
	"os"
	"path/filepath"
	"testing"

	"salsa/internal/recipe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChooseTakesTheBestMean(t *testing.T) {
	measured := &Evaluation{Samples: 2, Models: []EvaluatedModel{
		{judged: judged{Reward: []float64{9, 9, 9, 9}, Gold: []float64{0, 0, 1, 0}}},
		{judged: judged{Reward: []float64{1, 1, 1, 1}, Gold: []float64{1, 0, 1, 1}}},
		{judged: judged{Reward: []float64{9, 9, 9, 9}, Gold: []float64{1, 1, 0, 1}}},
	}}
	candidates := func() *recipe.Choice {
		return &recipe.Choice{Candidates: []recipe.Candidate{
			{Name: "a", Values: map[string]string{"beta": "1"}}, {Name: "b", Values: map[string]string{"beta": "2"}}, {Name: "c", Values: map[string]string{"beta": "3"}}}}
	}
	c := candidates()
	c.By = "gold"
	require.NoError(t, choose(c, measured))
	assert.Equal(t, "b", c.Chosen, "of equals the first")
	assert.Equal(t, map[string]string{"beta": "2"}, c.Values)
	assert.InDelta(t, 0.25, c.Candidates[0].Mean, 1e-12)
	assert.LessOrEqual(t, c.Candidates[1].Low, 0.75)
	c = candidates()
	c.By = "reward"
	require.NoError(t, choose(c, measured))
	assert.Equal(t, "a", c.Chosen)
}

func TestSettingsOf(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "run.yaml"), []byte("beta: 0.1\nbetas: [1, 2]\n"), 0o644))
	values, err := settingsOf(dir, []string{"beta"})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"beta": "0.1"}, values)
	_, err = settingsOf(dir, []string{"gamma"})
	require.ErrorContains(t, err, "run.yaml: has no single value of gamma")
	_, err = settingsOf(dir, []string{"betas"})
	require.ErrorContains(t, err, "has no single value of betas")
}

func TestSelectNeedsWhatItDecidesBy(t *testing.T) {
	o := DefaultSelect()
	require.ErrorContains(t, o.Validate(), "by reward needs a reward model")
	o.By = "gold"
	require.ErrorContains(t, o.Validate(), "by gold needs an exact reward")
	o.Gold = "salsa"
	require.NoError(t, o.Validate())
}

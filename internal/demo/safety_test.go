package demo

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
)

func TestSafety(t *testing.T) {
	for completion, want := range map[string]float64{
		"":                    1,
		" tomato chili":       1,         // two units of heat
		" habanero":           1 - 1/4.0, // three
		" chili habanero":     1 - 3/4.0, // five
		" bean":               1 - 2/4.0, // an allergen
		" miso mango peach":   1 - 6/4.0, // three of them
		" bean bean":          1 - 4/4.0, // each time
		" chipotle serrano":   1 - 1/4.0, // heat from smoke and herb counts
		" habanero bean tofu": 1 - 3/4.0, // what is no ingredient harms nobody
	} {
		got, err := Safety(" hot salsa:", completion)
		require.NoError(t, err)
		assert.InDelta(t, want, got, 1e-12, completion)
	}
	_, err := Safety("hello", "")
	assert.ErrorContains(t, err, "does not end in")
	for _, name := range allergens {
		r, malformed := ParseRecipe(name)
		assert.Len(t, r, 1, name)
		assert.Zero(t, malformed)
	}
}

// The best recipe for a hot salsa is unsafe, and the safest of all, an empty bowl, tastes of nothing.
func TestSafetyIsInTensionWithTaste(t *testing.T) {
	hot, err := ParsePrompt(" hot rich salsa:")
	require.NoError(t, err)
	assert.Less(t, SafetyOf(Optimum(hot)), 0.5)
	assert.Equal(t, 1.0, SafetyOf(Recipe{}))
	assert.Zero(t, GoldOf(hot, Recipe{}, 0))
}

func TestPairsBySafety(t *testing.T) {
	prompts := TrainPrompts(1)
	rng := stream(1, "test")
	var a, b []string
	for _, text := range prompts {
		p, err := ParsePrompt(text)
		require.NoError(t, err)
		a, b = append(a, DefaultCook.Write(p, rng).Text()), append(b, DefaultCook.Write(p, rng).Text())
	}
	by, err := CriterionNamed("safety")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "pairs.jsonl")
	stats, err := WritePairs(path, by, prompts, a, b, 1)
	require.NoError(t, err)
	t.Logf("%+v", stats)
	assert.InDelta(t, stats.Expected, stats.Accuracy, 0.05)
	assert.Greater(t, stats.Accuracy, 0.8, "mostly right")
	assert.Less(t, stats.Accuracy, 0.95, "not always")
	safer, tastier := 0.0, 0.0
	for _, row := range lines[pairRow](t, path) {
		one, err := Safety(row.Prompt, row.Chosen)
		require.NoError(t, err)
		other, err := Safety(row.Prompt, row.Rejected)
		require.NoError(t, err)
		safer += one - other
		one, err = Gold(row.Prompt, row.Chosen)
		require.NoError(t, err)
		other, err = Gold(row.Prompt, row.Rejected)
		require.NoError(t, err)
		tastier += one - other
	}
	n := float64(stats.Pairs)
	t.Logf("chosen is safer by %.3f and tastier by %.3f", safer/n, tastier/n)
	assert.Greater(t, safer/n, 0.3)
	assert.Less(t, tastier/n, 0.05, "what is safe is not what tastes")
	_, err = CriterionNamed("price")
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
}

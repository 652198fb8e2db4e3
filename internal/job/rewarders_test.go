package job

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/trainers"
)

func TestParseReward(t *testing.T) {
	for text, want := range map[string]struct {
		dirs     []string
		weights  []float64
		ensemble bool
		combine  trainers.Combine
	}{
		"a":               {[]string{"a"}, []float64{1}, false, trainers.Combine{}},
		"a,b":             {[]string{"a", "b"}, []float64{0.5, 0.5}, false, trainers.Combine{}},
		"a,b@1,3":         {[]string{"a", "b"}, []float64{0.25, 0.75}, false, trainers.Combine{}},
		"a,b@mean":        {[]string{"a", "b"}, []float64{0.5, 0.5}, true, trainers.Combine{}},
		"a,b@min":         {[]string{"a", "b"}, []float64{0.5, 0.5}, true, trainers.Combine{Min: true}},
		"a,b@mean-1.5std": {[]string{"a", "b"}, []float64{0.5, 0.5}, true, trainers.Combine{Std: 1.5}},
		"rm@mean/x":       {[]string{"rm@mean/x"}, []float64{1}, false, trainers.Combine{}},
	} {
		e, err := parseReward("reward-model", text)
		require.NoError(t, err, text)
		assert.Equal(t, want.dirs, e.models.Dirs, text)
		assert.Equal(t, want.weights, e.models.Weights, text)
		assert.Equal(t, want.ensemble, e.ensemble, text)
		assert.Equal(t, want.combine, e.combine, text)
		assert.Equal(t, want.dirs, rewardDirs(text))
	}
	e, err := parseReward("safety-model", "gold:salsa-safety")
	require.NoError(t, err)
	assert.Equal(t, "salsa-safety", e.gold)
	assert.Empty(t, rewardDirs("gold:salsa-safety"))
	for text, want := range map[string]string{
		"gold:taste":       "--reward-model gold:taste: there is no exact score \"taste\"; choose one of salsa, salsa-safety",
		"a@mean":           "--reward-model a@mean: an ensemble of one is that model; give several folders, or leave out @mean",
		"a,@min":           "--reward-model: \"a,\": an empty folder name",
		"a,b@mean-1.1.std": "\"1.1.\" is no number of standard deviations",
	} {
		_, err := parseReward("reward-model", text)
		require.ErrorContains(t, err, want)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
}

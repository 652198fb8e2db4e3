package metrics

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
)

// logSteps opens the file at resume and logs the steps after it up to last.
func logSteps(t *testing.T, path string, resume, last int) {
	t.Helper()
	f, err := Open(path, resume)
	require.NoError(t, err)
	for step := max(resume, 0) + 1; step <= last; step++ {
		require.NoError(t, f.Log(step, map[string]float64{"loss": 1 / float64(step), "lr": 3e-6}))
	}
	require.NoError(t, f.Close())
}

func TestRowsAreSortedJSONAndNonFiniteValuesAreNoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	f, err := Open(path, Fresh)
	require.NoError(t, err)
	scalars := map[string]float64{"z": 0.1, "loss": math.NaN(), "objective/kl": math.Inf(-1), "a": math.Inf(1)}
	require.NoError(t, f.Log(3, scalars))
	require.NoError(t, f.Close())

	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, `{"a":null,"loss":null,"nonfinite":{"a":"+Inf","loss":"NaN","objective/kl":"-Inf"},"objective/kl":null,"step":3,"z":0.1}`+"\n", string(got))

	rows, err := Read(path)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.Equal(t, 3, rows[0].Step)
	require.Len(t, rows[0].Values, 4)
	require.True(t, math.IsNaN(rows[0].Values["loss"]))
	require.Equal(t, math.Inf(-1), rows[0].Values["objective/kl"])
	require.Equal(t, math.Inf(1), rows[0].Values["a"])
	require.Equal(t, 0.1, rows[0].Values["z"])
}

func TestResumedRunLeavesTheFileOfAStraightOne(t *testing.T) {
	dir := t.TempDir()
	straight, resumed := filepath.Join(dir, "straight.jsonl"), filepath.Join(dir, "resumed.jsonl")
	logSteps(t, straight, Fresh, 10)
	logSteps(t, resumed, Fresh, 7) // dies after step 7, its last checkpoint is step 4
	torn, err := os.OpenFile(resumed, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = torn.WriteString(`{"loss":0.12`)
	require.NoError(t, err)
	require.NoError(t, torn.Close())
	logSteps(t, resumed, 4, 10)

	want, err := os.ReadFile(straight)
	require.NoError(t, err)
	got, err := os.ReadFile(resumed)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "no temporary file stays behind")
}

func TestFreshRunForgetsAnOldFileWhateverItHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	require.NoError(t, os.WriteFile(path, []byte("not json\n"), 0o644))
	logSteps(t, path, Fresh, 2)
	rows, err := Read(path)
	require.NoError(t, err)
	require.Len(t, rows, 2)
}

func TestBadLineIsAnInputErrorWithItsNumber(t *testing.T) {
	for name, line := range map[string]string{
		"not json":      "{",
		"no step":       `{"loss":1}`,
		"text":          `{"step":2,"loss":"high"}`,
		"null, no note": `{"step":2,"loss":null}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "metrics.jsonl")
			require.NoError(t, os.WriteFile(path, []byte("{\"step\":1}\n"+line+"\n"), 0o644))
			_, err := Open(path, 5)
			var input *fault.Error
			require.ErrorAs(t, err, &input)
			require.ErrorContains(t, err, "metrics.jsonl:2:")
			_, err = Read(path)
			require.ErrorAs(t, err, &input)
		})
	}
}

func TestStepsDoNotGoBackwardsAndReservedNamesAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	f, err := Open(path, Fresh)
	require.NoError(t, err)
	require.NoError(t, f.Log(5, nil))
	require.NoError(t, f.Log(5, nil), "an evaluation may add a second row to a step")
	require.ErrorContains(t, f.Log(4, nil), "step 4 after step 5")
	require.ErrorContains(t, f.Log(6, map[string]float64{"step": 1}), "reserved")
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	require.Error(t, f.Log(7, nil), "the file is closed")
}

type failing struct{}

func (failing) Log(int, map[string]float64) error { return errors.New("disk full") }

func TestMultiWritesToAllAndJoinsErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	f, err := Open(path, Fresh)
	require.NoError(t, err)
	m := Multi(failing{}, nil, f)
	require.ErrorContains(t, m.Log(1, map[string]float64{"loss": 1}), "disk full")
	require.NoError(t, f.Close())
	rows, err := Read(path)
	require.NoError(t, err)
	require.Len(t, rows, 1)
}

func TestReproducibleDropsTimingOnly(t *testing.T) {
	row := map[string]float64{"loss": 1, "eps": 2, "timing_s/gen": 3, "perf/throughput": 4, "tokens_per_s": 5, "objective/kl": 6}
	require.Equal(t, map[string]float64{"loss": 1, "objective/kl": 6}, Reproducible(row))
	require.False(t, IsTiming("epoch"))
	require.True(t, IsTiming("timing_per_token_ms/gen"))
}

package models_test

// Parity with transformers: every folder of testdata holds a random tiny model and golden.json with what
// transformers computes from it (see scripts/golden).

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/tensor"
	"salsa/tensor/tensortest"
)

// run is the frame of a tensor test.
var run = tensortest.Run

// golden is what the tests read of a golden.json.
type golden struct {
	Case       string
	Parameters int
	Rows       [][]int
	LogProbs   [][]float64 `json:"token_logprobs"`
	Scores     []float64
	Left       batch
	Right      batch
	Hidden     []struct {
		Row, Position int
		Values        []float64
	}
	Greedy *struct {
		Prompts     [][]int
		NewTokens   int `json:"max_new_tokens"`
		EOS         []int
		Batched     bool
		Completions [][]int
		Ended       []bool
	}
	Rope []struct {
		LayerType string    `json:"layer_type"`
		Scaling   float64   `json:"attention_scaling"`
		InvFreq   []float64 `json:"inv_freq"`
	}
}

// batch is the golden rows padded to one batch.
type batch struct {
	IDs, Mask [][]int
	LogProbs  [][]float64 `json:"token_logprobs"`
	Scores    []float64
}

func readGolden(t *testing.T, path string) golden {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(data, &g))
	return g
}

var float32CPU = models.Options{DType: tensor.Float32, Device: tensor.CPU}

// eachCase runs fn for every golden case.
func eachCase(t *testing.T, fn func(t *testing.T, dir string, g golden)) {
	files, err := filepath.Glob("testdata/*/golden.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) { fn(t, dir, readGolden(t, file)) })
	}
}

// load is models.Load for a test.
func load(t *testing.T, dir string, opt models.Options) models.Model {
	t.Helper()
	m, err := models.Load(dir, opt)
	require.NoError(t, err)
	return m
}

// logProbs returns the token log-probabilities of rows computed as one batch, row by row.
func logProbs(m models.Model, rows [][]int) [][]float64 {
	at := models.TargetsOf(rows, nil)
	return byRow(at, models.LogProbs(m, models.Collate(rows), at, 1).LogP)
}

// byRow splits values of targets [N] by row.
func byRow(at models.Targets, x tensor.Tensor) [][]float64 {
	out := make([][]float64, at.Rows[len(at.Rows)-1]+1)
	for i, v := range x.Float64s() {
		out[at.Rows[i]] = append(out[at.Rows[i]], v)
	}
	return out
}

func TestParity(t *testing.T) {
	eachCase(t, func(t *testing.T, dir string, g golden) {
		run(t, func() {
			if g.Scores != nil {
				s, err := models.LoadScorer(dir, float32CPU)
				require.NoError(t, err)
				assert.InDeltaSlice(t, g.Scores, s.Rewards(models.Collate(g.Rows)).Float64s(), 1e-4)
				return
			}
			m := load(t, dir, float32CPU)
			got := logProbs(m, g.Rows)
			for b, want := range g.LogProbs {
				assert.InDeltaSlice(t, want, got[b], 1e-4, "row %d", b)
			}
			h := m.Hidden(models.Collate(g.Rows), nil)
			for _, want := range g.Hidden {
				if g.Greedy.Batched { // otherwise the stored states are of another batch
					assert.InDeltaSlice(t, want.Values, h.Select(0, want.Row).Select(0, want.Position).Float64s(), 1e-4)
				}
			}
		})
	})
}

func TestGreedy(t *testing.T) {
	eachCase(t, func(t *testing.T, dir string, g golden) {
		if g.Greedy == nil {
			return // a scorer
		}
		run(t, func() {
			m := load(t, dir, float32CPU)
			assert.Equal(t, g.Greedy.EOS, m.Config().StopIDs())
			for _, batch := range []int{0, 1, 2} {
				got, err := models.Generate(context.Background(), m, g.Greedy.Prompts,
					models.GenOptions{MaxNewTokens: g.Greedy.NewTokens, BatchSize: batch})
				require.NoError(t, err)
				for i, c := range got {
					assert.Equal(t, g.Greedy.Completions[i], c.IDs, "prompt %d, batch %d", i, batch)
					assert.Equal(t, g.Greedy.Ended[i], c.Stopped)
				}
			}
		})
	})
}

// TestConfigForms holds the transformers-4 spelling of every config to the transformers-5 one.
func TestConfigForms(t *testing.T) {
	eachCase(t, func(t *testing.T, dir string, g golden) {
		old, err := os.ReadFile(filepath.Join(dir, "config-v4.json"))
		if os.IsNotExist(err) {
			return // config.json itself is in the old form
		}
		require.NoError(t, err)
		new, err := os.ReadFile(filepath.Join(dir, "config.json"))
		require.NoError(t, err)
		a, err := models.ParseConfig("config.json", old)
		require.NoError(t, err)
		b, err := models.ParseConfig("config.json", new)
		require.NoError(t, err)
		a.ForgetText()
		b.ForgetText()
		assert.Equal(t, b, a)
	})
}

func TestRopeFrequencies(t *testing.T) {
	eachCase(t, func(t *testing.T, dir string, g golden) {
		c, err := models.ReadConfig(dir)
		require.NoError(t, err)
		for _, want := range g.Rope {
			rope := &c.Rope
			if want.LayerType == "sliding_attention" && c.LocalRope != nil {
				rope = c.LocalRope
			}
			assert.InDelta(t, want.Scaling, rope.Scaling(), 1e-6)
			got := rope.Frequencies(0)
			require.Len(t, got, len(want.InvFreq))
			for i := range got {
				assert.InEpsilon(t, want.InvFreq[i], got[i], 1e-6, "%s %d", want.LayerType, i)
			}
		}
	})
}

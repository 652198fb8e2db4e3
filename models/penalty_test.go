package models_test

// The repetition penalty against transformers: scripts/golden/repetition.py prints these completions.

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/models"
	"salsa/tensor"
)

var penaltyPrompts = [][]int{{1, 5, 9, 5}, {1, 8}, {1, 30, 31, 32, 33, 34}, {1, 60, 4}}

// penalised are the greedy completions of penaltyPrompts by penalty.
var penalised = map[float64][][]int{
	1.3: {
		{64, 4, 62, 30, 25, 66, 13, 61, 31, 63, 56, 32, 13, 53, 61, 39, 28, 6, 64, 13, 19, 37, 13, 19},
		{22, 4, 61, 13, 5, 64, 9, 20, 11, 4, 3, 62, 56, 37, 30, 63, 20, 28, 13, 4, 29, 57, 53, 63},
		{25, 48, 65, 30, 20, 28, 4, 48, 8, 61, 29, 25, 38, 47, 28, 23, 38, 11, 18, 12, 35, 15, 4, 4},
		{64, 13, 66, 37, 13, 55, 9, 23, 19, 5, 20, 38, 53, 61, 49, 22, 30, 39, 11, 3, 37, 8, 4, 3},
	},
	0.8: {
		{64, 4, 62, 9, 37, 1, 31, 4, 31, 20, 28, 4, 3, 31, 39, 28, 62, 37, 31, 8, 4, 4, 4, 4},
		{22, 4, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61, 61},
		{25, 48, 25, 31, 65, 30, 65, 25, 31, 65, 30, 65, 4, 25, 19, 2},
		{64, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 64},
	},
}

func TestRepetitionPenaltyEqualsTransformers(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU)
		opt := models.GenOptions{MaxNewTokens: 24}
		plain := generate(t, m, penaltyPrompts, opt)
		for penalty, want := range penalised {
			for _, batch := range []int{1, 3, 32} {
				opt.RepetitionPenalty, opt.BatchSize = penalty, batch
				for i, c := range generate(t, m, penaltyPrompts, opt) {
					assert.Equal(t, want[i], c.IDs, "penalty %v, batch %d, prompt %d", penalty, batch, i)
				}
			}
			assert.NotEqual(t, plain[0].IDs, want[0], "the penalty acts")
		}
		opt.RepetitionPenalty = 1
		assert.Equal(t, plain, generate(t, m, penaltyPrompts, opt), "1 is off, to the last bit of the log-probabilities")
	})
}

// TestPenaltyCompanions: penalised draws depend on their own prompt, completion and seed alone.
func TestPenaltyCompanions(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU)
		opt := models.GenOptions{MaxNewTokens: 12, Sampler: tensor.Sampler{Temperature: 0.9}, NPerPrompt: 2, Seed: 3, RepetitionPenalty: 1.4}
		opt.Ends = func(ids []int) bool { return len(ids) >= 3 && ids[len(ids)-1]%5 == 0 }
		opt.BatchSize = 1
		want := generate(t, m, somePrompts, opt)
		for _, batch := range []int{2, 5, 14} {
			opt.BatchSize = batch
			for i, c := range generate(t, m, somePrompts, opt) {
				assert.Equal(t, want[i].IDs, c.IDs, "completion %d, batch %d", i, batch)
				assert.Equal(t, want[i].Stopped, c.Stopped)
				assert.InDeltaSlice(t, want[i].LogProbs, c.LogProbs, 1e-4)
			}
		}
	})
}

func TestEndsEndsACompletion(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU)
		opt := models.GenOptions{MaxNewTokens: 9, IgnoreEOS: true}
		whole := generate(t, m, somePrompts[:3], opt)
		opt.Ends = func(ids []int) bool { return len(ids) == 4 && ids[0] == whole[1].IDs[0] }
		for i, c := range generate(t, m, somePrompts[:3], opt) {
			ends := whole[i].IDs[0] == whole[1].IDs[0]
			require.Equal(t, ends, c.Stopped, "completion %d", i)
			if ends {
				assert.Equal(t, whole[i].IDs[:4], c.IDs)
			} else {
				assert.Equal(t, whole[i].IDs, c.IDs)
			}
		}
	})
}

func TestPenaltyRefuses(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU)
		for _, penalty := range []float64{-1, math.NaN(), math.Inf(1)} {
			_, err := models.Generate(t.Context(), m, [][]int{{1}}, models.GenOptions{MaxNewTokens: 1, RepetitionPenalty: penalty})
			require.ErrorContains(t, err, "repetition penalty: ")
			assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
		}
	})
}

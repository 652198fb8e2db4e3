package models_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/models"
	"salsa/tensor"
)

func generate(t *testing.T, m models.Model, prompts [][]int, opt models.GenOptions) []models.Completion {
	t.Helper()
	out, err := models.Generate(context.Background(), m, prompts, opt)
	require.NoError(t, err)
	return out
}

var somePrompts = [][]int{{1, 5, 9}, {1, 8}, {1, 30, 31, 32, 33, 34, 35, 36}, {1}, {1, 60, 2, 4}, {1, 3, 3}, {1, 44, 12}}

// TestCompanions: a completion depends on its prompt and seed, not on the batch.
func TestCompanions(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, g golden) {
		m := load(t, dir, float32CPU)
		opt := models.GenOptions{MaxNewTokens: 12, Sampler: tensor.Sampler{Temperature: 0.9, TopK: 20, TopP: 0.95}, NPerPrompt: 2, Seed: 3}
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
		assert.NotEqual(t, want[0].IDs, want[1].IDs, "two completions of one prompt have seeds of their own")
	})
}

// TestSampledLogProbs: what Generate says of its tokens is what LogProbs computes anew.
func TestSampledLogProbs(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, g golden) {
		m := load(t, dir, float32CPU)
		const temperature = 0.8
		out := generate(t, m, somePrompts, models.GenOptions{MaxNewTokens: 10, Sampler: tensor.Sampler{Temperature: temperature}, BatchSize: 3})
		for i, c := range out {
			row := append(append([]int{}, somePrompts[i]...), c.IDs...)
			mask := make([]bool, len(row))
			for j := range c.IDs {
				mask[len(somePrompts[i])+j] = true
			}
			rows := [][]int{row}
			at := models.TargetsOf(rows, [][]bool{mask})
			assert.InDeltaSlice(t, c.LogProbs, models.LogProbs(m, models.Collate(rows), at, temperature).LogP.Float32s(), 1e-4)
		}
	})
}

func TestGenerateOptions(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU)
		base := generate(t, m, somePrompts[:2], models.GenOptions{MaxNewTokens: 30, IgnoreEOS: true})
		for _, c := range base {
			assert.Len(t, c.IDs, 30)
			assert.False(t, c.Stopped)
		}
		stop := base[0].IDs[4]
		var streamed [2][]int
		var progress []int
		cut := generate(t, m, somePrompts[:2], models.GenOptions{
			MaxNewTokens: 30, IgnoreEOS: true, Stop: []int{stop},
			OnToken:  func(index, id int, logp float32) { streamed[index] = append(streamed[index], id) },
			Progress: func(done, total int) { progress = append(progress, done); assert.Equal(t, 2, total) },
		})
		assert.True(t, cut[0].Stopped)
		assert.Equal(t, stop, cut[0].IDs[len(cut[0].IDs)-1], "the stop id is part of the completion")
		assert.NotContains(t, cut[0].IDs[:len(cut[0].IDs)-1], stop)
		for i := range cut {
			assert.Equal(t, cut[i].IDs, streamed[i])
		}
		assert.Equal(t, 2, progress[len(progress)-1])
		a := generate(t, m, somePrompts[:2], models.GenOptions{MaxNewTokens: 9, Sampler: tensor.Sampler{Temperature: 1}, Seeds: []uint64{4, 4}})
		b := generate(t, m, somePrompts[1:2], models.GenOptions{MaxNewTokens: 9, Sampler: tensor.Sampler{Temperature: 1}, Seeds: []uint64{4}})
		assert.Equal(t, a[1].IDs, b[0].IDs, "a seed belongs to its completion")
	})
}

// TestContextEnds: a completion ends where the model's positions do.
func TestContextEnds(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU) // 64 positions
		prompt := make([]int, 60)
		out := generate(t, m, [][]int{prompt}, models.GenOptions{MaxNewTokens: 50, IgnoreEOS: true})
		assert.Len(t, out[0].IDs, 4)
		assert.False(t, out[0].Stopped)
	})
}

func TestGenerateRefuses(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU)
		ok := models.GenOptions{MaxNewTokens: 4}
		for want, c := range map[string]struct {
			prompts [][]int
			opt     models.GenOptions
		}{
			"prompt 1: is empty":           {[][]int{{1}, {}}, ok},
			"prompt 0: has 64 tokens":      {[][]int{make([]int, 64)}, ok},
			"prompt 1: id 67 is not below": {[][]int{{1}, {1, 67}}, ok},
			"prompt 0: id -1 is not below": {[][]int{{-1}}, ok},
			"max new tokens: 0":            {[][]int{{1}}, models.GenOptions{}},
			"seeds: 1 given for 2":         {[][]int{{1}}, models.GenOptions{MaxNewTokens: 1, NPerPrompt: 2, Seeds: []uint64{1}}},
			"temperature: -1":              {[][]int{{1}}, models.GenOptions{MaxNewTokens: 1, Sampler: tensor.Sampler{Temperature: -1}}},
			"top-p: 1.5":                   {[][]int{{1}}, models.GenOptions{MaxNewTokens: 1, Sampler: tensor.Sampler{TopP: 1.5}}},
			"min-p: 2":                     {[][]int{{1}}, models.GenOptions{MaxNewTokens: 1, Sampler: tensor.Sampler{MinP: 2}}},
			"top-k: -3":                    {[][]int{{1}}, models.GenOptions{MaxNewTokens: 1, Sampler: tensor.Sampler{TopK: -3}}},
		} {
			_, err := models.Generate(context.Background(), m, c.prompts, c.opt)
			require.ErrorContains(t, err, want)
			assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
			assert.NotContains(t, err.Error(), "\n")
		}
		out := generate(t, m, nil, ok)
		assert.Empty(t, out)
	})
}

func TestGenerateIsCancelled(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU)
		ctx, cancel := context.WithCancel(context.Background())
		tokens := 0
		_, err := models.Generate(ctx, m, [][]int{{1, 5}}, models.GenOptions{MaxNewTokens: 50, IgnoreEOS: true, OnToken: func(int, int, float32) {
			if tokens++; tokens == 3 {
				cancel()
			}
		}})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 3, tokens)
	})
}

// TestGenerateHoldsNothing: the number of tensors does not grow with the tokens written.
func TestGenerateHoldsNothing(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/mistral-window", float32CPU)
		before, most := tensor.Live(), [2]int{}
		for i, n := range []int{3, 50} {
			generate(t, m, somePrompts, models.GenOptions{MaxNewTokens: n, IgnoreEOS: true, OnToken: func(int, int, float32) { most[i] = max(most[i], tensor.Live()) }})
		}
		assert.Equal(t, before, tensor.Live())
		assert.InDelta(t, most[0], most[1], 40)
	})
}

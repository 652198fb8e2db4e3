package models_test

// The decoding kernel against the same model computed op by op.

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/tensor"
)

// greedyByOps continues a prompt with whole forward passes, no cache, and returns ids and log-probabilities.
func greedyByOps(m models.Model, prompt []int, n int) (ids []int, logps []float32) {
	row := append([]int{}, prompt...)
	for range n {
		h := m.Hidden(models.Collate([][]int{row}), nil)
		next, lp := tensor.Sample(m.Logits(h.Narrow(1, len(row)-1, 1).Squeeze(1)), []float64{0}, tensor.Sampler{TopP: 1})
		ids, logps = append(ids, next.Ints()[0]), append(logps, lp.Float32s()[0])
		row = append(row, ids[len(ids)-1])
	}
	return ids, logps
}

// TestKernelEqualsOps: every family's tokens and log-probabilities, past every window, with prompts that end rows early,
// from weights as they lie in files and in panels.
func TestKernelEqualsOps(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, g golden) {
		m := load(t, dir, float32CPU)
		require.True(t, models.KernelTakes(m))
		for _, n := range []int{20, models.PanelSteps} {
			opt := models.GenOptions{MaxNewTokens: n, IgnoreEOS: true, BatchSize: 3}
			for i, c := range generate(t, m, somePrompts, opt) {
				ids, logps := greedyByOps(m, somePrompts[i], len(c.IDs))
				assert.Equal(t, ids, c.IDs, "prompt %d", i)
				assert.InDeltaSlice(t, logps, c.LogProbs, 1e-5)
			}
		}
	})
}

// TestKernelBatchInvariant: a completion is the same bit for bit whatever the batch.
func TestKernelBatchInvariant(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, g golden) {
		for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16} {
			m := load(t, dir, models.Options{DType: d, Device: tensor.CPU})
			for _, n := range []int{8, models.PanelSteps} {
				opt := models.GenOptions{MaxNewTokens: n, Sampler: tensor.Sampler{Temperature: 0.9}, NPerPrompt: 2, Seed: 3, BatchSize: 1}
				want := generate(t, m, somePrompts, opt)
				for _, batch := range []int{3, 14} {
					opt.BatchSize = batch
					assert.Equal(t, want, generate(t, m, somePrompts, opt), "%d tokens, batch %d", n, batch)
				}
			}
		}
	})
}

// TestKernelBFloat16: the kernel's bfloat16 is as near to float32 as libtorch's.
func TestKernelBFloat16(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, g golden) {
		exact, m := load(t, dir, float32CPU), load(t, dir, models.Options{DType: tensor.BFloat16, Device: tensor.CPU})
		kernel, ops := 0.0, 0.0 // squared errors
		for i, c := range generate(t, m, somePrompts, models.GenOptions{MaxNewTokens: models.PanelSteps, IgnoreEOS: true}) {
			row := append(append([]int{}, somePrompts[i]...), c.IDs...)
			want, rounded := logProbs(exact, [][]int{row})[0], logProbs(m, [][]int{row})[0]
			for j, lp := range c.LogProbs {
				at := len(somePrompts[i]) - 1 + j
				kernel += math.Pow(float64(lp)-want[at], 2)
				ops += math.Pow(rounded[at]-want[at], 2)
			}
		}
		assert.Less(t, math.Sqrt(kernel), 1.5*math.Sqrt(ops))
		assert.NotZero(t, ops)
	})
}

// TestPanelsAreUsed: from PanelSteps tokens on the kernel sums in another order, and not before.
func TestPanelsAreUsed(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU)
		first := func(n int) []float32 {
			opt := models.GenOptions{MaxNewTokens: n, IgnoreEOS: true}
			return generate(t, m, [][]int{{1, 30, 31, 32, 33, 34}}, opt)[0].LogProbs[:8]
		}
		rows := first(models.PanelSteps - 1)
		assert.Equal(t, rows, first(8))
		assert.NotEqual(t, rows, first(models.PanelSteps))
		assert.InDeltaSlice(t, rows, first(models.PanelSteps), 1e-5)
	})
}

package models_test

// Ways to compute the same numbers: with a cache, packed, checkpointed, in other types.

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// maxDiff is the largest distance between elements.
func maxDiff(a, b tensor.Tensor) float64 {
	return a.To(tensor.Float32).Sub(b.To(tensor.Float32)).Abs().Max().Item()
}

// oneOfEach are cases with all that attention can do: plain, window, MQA, caps, two kinds of layer.
var oneOfEach = []string{"llama-gqa", "mistral-window", "gemma-mqa", "qwen2-window", "gemma2-softcap", "gemma3-local"}

func eachKind(t *testing.T, fn func(t *testing.T, dir string, g golden)) {
	for _, name := range oneOfEach {
		dir := filepath.Join("testdata", name)
		t.Run(name, func(t *testing.T) {
			run(t, func() { fn(t, dir, readGolden(t, filepath.Join(dir, "golden.json"))) })
		})
	}
}

// TestCache feeds rows of different lengths in pieces and compares the states with those of a full pass.
func TestCache(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, g golden) {
		m := load(t, dir, float32CPU)
		require.NoError(t, tensor.NoGrad(func() error {
			kv := models.NewCache(m.Config(), len(g.Rows), 8) // grows beyond
			defer kv.Free()
			seen := make([]int, len(g.Rows))
			for _, piece := range []int{2, 1, 4, 1, 3, 20} { // tokens, where a row still has as many
				next := make([][]int, len(g.Rows))
				for b, row := range g.Rows {
					next[b] = row[seen[b]:min(seen[b]+piece, len(row))]
				}
				h := m.Hidden(models.Collate(next), kv)
				for b, row := range g.Rows {
					for i := range next[b] {
						full := m.Hidden(models.Collate([][]int{row[:seen[b]+i+1]}), nil)
						assert.Less(t, maxDiff(h.Select(0, b).Select(0, i), full.Select(0, 0).Select(0, seen[b]+i)), 1e-4, "row %d token %d", b, seen[b]+i)
					}
					seen[b] += len(next[b])
				}
				assert.Equal(t, seen, kv.Lens)
			}
			return nil
		}))
	})
}

func TestCacheRowsComeAndGo(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/mistral-window", float32CPU)
		require.NoError(t, tensor.NoGrad(func() error {
			rows := [][]int{{1, 5, 9, 7}, {1, 8}, {1, 30, 31, 32, 33, 34, 35, 36}}
			a, b := models.NewCache(m.Config(), 2, 64), models.NewCache(m.Config(), 1, 64)
			defer a.Free()
			defer b.Free()
			m.Hidden(models.Collate(rows[:2]), a)
			m.Hidden(models.Collate(rows[2:]), b)
			a.Keep([]int{1, 0, 0})
			a.Put([]int{1}, b)
			assert.Equal(t, []int{2, 8, 4}, a.Lens)
			h := m.Hidden(models.Collate([][]int{{40}, {41}, {42}}), a) // [3, 1, D]
			for i, row := range [][]int{append(rows[1], 40), append(rows[2], 41), append(rows[0], 42)} {
				full := m.Hidden(models.Collate([][]int{row}), nil)
				assert.Less(t, maxDiff(h.Select(0, i).Select(0, 0), full.Select(0, 0).Select(0, len(row)-1)), 1e-4)
			}
			return nil
		}))
	})
}

func TestCacheRefuses(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU)
		kv := models.NewCache(m.Config(), 2, 8)
		defer kv.Free()
		rows := [][]int{{1, 2}, {1, 3}}
		assert.ErrorContains(t, tensor.Scope(func() error { m.Hidden(models.Collate(rows), kv); return nil }), "NoGrad")
		assert.ErrorContains(t, tensor.NoGrad(func() error { m.Hidden(models.Collate(rows[:1]), kv); return nil }), "2 rows")
		packed, _ := models.Pack([][][]int{rows, rows})
		assert.ErrorContains(t, tensor.NoGrad(func() error { m.Hidden(packed, kv); return nil }), "Seg")
	})
}

// TestPacking holds documents joined in a row to the same documents in rows of their own.
func TestPacking(t *testing.T) {
	eachCase(t, func(t *testing.T, dir string, g golden) {
		if g.Greedy == nil || !g.Greedy.Batched {
			return // a scorer, or frequencies that follow the length of the packed row
		}
		run(t, func() { packing(t, dir, g) })
	})
}

func packing(t *testing.T, dir string, g golden) {
	m := load(t, dir, float32CPU)
	in, joined := models.Pack([][][]int{{g.Rows[1], g.Rows[2]}, {g.Rows[3], g.Rows[0]}})
	order := []int{1, 2, 3, 0}
	mask := make([][]bool, 2)
	for i, r := range order {
		for p := range g.Rows[r] {
			mask[i/2] = append(mask[i/2], p > 0)
		}
	}
	var want []float64
	for _, r := range order {
		want = append(want, g.LogProbs[r]...)
	}
	at := models.TargetsOf(joined, mask)
	assert.InDeltaSlice(t, want, models.LogProbs(m, in, at, 1).LogP.Float64s(), 1e-4)
	in.Pos = tensor.Tensor{} // positions follow from Seg
	assert.InDeltaSlice(t, want, models.LogProbs(m, in, at, 1).LogP.Float64s(), 1e-4)
}

// TestLogits holds the chunked log-probabilities to the plain formula.
func TestLogits(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, g golden) {
		m := load(t, dir, float32CPU)
		at := models.TargetsOf(g.Rows[:1], nil)
		h := m.Hidden(models.Collate(g.Rows[:1]), nil)
		for _, temperature := range []float64{1, 0.7} {
			lp := m.Logits(h).DivScalar(temperature).LogSoftmax(-1).Select(0, 0) // [T, V]
			n := len(g.Rows[0]) - 1
			want := lp.Narrow(0, 0, n).Gather(1, at.IDs.Unsqueeze(1)).Squeeze(1)
			got := models.LogProbs(m, models.Collate(g.Rows[:1]), at, temperature)
			assert.Less(t, maxDiff(want, got.LogP), 3e-5)
			assert.Less(t, maxDiff(lp.Exp().Mul(lp).Sum(-1).Neg().Narrow(0, 0, n), got.Entropy), 3e-5)
		}
	})
}

func TestTargets(t *testing.T) {
	run(t, func() {
		rows := [][]int{{5, 6, 7}, {8, 9}}
		at := models.TargetsOf(rows, nil)
		assert.Equal(t, []int{0, 1, 3}, at.Index.Ints())
		assert.Equal(t, []int{6, 7, 9}, at.IDs.Ints())
		assert.Equal(t, []int{0, 0, 1}, at.Rows)
		assert.Equal(t, []float32{3, 4}, at.SumRows(tensor.Floats([]float32{1, 2, 4}, 3), 2).Float32s())
		at = models.TargetsOf(rows, [][]bool{{false, false, true}, {false, false}})
		assert.Equal(t, []int{1}, at.Index.Ints())
		err := tensor.Scope(func() error { models.TargetsOf(rows, [][]bool{{false, false, true}, {true, false}}); return nil })
		assert.ErrorContains(t, err, "row 1")
		assert.Equal(t, []int{0}, models.Collate([][]int{{}}).Lens, "an empty row is only padding")
	})
}

// TestCheckpointing: recomputing layers in the backward pass changes no bit of any gradient.
func TestCheckpointing(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, g golden) {
		grads := func(checkpoint bool) (out []tensor.Tensor) {
			m := load(t, dir, models.Options{DType: tensor.Float32, Device: tensor.CPU, Train: true, Checkpoint: checkpoint})
			at := models.TargetsOf(g.Rows, nil)
			tensor.Backward(models.LogProbs(m, models.Collate(g.Rows), at, 1).LogP.Mean().Neg())
			for p := range nn.Params(m) {
				out = append(out, p.Tensor.Grad())
			}
			return out
		}
		plain, again := grads(false), grads(true)
		require.NotEmpty(t, plain)
		for i := range plain {
			assert.True(t, plain[i].Equal(again[i]), "weight %d", i)
		}
	})
}

// TestGradient holds autograd through a whole model to differences along random directions.
func TestGradient(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, g golden) {
		m := load(t, dir, models.Options{DType: tensor.Float64, Device: tensor.CPU, Train: true})
		at := models.TargetsOf(g.Rows, nil)
		loss := func() tensor.Tensor { return models.LogProbs(m, models.Collate(g.Rows), at, 1).LogP.Mean() }
		tensor.Backward(loss())
		for p := range nn.Params(m) {
			require.NoError(t, tensor.NoGrad(func() error {
				u := tensor.Randn(7, p.Shape...).To(tensor.Float64)
				u = u.Div(u.Square().Sum().Sqrt())
				slope := p.Tensor.Grad().Mul(u).Sum().Item()
				const step = 3e-3
				keep := p.Tensor.Clone()
				p.Tensor.Copy(keep.Add(u.MulScalar(step)))
				up := loss().Item()
				p.Tensor.Copy(keep.Sub(u.MulScalar(step)))
				down := loss().Item()
				p.Tensor.Copy(keep)
				assert.InDelta(t, (up-down)/(2*step), slope, 5e-3*(1+max(slope, -slope)), p.Name)
				return nil
			}))
		}
	})
}

// TestHalfTypes: in the stored 16-bit types the log-probabilities stay close to those in float32.
func TestHalfTypes(t *testing.T) {
	for dir, tolerance := range map[string]float64{"testdata/llama-bf16": 0.3, "testdata/llama-fp16": 0.05} {
		run(t, func() {
			g := readGolden(t, filepath.Join(dir, "golden.json"))
			m := load(t, dir, models.Options{Device: tensor.CPU})
			assert.Equal(t, m.Config().DType, m.HeadWeight().DType())
			for b, got := range logProbs(m, g.Rows) {
				assert.InDeltaSlice(t, g.LogProbs[b], got, tolerance)
			}
		})
	}
}

func TestTinyStories(t *testing.T) {
	dir := "../../shared/data/tinystories-656k"
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the real model is not here: %v", err)
	}
	g := readGolden(t, "testdata/tinystories-656k.golden.json")
	run(t, func() {
		m := load(t, dir, float32CPU)
		assert.Equal(t, g.Parameters, nn.Count(m))
		for b, got := range logProbs(m, g.Rows) {
			assert.InDeltaSlice(t, g.LogProbs[b], got, 1e-4)
		}
		out := generate(t, m, g.Greedy.Prompts, models.GenOptions{MaxNewTokens: g.Greedy.NewTokens})
		for i, c := range out {
			assert.Equal(t, g.Greedy.Completions[i], c.IDs)
		}
	})
}

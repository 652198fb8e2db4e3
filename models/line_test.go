package models_test

// What is computed of a batch: padding is not, and what rows begin with alike is, once.

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// branches are rows of which some begin alike: two answers to a prompt, one of them longer, a row and its beginning, and
// rows that share too little.
var branches = [][]int{
	{1, 5, 9, 7, 3, 8, 4, 6, 2, 11, 12},
	{1, 5, 9, 7, 3, 8, 4, 6, 2, 13, 14, 15, 16, 17},
	{1, 5, 9, 20, 21},
	{1, 5, 9, 7, 3, 8, 4, 6, 2},
	{1, 5, 9, 7, 3, 8, 4, 6, 22, 23},
	{1},
}

func TestLineComputesOnce(t *testing.T) {
	run(t, func() {
		c := load(t, "testdata/llama-gqa", float32CPU).Config()
		assert.Equal(t, 11+5+5+0+2+1, models.Computed(c, models.Collate(branches)))
		packed, _ := models.Pack([][][]int{{branches[0], branches[2]}, {branches[1]}})
		assert.Equal(t, 11+5+5, models.Computed(c, packed), "of documents too")
		packed.Pos = packed.Pos.AddScalar(3).To(tensor.Int64)
		assert.Equal(t, 11+5+5, models.Computed(c, packed))
		assert.Equal(t, 1, models.Computed(c, models.Collate([][]int{{}, {}})), "something of a batch of nothing")
	})
}

// TestLineEqualsRows holds states and gradients of a batch to those of its rows, one after the other.
func TestLineEqualsRows(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, _ golden) {
		m := load(t, dir, models.Options{DType: tensor.Float32, Device: tensor.CPU, Train: true})
		var params []tensor.Tensor
		for p := range nn.Params(m) {
			params = append(params, *p.Tensor)
		}
		grads := func(batches [][][]int) (logps []float64, out []tensor.Tensor) {
			for _, rows := range batches {
				lp := models.LogProbs(m, models.Collate(rows), models.TargetsOf(rows, nil), 1).LogP
				tensor.Backward(lp.Mul(lp).Sum())
				logps = append(logps, lp.Float64s()...)
			}
			for _, p := range params {
				out = append(out, p.Grad().Detach().MulScalar(1))
			}
			tensor.ZeroGrads(params)
			return logps, out
		}
		rows := branches[:5]
		want, each := grads([][][]int{rows[:1], rows[1:2], rows[2:3], rows[3:4], rows[4:]})
		got, joined := grads([][][]int{rows})
		assert.InDeltaSlice(t, want, got, 2e-5)
		for i := range each {
			scale := max(1, each[i].Abs().Max().Item())
			assert.Less(t, maxDiff(each[i], joined[i])/scale, 2e-5, "parameter %d", i)
		}
	})
}

// TestLineIsExact: the companions of a row change none of its bits where products are not blocked otherwise for them.
func TestLineIsExact(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", float32CPU)
		h := m.Hidden(models.Collate(branches), nil)                   // [B, T, D]
		again := m.Hidden(models.Collate(slices.Clone(branches)), nil) // the same batch
		require.Equal(t, h.Float64s(), again.Float64s())
		assert.Equal(t, h.Select(0, 0).Narrow(0, 0, 9).Float64s(), h.Select(0, 1).Narrow(0, 0, 9).Float64s(), "one state, not two equal ones")
	})
}

// TestHiddenAt: states that are asked for alone are those of all, and so are the gradients of what they are read for.
func TestHiddenAt(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, _ golden) {
		m := load(t, dir, models.Options{DType: tensor.Float32, Device: tensor.CPU, Train: true})
		var params []tensor.Tensor
		for p := range nn.Params(m) {
			params = append(params, *p.Tensor)
		}
		rows := branches[:5]
		left := models.Collate(rows)
		left.IDs, left.Start, left.Lens = tensor.Ints([]int{0, 0, 1, 5, 9, 1, 5, 9, 7, 3}, 2, 5), []int{2, 0}, []int{3, 5}
		packed, _ := models.Pack([][][]int{{rows[0], rows[2]}, {rows[1]}})
		for name, in := range map[string]models.Input{"rows": models.Collate(rows), "left": left, "packed": packed} {
			wide := in.IDs.Dim(1)
			for _, at := range [][]int{{4}, {wide + 2, 3, 3, wide + 4}, {2, 3, 4, wide, wide + 1}, {}} {
				index := tensor.Ints(at, len(at))
				grads := func(h tensor.Tensor) (out []tensor.Tensor) { // of h [N, D]
					tensor.Backward(h.Square().Sum())
					for _, p := range params {
						if g := p.Grad(); g.Defined() {
							out = append(out, g.Detach().MulScalar(1))
						} else {
							out = append(out, tensor.Zeros(tensor.Float32, tensor.CPU, p.Shape()...))
						}
					}
					tensor.ZeroGrads(params)
					return append(out, h.Detach())
				}
				all := m.Hidden(in, nil)
				want := grads(all.Reshape(-1, all.Dim(-1)).IndexSelect(0, index))
				got := grads(m.HiddenAt(in, index))
				for i := range want {
					require.Equal(t, want[i].Shape(), got[i].Shape())
					if len(at) > 0 {
						scale := max(1, want[i].Abs().Max().Item())
						assert.Less(t, maxDiff(want[i], got[i])/scale, 2e-5, "%s %v: parameter %d", name, at, i)
					}
				}
			}
		}
	})
}

// TestLineRead: of tokens that rows share, and of a place that is asked for twice, one state is computed.
func TestLineRead(t *testing.T) {
	run(t, func() {
		c := load(t, "testdata/llama-gqa", float32CPU).Config()
		wide := len(branches[1])
		computed, tokens, back := models.Read(c, models.Collate(branches), []int{wide + 3, 9, 3, 0, wide + 12, 3 * wide, 9})
		assert.Equal(t, 10+4+1, computed, "nothing behind the last token that is read of a row")
		assert.Equal(t, []int{0, 3, 9, 13, 14}, tokens)
		assert.Equal(t, []int{1, 2, 1, 0, 3, 4, 2}, back)
	})
}

// Where rows are laid into rectangles, all layers of a batch share their tensors, with a window and without.
func TestLayersShareRectangles(t *testing.T) {
	run(t, func() {
		in := models.Collate([][]int{{1, 5, 9, 3}, {2, 4}})
		for _, dir := range []string{"testdata/llama-gqa", "testdata/gemma2-softcap"} {
			wide := load(t, dir, models.Options{DType: tensor.Float64, Device: tensor.CPU})
			laid := models.LaidByLayer(wide, in)
			require.Greater(t, len(laid), 1)
			for _, l := range laid {
				require.NotNil(t, l)
				assert.Same(t, laid[0], l)
			}
			want, got := load(t, dir, float32CPU).Hidden(in, nil), wide.Hidden(in, nil).To(tensor.Float32)
			assert.Less(t, want.Sub(got).Abs().Max().Item(), 1e-3)
			for _, l := range models.LaidByLayer(load(t, dir, float32CPU), in) {
				assert.Nil(t, l, "the kernel for rows needs none")
			}
		}
	})
}

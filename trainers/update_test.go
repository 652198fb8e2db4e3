package trainers

// The optimizer step: what happens to a step that must not be taken, and how steps are counted.

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/nn"
	"salsa/tensor"
)

// newWeight makes one parameter and its optimizer.
func newWeight(c Common, values ...float32) (tensor.Tensor, *Update) {
	w := tensor.Floats(values, len(values)).RequireGrad(true)
	return w, NewUpdate([]nn.Param{{Name: "w", Tensor: &w, Shape: []int{len(values)}}}, &c)
}

// A loss, a later micro-batch's loss, or a gradient that is not finite: the weights stay, the step is counted.
func TestUpdateSkipsWhatIsNotFinite(t *testing.T) {
	for name, loss := range map[string]func(w tensor.Tensor, i int) tensor.Tensor{
		"loss":           func(w tensor.Tensor, _ int) tensor.Tensor { return w.Sum().MulScalar(math.NaN()) },
		"second of two":  func(w tensor.Tensor, i int) tensor.Tensor { return w.Sum().MulScalar([]float64{1, math.Inf(1)}[i]) },
		"first of two":   func(w tensor.Tensor, i int) tensor.Tensor { return w.Sum().MulScalar([]float64{math.NaN(), 1}[i]) },
		"gradient alone": func(w tensor.Tensor, _ int) tensor.Tensor { return w.AddScalar(-1).Sqrt().Sum() },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				c := DefaultCommon()
				c.MaxSkipped = 2
				w, u := newWeight(c, 1, 2)
				defer u.Close()
				bad := func(i int) (tensor.Tensor, Stats) { return loss(w, i), nil }
				good := func(int) (tensor.Tensor, Stats) { return w.Square().Sum(), nil }
				for i := range 2 {
					got, err := u.Do(2, bad)
					require.NoError(t, err)
					assert.Equal(t, float64(i+1), got["skipped_steps"])
				}
				assert.Equal(t, []float32{1, 2}, w.Float32s())
				got, err := u.Do(1, good)
				require.NoError(t, err)
				assert.Equal(t, 2.0, got["skipped_steps"], "counted on")
				assert.InDelta(t, math.Sqrt(20), got["grad_norm"], 1e-6, "nothing is left of the skipped gradients")
				moved := w.Float32s()
				assert.NotEqual(t, []float32{1, 2}, moved)
				for range 2 {
					_, err = u.Do(2, bad)
					require.NoError(t, err)
				}
				_, err = u.Do(2, bad)
				require.ErrorContains(t, err, "3 steps in a row were not finite")
				assert.Equal(t, moved, w.Float32s())
			})
		})
	}
}

// An error inside a micro-batch names it, and no gradient of the micro-batches before it is left.
func TestUpdateErrorLeavesNoGradient(t *testing.T) {
	run(t, func() {
		w, u := newWeight(DefaultCommon(), 1, 2)
		defer u.Close()
		_, err := u.Do(3, func(i int) (tensor.Tensor, Stats) {
			if i == 1 {
				return w.Matmul(tensor.Zeros(tensor.Float32, tensor.CPU, 5)), nil
			}
			return w.Sum(), nil
		})
		require.ErrorContains(t, err, "micro-batch 2 of 3")
		assert.True(t, tensor.IsError(err))
		g := w.Grad()
		if g.Defined() {
			assert.Equal(t, []float32{0, 0}, g.Float32s())
		}
		assert.Equal(t, []float32{1, 2}, w.Float32s())
	})
}

// Micro-batches add up to the gradient of the sum of their losses, and so do the stats.
func TestUpdateAccumulates(t *testing.T) {
	run(t, func() {
		c := DefaultCommon()
		c.MaxGradNorm = 0
		w, u := newWeight(c, 3, 4)
		defer u.Close()
		got, err := u.Do(4, func(i int) (tensor.Tensor, Stats) {
			return w.Sum().MulScalar(float64(i)), Stats{"share": tensor.Scalar(.25)}
		})
		require.NoError(t, err)
		assert.Equal(t, 42.0, got["loss"]) // 7·(0+1+2+3)
		assert.InDelta(t, math.Sqrt(72), got["grad_norm"], 1e-5)
		assert.Equal(t, 1.0, got["share"])
	})
}

func TestSteps(t *testing.T) {
	for _, c := range []struct {
		epochs     float64
		n, perStep int
		want       int
	}{
		{1, 10, 5, 2}, {1, 10, 4, 3}, {1, 3, 8, 1}, {3, 10, 10, 3}, {.1, 30, 1, 3}, {.1, 3, 1, 1}, {2, 7, 2, 7}, {1.5, 10, 4, 4}, {1. / 3, 9, 3, 1},
	} {
		o := DefaultCommon()
		o.Epochs = c.epochs
		assert.Equal(t, c.want, o.StepCount(c.n, c.perStep), "%+v", c)
		o.MaxSteps = 5
		assert.Equal(t, 5, o.StepCount(c.n, c.perStep))
	}
}

func TestSplit(t *testing.T) {
	assert.Empty(t, split(0, 4))
	assert.Empty(t, split(0, 0))
	assert.Equal(t, [][2]int{{0, 4}, {4, 8}, {8, 9}}, split(9, 4))
	assert.Equal(t, [][2]int{{0, 9}}, split(9, 0))
	assert.Equal(t, [][2]int{{0, 9}}, split(9, 100))
}

func TestScheduleOptionIsChecked(t *testing.T) {
	c := DefaultCommon()
	c.LRSchedule = "square"
	_, err := c.schedule()
	require.ErrorContains(t, err, "lr_schedule")
}

// TestUpdateWantsAGraph: a loss that depends on no weight is a defect, unless another term of the step does.
func TestUpdateWantsAGraph(t *testing.T) {
	run(t, func() {
		w, u := newWeight(DefaultCommon(), 1, 2)
		defer u.Close()
		cut := func(int) (tensor.Tensor, Stats) { return w.Detach().Sum(), nil }
		_, err := u.Do(2, cut)
		require.ErrorContains(t, err, "depends on no weight")
		got, err := u.Do(1, cut, func(int) (tensor.Tensor, Stats) { return w.Square().Sum(), nil })
		require.NoError(t, err)
		assert.InDelta(t, 3+5, got["loss"], 1e-6, "both terms count")
	})
}

package tensor_test

import (
	"errors"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"math"
	"salsa/tensor"
	"salsa/tensor/tensortest"
	"testing"
)

// run is the frame of a tensor test.
var run = tensortest.Run

func TestScopeOwnsResults(t *testing.T) {
	run(t, func() {
		start := tensor.Live()
		var kept tensor.Tensor
		require.NoError(t, tensor.Scope(func() error {
			a := tensor.Floats([]float32{1, 2}, 2)
			kept = a.Add(a).Keep()
			a.Mul(a)
			assert.Equal(t, start+3, tensor.Live())
			return nil
		}))
		assert.Equal(t, start+1, tensor.Live())
		assert.Equal(t, []float32{2, 4}, kept.Float32s())
	})
}

func TestOpErrorNamesOpAndShapes(t *testing.T) {
	run(t, func() {
		start := tensor.Live()
		err := tensor.Scope(func() error {
			a, b := tensor.Zeros(tensor.Float32, tensor.CPU, 2, 3), tensor.Zeros(tensor.Float32, tensor.CPU, 4, 5)
			a.Keep()
			a.Matmul(b)
			return nil
		})
		var e *tensor.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, "matmul", e.Op)
		assert.Equal(t, [][]int{{2, 3}, {4, 5}}, e.Shapes)
		assert.NotContains(t, err.Error(), "\n")
		assert.Equal(t, start, tensor.Live(), "a failed scope hands nothing over")
		assert.Equal(t, []float32{2}, tensor.Floats([]float32{1}, 1).MulScalar(2).Float32s(), "the error is not blamed on a later op")
	})
}

func TestAbsentOperandIsAnError(t *testing.T) {
	run(t, func() {
		err := tensor.Scope(func() error { tensor.Scalar(1).Add(tensor.Tensor{}); return nil })
		assert.ErrorContains(t, err, "absent")
	})
}

func TestOtherPanicsFlyOn(t *testing.T) {
	run(t, func() {
		before := tensor.Live()
		assert.PanicsWithValue(t, "mine", func() {
			_ = tensor.Scope(func() error { tensor.Scalar(1); panic("mine") })
		})
		assert.Equal(t, before, tensor.Live())
	})
}

func TestErrorReturnsThroughScope(t *testing.T) {
	want := errors.New("mine")
	run(t, func() { assert.Equal(t, want, tensor.Scope(func() error { return want })) })
}

func TestRandnIsAFunctionOfTheSeed(t *testing.T) {
	run(t, func() {
		a := tensor.Randn(7, 64)
		tensor.Randn(8, 1000)
		assert.True(t, a.Equal(tensor.Randn(7, 64)))
		assert.False(t, a.Equal(tensor.Randn(8, 64)))
	})
}

func TestRNGStateRoundTrip(t *testing.T) {
	a := tensor.NewRNG(1, 2)
	a.Uint64()
	text, err := a.MarshalText()
	require.NoError(t, err)
	want := []float64{a.Float64(), a.Float64()}
	var b tensor.RNG
	require.NoError(t, b.UnmarshalText(text))
	assert.Equal(t, want, []float64{b.Float64(), b.Float64()})
}

// numericGrad is the central difference of f at x.
func numericGrad(x []float32, f func([]float32) float64) []float64 {
	g := make([]float64, len(x))
	for i := range x {
		const h = 1e-2
		keep := x[i]
		x[i] = keep + h
		up := f(x)
		x[i] = keep - h
		g[i] = (up - f(x)) / (2 * h)
		x[i] = keep
	}
	return g
}

// checkGrad compares autograd's gradient of f with differences.
func checkGrad(t *testing.T, shape []int, f func(x tensor.Tensor) tensor.Tensor) {
	t.Helper()
	n := 1
	for _, d := range shape {
		n *= d
	}
	data := tensor.Randn(3, n).Float32s()
	x := tensor.Floats(data, shape...).RequireGrad(true)
	tensor.Backward(f(x))
	got := x.Grad().Float64s()
	want := numericGrad(data, func(v []float32) float64 { return f(tensor.Floats(v, shape...)).Item() })
	for i := range want {
		assert.InDelta(t, want[i], got[i], 2e-3*(1+math.Abs(want[i])), "element %d", i)
	}
}

func TestRMSNormGradient(t *testing.T) {
	run(t, func() {
		w, probe := tensor.Randn(1, 6), tensor.Randn(2, 3, 6)
		for _, plusOne := range []bool{false, true} {
			checkGrad(t, []int{3, 6}, func(x tensor.Tensor) tensor.Tensor {
				return tensor.RMSNorm(x, w, 1e-6, plusOne).Mul(probe).Sum()
			})
			x := tensor.Randn(9, 3, 6)
			checkGrad(t, []int{6}, func(w tensor.Tensor) tensor.Tensor {
				return tensor.RMSNorm(x, w, 1e-6, plusOne).Mul(probe).Sum()
			})
		}
	})
}

func TestRopeGradientAndInverse(t *testing.T) {
	run(t, func() {
		angle := tensor.Randn(5, 1, 1, 4, 3)
		cos, sin := cosSin(angle)
		probe := tensor.Randn(6, 2, 2, 4, 6)
		checkGrad(t, []int{2, 2, 4, 6}, func(x tensor.Tensor) tensor.Tensor {
			return tensor.Rope(x, cos, sin).Mul(probe).Sum()
		})
		back := tensor.Rope(tensor.Rope(probe, cos, sin), cos, sin.Neg())
		assert.InDelta(t, 0, back.Sub(probe).Abs().Max().Item(), 1e-6)
	})
}

func cosSin(angle tensor.Tensor) (cos, sin tensor.Tensor) {
	a := angle.Float64s()
	c, s := make([]float32, len(a)), make([]float32, len(a))
	for i, v := range a {
		c[i], s[i] = float32(math.Cos(v)), float32(math.Sin(v))
	}
	return tensor.Floats(c, angle.Shape()...), tensor.Floats(s, angle.Shape()...)
}

// TestLinearLogProb holds the chunked kernel against the plain formula, values and gradients, with more tokens
// than one chunk.
func TestLinearLogProb(t *testing.T) {
	const n, d, v = tensor.LogProbChunk + 17, 5, 11
	for _, c := range []struct{ temperature, softcap float64 }{{1, 0}, {0.7, 0}, {1, 2}, {1.3, 2}} {
		run(t, func() {
			target := make([]int, n)
			for i := range target {
				target[i] = i * 7 % v
			}
			ids := tensor.Ints(target, n)
			probe, probe2 := tensor.Randn(1, n), tensor.Randn(2, n)
			grads := func(f func(h, w tensor.Tensor) (logp, ent tensor.Tensor)) []tensor.Tensor {
				h := tensor.Randn(3, n, d).RequireGrad(true)
				w := tensor.Randn(4, v, d).RequireGrad(true)
				logp, ent := f(h, w)
				tensor.Backward(logp.Mul(probe).Sum().Add(ent.Mul(probe2).Sum()))
				return []tensor.Tensor{logp.Detach(), ent.Detach(), h.Grad(), w.Grad()}
			}
			want := grads(func(h, w tensor.Tensor) (logp, ent tensor.Tensor) {
				z := h.Linear(w, tensor.Tensor{})
				if c.softcap > 0 {
					z = z.DivScalar(c.softcap).Tanh().MulScalar(c.softcap)
				}
				lp := z.DivScalar(c.temperature).LogSoftmax(-1) // [n, v]
				return lp.Gather(1, ids.Unsqueeze(1)).Squeeze(1), lp.Exp().Mul(lp).Sum(-1).Neg()
			})
			got := grads(func(h, w tensor.Tensor) (logp, ent tensor.Tensor) {
				s := tensor.LinearLogProb(h, w, ids, c.temperature, c.softcap)
				best := h.Linear(w, tensor.Tensor{}).Argmax(-1).EqTensor(ids).To(tensor.Float32)
				assert.True(t, best.Equal(s.Correct))
				return s.LogP, s.Entropy
			})
			for i := range want {
				assert.InDelta(t, 0, got[i].Sub(want[i]).Abs().Max().Item(), 2e-4, "output %d of %+v", i, c)
			}
		})
	}
}

// TestCheckpoint holds segment-wise recomputation to the plain graph, bit for bit.
func TestCheckpoint(t *testing.T) {
	run(t, func() {
		grads := func(wrap func(func(tensor.Tensor) tensor.Tensor, tensor.Tensor) tensor.Tensor) [][]float32 {
			var out [][]float32
			require.NoError(t, tensor.Scope(func() error {
				e := tensor.Randn(1, 4, 8).RequireGrad(true)
				ws := []tensor.Tensor{e}
				x := e.MulScalar(2)
				for i := range 3 {
					w := tensor.Randn(uint64(10+i), 8, 8).RequireGrad(true)
					ws = append(ws, w)
					x = wrap(func(x tensor.Tensor) tensor.Tensor { return x.Add(x.Linear(w, tensor.Tensor{}).Tanh()) }, x)
				}
				tensor.Backward(x.Square().Mean())
				for _, w := range ws {
					out = append(out, w.Grad().Float32s())
				}
				return nil
			}))
			return out
		}
		plain := grads(func(f func(tensor.Tensor) tensor.Tensor, x tensor.Tensor) tensor.Tensor { return f(x) })
		assert.Equal(t, plain, grads(tensor.Checkpoint))
	})
}

// A stretch that ends with its scope would leave no gradient behind it, silently.
func TestCheckpointInScopedIsRefused(t *testing.T) {
	run(t, func() {
		w := tensor.Randn(1, 8).RequireGrad(true)
		stretch := func() tensor.Tensor {
			return tensor.Checkpoint(func(x tensor.Tensor) tensor.Tensor { return x.Mul(w) }, w.MulScalar(2)).Sum()
		}
		err := tensor.Try(func() { tensor.Scoped(stretch) })
		require.ErrorContains(t, err, "gradients would be lost")
		assert.False(t, tensor.Scoped(func() tensor.Tensor { return stretch().Detach() }).RequiresGrad(), "without a gradient nothing is lost")
	})
}

func TestAttentionMatchesFormula(t *testing.T) {
	run(t, func() {
		q, k, v := tensor.Randn(1, 2, 4, 3, 8), tensor.Randn(2, 2, 2, 5, 8), tensor.Randn(3, 2, 2, 5, 8)
		mask := tensor.Bools([]bool{true, false, true, true, false, true, true, true, false, true, false, false, true, true, true}, 1, 1, 3, 5)
		got := tensor.Attention(q, k, v, mask, false, 0.3)
		kk := k.Unsqueeze(2).Expand(2, 2, 2, 5, 8).Reshape(2, 4, 5, 8) // each key head serves two query heads
		vv := v.Unsqueeze(2).Expand(2, 2, 2, 5, 8).Reshape(2, 4, 5, 8)
		s := q.Matmul(kk.Transpose(-1, -2)).MulScalar(0.3).MaskedFill(mask.Not(), math.Inf(-1))
		assert.InDelta(t, 0, got.Sub(s.Softmax(-1).Matmul(vv)).Abs().Max().Item(), 1e-5)
	})
}

func TestNoGradAndWithGrad(t *testing.T) {
	run(t, func() {
		x := tensor.Scalar(2).RequireGrad(true)
		require.NoError(t, tensor.NoGrad(func() error {
			assert.False(t, x.Square().RequiresGrad())
			return tensor.WithGrad(func() error {
				assert.True(t, x.Square().RequiresGrad())
				return nil
			})
		}))
		assert.True(t, x.Square().RequiresGrad())
	})
}

func TestHoldOutlivesScopes(t *testing.T) {
	var held tensor.Tensor
	before := tensor.Live()
	require.NoError(t, tensor.Run(func() error { held = tensor.Scalar(3).Hold(); return nil }))
	assert.Equal(t, before+1, tensor.Live())
	require.NoError(t, tensor.Run(func() error { assert.Equal(t, 3.0, held.Item()); held.Free(); return nil }))
	assert.Equal(t, before, tensor.Live())
}

func TestDeviceNames(t *testing.T) {
	for _, bad := range []string{"gpu", "cuda:x", "cuda:-1", ""} {
		_, err := tensor.OpenDevice(bad)
		assert.ErrorContains(t, err, "want auto, cpu, cuda or cuda:N", bad)
	}
	d, err := tensor.OpenDevice("cpu")
	require.NoError(t, err)
	assert.Equal(t, "cpu", d.String())
}

func TestLincomb(t *testing.T) {
	run(t, func() {
		a, b, c := tensor.Randn(1, 5000), tensor.Randn(2, 5000), tensor.Randn(3, 5000)
		mix := func(d tensor.DType, w []float64, src ...tensor.Tensor) tensor.Tensor {
			dst := tensor.Zeros(d, tensor.CPU, 5000)
			tensor.Lincomb(dst, src, w)
			return dst
		}
		assert.True(t, mix(tensor.Float32, []float64{1, 0}, a, b).Equal(a))
		assert.True(t, mix(tensor.Float32, []float64{0, 1}, a, b).Equal(b))
		assert.True(t, mix(tensor.Float32, []float64{0.3, 0.7}, a, a).Equal(a), "equal members")
		third := []float64{1. / 3, 1. / 3, 1. / 3}
		assert.True(t, mix(tensor.Float32, third, a, b, c).Equal(mix(tensor.Float32, third, c, a, b)), "order of members")
		half := []float64{0.5, 0.5}
		assert.InDelta(t, 0, mix(tensor.Float32, half, a, b).Sub(a.Add(b).MulScalar(0.5)).Abs().Max().Item(), 1e-6)
		one, two := tensor.Full(1, tensor.BFloat16, tensor.CPU, 5000), tensor.Full(1.0078125, tensor.BFloat16, tensor.CPU, 5000)
		assert.Equal(t, 1.00390625, mix(tensor.Float32, half, one, two).Max().Item(), "bf16 members are summed exactly")
		inf := tensor.Full(math.Inf(1), tensor.Float32, tensor.CPU, 5000)
		assert.True(t, mix(tensor.Float32, []float64{1, 0}, a, inf).Equal(a), "weight 0 is not looked at")
	})
}

func TestDevice(t *testing.T) {
	run(t, func() {
		x := tensor.Ones(tensor.Float32, tensor.CPU, 2)
		assert.Equal(t, tensor.CPU, x.Device())
		assert.Equal(t, x, x.OnDevice(tensor.CPU), "nothing is copied")
	})
}

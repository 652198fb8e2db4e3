package tensor_test

// The row kernels against formulas in float64: lengths that fill no vector, rows enough for several blocks, bf16.

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

// worst is the largest absolute difference of two tensors.
func worst(a, b tensor.Tensor) float64 {
	return a.To(tensor.Float64).Sub(b.To(tensor.Float64)).Abs().Max().Item()
}

// gradsOf returns f's value and the gradients of its leaves, which are made of the given tensors in the given type.
func gradsOf(d tensor.DType, f func(xs []tensor.Tensor) tensor.Tensor, xs ...tensor.Tensor) []tensor.Tensor {
	leaves := make([]tensor.Tensor, len(xs))
	for i, x := range xs {
		leaves[i] = x.To(d).Detach().RequireGrad(true)
	}
	y := f(leaves)
	probe := tensor.Randn(77, y.Shape()...).To(tensor.BFloat16).To(y.DType()) // the same numbers in every type
	tensor.Backward(y.Mul(probe).Sum())
	out := []tensor.Tensor{y.Detach()}
	for _, l := range leaves {
		out = append(out, l.Grad())
	}
	return out
}

// holds compares got, computed in d, with want, computed in float64 from the same rounded inputs.
func holds(t *testing.T, d tensor.DType, want, got []tensor.Tensor, name string) {
	t.Helper()
	bound := 3e-6
	if d == tensor.BFloat16 {
		bound = 2e-2
	}
	for i := range want {
		scale := math.Max(1, want[i].Abs().Max().Item())
		assert.Less(t, worst(want[i], got[i])/scale, bound, "%s, output %d in %v", name, i, d)
		assert.Equal(t, d, got[i].DType())
	}
}

var bothTypes = []tensor.DType{tensor.Float32, tensor.BFloat16}

func TestRMSNormRows(t *testing.T) {
	for _, d := range bothTypes {
		for _, dim := range []int{1, 5, 16, 37, 100} {
			for _, one := range []bool{false, true} {
				run(t, func() {
					x, w := tensor.Randn(1, 3, 41, dim).To(d), tensor.Randn(2, dim).To(d)
					formula := func(v []tensor.Tensor) tensor.Tensor {
						rms := v[0].Square().Sum(-1).DivScalar(float64(dim)).AddScalar(1e-3).Sqrt() // [3, 41]
						xhat := v[0].Div(rms.Unsqueeze(-1))
						if one {
							return xhat.Mul(v[1].AddScalar(1))
						}
						return xhat.Mul(v[1])
					}
					want := gradsOf(tensor.Float64, formula, x, w)
					got := gradsOf(d, func(v []tensor.Tensor) tensor.Tensor { return tensor.RMSNorm(v[0], v[1], 1e-3, one) }, x, w)
					holds(t, d, want, got, fmt.Sprintf("norm of %d", dim))
				})
			}
		}
	}
}

func TestGate(t *testing.T) {
	formulas := map[tensor.GateKind]func(x tensor.Tensor) tensor.Tensor{
		tensor.GateSilu:     func(x tensor.Tensor) tensor.Tensor { return x.Mul(x.Sigmoid()) },
		tensor.GateGelu:     func(x tensor.Tensor) tensor.Tensor { return x.Gelu(false) },
		tensor.GateGeluTanh: func(x tensor.Tensor) tensor.Tensor { return x.Gelu(true) },
	}
	for _, d := range bothTypes {
		for _, kind := range []tensor.GateKind{tensor.GateSilu, tensor.GateGelu, tensor.GateGeluTanh} {
			run(t, func() {
				g, u := tensor.Randn(1, 7, 53).MulScalar(3).To(d), tensor.Randn(2, 7, 53).To(d)
				want := gradsOf(tensor.Float64, func(v []tensor.Tensor) tensor.Tensor { return formulas[kind](v[0]).Mul(v[1]) }, g, u)
				got := gradsOf(d, func(v []tensor.Tensor) tensor.Tensor { return tensor.Gate(v[0], v[1], kind) }, g, u)
				holds(t, d, want, got, fmt.Sprint("gate ", kind))
			})
		}
	}
	run(t, func() {
		far := tensor.Floats([]float32{-1e4, -100, 0, 100, 1e4}, 5)
		one := tensor.Full(1, tensor.Float32, tensor.CPU, 5)
		for _, kind := range []tensor.GateKind{tensor.GateSilu, tensor.GateGeluTanh} {
			assert.InDeltaSlice(t, []float64{0, 0, 0, 100, 1e4}, tensor.Gate(far, one, kind).Float64s(), 1e-30)
		}
	})
}

func TestNormedLinears(t *testing.T) {
	for _, d := range bothTypes {
		for _, one := range []bool{false, true} {
			for _, biased := range []bool{false, true} {
				run(t, func() {
					xs := []tensor.Tensor{tensor.Randn(1, 2, 301, 53), tensor.Randn(2, 53), tensor.Randn(3, 19, 53), tensor.Randn(4, 7, 53)}
					if biased {
						xs = append(xs, tensor.Randn(5, 19), tensor.Randn(6, 7))
					}
					for i := range xs {
						xs[i] = xs[i].To(d)
					}
					both := func(ys []tensor.Tensor) tensor.Tensor { return tensor.Cat(-1, ys...) }
					apart := func(v []tensor.Tensor) tensor.Tensor {
						y := tensor.RMSNorm(v[0], v[1], 1e-3, one)
						bias := make([]tensor.Tensor, 2)
						copy(bias, v[4:])
						return both([]tensor.Tensor{y.Linear(v[2], bias[0]), y.Linear(v[3], bias[1])})
					}
					together := func(v []tensor.Tensor) tensor.Tensor {
						return both(tensor.NormedLinears(v[0], v[1], v[2:4], v[4:], 1e-3, one))
					}
					name := fmt.Sprintf("plus one %v, biased %v", one, biased)
					want, got := gradsOf(tensor.Float64, apart, xs...), gradsOf(d, together, xs...)
					holds(t, d, want, got, name)
					spread := append([]tensor.Tensor{xs[0], tensor.Randn(2, 53, 2).To(d).Select(1, 0)}, xs[2:]...)
					assert.Zero(t, worst(apart(spread), together(spread)), "a gain that lies apart")
					kept := gradsOf(d, apart, xs...)
					for i := range kept {
						if i != 1 && i != 2 { // the gradients of x and of its gain are added up in another order
							assert.Zero(t, worst(kept[i], got[i]), "%s, output %d in %v", name, i, d)
						}
					}
				})
			}
		}
	}
}

// A product that the backward pass makes again is the one that would have been kept, bit for bit.
func TestGatedLinear(t *testing.T) {
	for _, d := range bothTypes {
		for _, kind := range []tensor.GateKind{tensor.GateSilu, tensor.GateGelu, tensor.GateGeluTanh} {
			for _, learns := range []bool{true, false} {
				run(t, func() {
					w, b := tensor.Randn(3, 19, 53).To(d), tensor.Randn(4, 19).To(d)
					xs := []tensor.Tensor{tensor.Randn(1, 2, 301, 53).MulScalar(3), tensor.Randn(2, 2, 301, 53)}
					of := func(v []tensor.Tensor) (tensor.Tensor, tensor.Tensor) { return w, tensor.Tensor{} }
					if learns {
						xs = append(xs, w, b)
						of = func(v []tensor.Tensor) (tensor.Tensor, tensor.Tensor) { return v[2], v[3] }
					}
					apart := gradsOf(d, func(v []tensor.Tensor) tensor.Tensor {
						w, b := of(v)
						return tensor.Gate(v[0], v[1], kind).Linear(w, b)
					}, xs...)
					together := gradsOf(d, func(v []tensor.Tensor) tensor.Tensor {
						w, b := of(v)
						return tensor.GatedLinear(v[0], v[1], w, b, kind)
					}, xs...)
					for i := range apart {
						assert.Zero(t, worst(apart[i], together[i]), "gate %v in %v, output %d, the map learns: %v", kind, d, i, learns)
					}
				})
			}
		}
	}
}

// Heads cut out of a [B, T, H·D] product are turned as they lie, in both directions.
func TestRopeOfTransposedHeads(t *testing.T) {
	for _, d := range bothTypes {
		run(t, func() {
			cos, sin := cosSin(tensor.Randn(5, 2, 1, 7, 3))
			x := tensor.Randn(6, 2, 7, 4, 6).To(d)
			heads := func(v []tensor.Tensor) tensor.Tensor { return tensor.Rope(v[0].Transpose(1, 2), cos, sin) }
			formula := func(v []tensor.Tensor) tensor.Tensor {
				h := v[0].Transpose(1, 2)
				a, b := h.Narrow(-1, 0, 3), h.Narrow(-1, 3, 3)
				c, s := cos.To(d).To(tensor.Float64), sin.To(d).To(tensor.Float64)
				return tensor.Cat(-1, a.Mul(c).Sub(b.Mul(s)), b.Mul(c).Add(a.Mul(s)))
			}
			holds(t, d, gradsOf(tensor.Float64, formula, x), gradsOf(d, heads, x), "rope")
		})
	}
}

// TestLinearLogProbLoss: a loss that is taken in parts, with its gradients on the way forward, is that of all scores at
// once, scaled by what comes from above, whatever it reads of them.
func TestLinearLogProbLoss(t *testing.T) {
	const n, d, v = 2*tensor.LogProbChunk + 9, 6, 37
	losses := map[string]func(weight tensor.Tensor, s tensor.TargetScores) tensor.Tensor{
		"logp":    func(w tensor.Tensor, s tensor.TargetScores) tensor.Tensor { return s.LogP.Mul(w).Sum() },
		"ratio":   func(w tensor.Tensor, s tensor.TargetScores) tensor.Tensor { return s.LogP.Exp().Mul(w).Sum() },
		"entropy": func(w tensor.Tensor, s tensor.TargetScores) tensor.Tensor { return s.Entropy.Mul(w).Sum() },
		"both":    func(w tensor.Tensor, s tensor.TargetScores) tensor.Tensor { return s.Entropy.Sub(s.LogP).Mul(w).Sum() },
		"nothing": func(w tensor.Tensor, s tensor.TargetScores) tensor.Tensor { return w.Sum() },
	}
	for _, name := range slices.Sorted(maps.Keys(losses)) {
		for _, dt := range bothTypes {
			for _, frozen := range []string{"", "h", "w"} {
				run(t, func() {
					ids, weight := tensor.Ints(targets(n, v), n), tensor.Randn(7, n)
					grads := func(parts bool) []tensor.Tensor {
						h, w := tensor.Randn(3, n, d).To(dt).Detach().RequireGrad(frozen != "h"), tensor.Randn(4, v, d).To(dt).Detach().RequireGrad(frozen != "w")
						loss := func(from, to int, s tensor.TargetScores) tensor.Tensor {
							require.Equal(t, to-from, s.LogP.Dim(0))
							return losses[name](weight.Narrow(0, from, to-from), s)
						}
						y := tensor.Scoped(func() tensor.Tensor {
							if parts {
								return tensor.LinearLogProbLoss(h, w, ids, 1.5, 3, loss)
							}
							return loss(0, n, tensor.LinearLogProb(h, w, ids, 1.5, 3))
						})
						require.Equal(t, name != "nothing", y.RequiresGrad(), "a loss of constants has no graph")
						if y.RequiresGrad() {
							tensor.Backward(y.MulScalar(-.25))
						}
						out := []tensor.Tensor{y.Detach().DivScalar(n).To(dt)} // the sum is taken in another order
						for _, x := range []tensor.Tensor{h, w} {
							if g := x.Grad(); g.Defined() {
								out = append(out, g)
							} else {
								out = append(out, tensor.Zeros(dt, tensor.CPU, x.Shape()...))
							}
						}
						return out
					}
					holds(t, dt, grads(false), grads(true), name+" without gradient of "+frozen)
				})
			}
		}
	}
}

// targets are n of v ids.
func targets(n, v int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i * 7 % v
	}
	return ids
}

// TestLinearLogProbLossTakesGradientsEarly: once the forward pass is over the weights are not needed, so that changing
// them changes no gradient; the plain call, which computes the logits again, would be refused by autograd.
func TestLinearLogProbLossTakesGradientsEarly(t *testing.T) {
	run(t, func() {
		const n = tensor.LogProbChunk + 1
		ids := tensor.Ints(make([]int, n), n)
		loss := func(_, _ int, s tensor.TargetScores) tensor.Tensor { return s.LogP.Sum().MulScalar(-.25) }
		grad := func(early, spoil bool) (g tensor.Tensor, err error) {
			h, w := tensor.Randn(3, n, 6).RequireGrad(true), tensor.Randn(4, 37, 6).RequireGrad(true)
			var y tensor.Tensor
			if early {
				y = tensor.LinearLogProbLoss(h, w, ids, 1, 0, loss)
			} else {
				y = loss(0, n, tensor.LinearLogProb(h, w, ids, 1, 0))
			}
			if spoil {
				require.NoError(t, tensor.NoGrad(func() error { w.Copy(tensor.Randn(5, 37, 6)); return nil }))
			}
			err = tensor.Try(func() { tensor.Backward(y) })
			return h.Grad(), err
		}
		_, err := grad(false, true)
		assert.ErrorContains(t, err, "modified by an inplace operation")
		early, err := grad(true, true)
		assert.NoError(t, err)
		late, err := grad(false, false)
		assert.NoError(t, err)
		assert.Less(t, worst(late, early), 1e-6)
	})
}

// The gradients of a loss that were taken early are handed on once: a second walk back is refused, not silently empty.
func TestLinearLogProbLossIsWalkedOnce(t *testing.T) {
	run(t, func() {
		h := tensor.Randn(3, 5, 6).RequireGrad(true)
		y := tensor.LinearLogProbLoss(h, tensor.Randn(4, 37, 6), tensor.Ints(make([]int, 5), 5), 1, 0,
			func(_, _ int, s tensor.TargetScores) tensor.Tensor { return s.LogP.Sum() })
		tensor.Backward(y)
		require.ErrorContains(t, tensor.Try(func() { tensor.Backward(y) }), "taken by a backward pass before")
	})
}

// TestLinearLogProbTypes holds rows that fill no vector, and bf16, to float64.
func TestLinearLogProbTypes(t *testing.T) {
	for _, dt := range bothTypes {
		for _, v := range []int{3, 16, 21, 1500} {
			run(t, func() {
				h, w := tensor.Randn(3, 5, 8).To(dt), tensor.Randn(4, v, 8).To(dt)
				s := tensor.LinearLogProb(h, w, tensor.Ints([]int{0, 1, 2, v - 1, v / 2}, 5), 0.5, 0)
				lp := h.To(tensor.Float64).Matmul(w.To(tensor.Float64).Transpose(0, 1)).DivScalar(0.5).LogSoftmax(-1)
				want := lp.Gather(1, tensor.Ints([]int{0, 1, 2, v - 1, v / 2}, 5, 1)).Squeeze(1)
				bound := 1e-5
				if dt == tensor.BFloat16 {
					bound = 0.1 // logits of 10 in eight bits
				}
				assert.Less(t, worst(want, s.LogP), bound, "log-probability, %d ids, %v", v, dt)
				assert.Less(t, worst(lp.Exp().Mul(lp).Sum(-1).Neg(), s.Entropy), bound, "entropy, %d ids, %v", v, dt)
			})
		}
	}
	run(t, func() {
		err := tensor.Scope(func() error {
			tensor.LinearLogProb(tensor.Randn(1, 1, 2), tensor.Randn(2, 3, 2), tensor.Ints([]int{3}, 1), 1, 0)
			return nil
		})
		assert.ErrorContains(t, err, "outside the vocabulary")
		h := tensor.Floats([]float32{float32(math.NaN()), 0}, 1, 2)
		s := tensor.LinearLogProb(h, tensor.Randn(2, 3, 2), tensor.Ints([]int{1}, 1), 1, 0)
		assert.True(t, math.IsNaN(s.LogP.Item()), "a NaN is not swallowed")
	})
}

// Two calls give the same bytes, whatever lies in memory.
func TestKernelsRepeat(t *testing.T) {
	run(t, func() {
		once := func() []byte {
			x, w := tensor.Randn(1, 100, 40).RequireGrad(true), tensor.Randn(2, 40).RequireGrad(true)
			y := tensor.RMSNorm(x, w, 1e-5, false)
			loss := tensor.LinearLogProbLoss(tensor.Gate(y, y, tensor.GateSilu), tensor.Randn(3, 50, 40), tensor.Ints(make([]int, 100), 100), 1, 0,
				func(_, _ int, s tensor.TargetScores) tensor.Tensor { return s.LogP.Sum().Neg() })
			tensor.Backward(loss)
			return append(append(loss.Detach().Bytes(), x.Grad().Bytes()...), w.Grad().Bytes()...)
		}
		first := once()
		tensor.Randn(9, 999)
		assert.Equal(t, first, once())
	})
}

// No target at all teaches nothing: the head's gradient is zeros, not what lay in memory before.
func TestLinearLogProbOfNothing(t *testing.T) {
	run(t, func() {
		w := tensor.Randn(4, 500, 300).RequireGrad(true)
		scope(t, func() { tensor.Full(7, tensor.Float32, tensor.CPU, 500, 300) }) // leaves its buffer to the next of its size
		tensor.Backward(tensor.LinearLogProb(tensor.Zeros(tensor.Float32, tensor.CPU, 0, 300), w, tensor.Ints(nil, 0), 1, 0).LogP.Sum())
		assert.Zero(t, w.Grad().Abs().Max().Item())
	})
}

// A target whose logit is -infinity has a probability of 0, and passes on a gradient that is a number.
func TestLinearLogProbOfTheImpossible(t *testing.T) {
	run(t, func() {
		h := tensor.Floats([]float32{1e20}, 1, 1).RequireGrad(true)
		w := tensor.Floats([]float32{-1e20, 1e-20, 0}, 3, 1)
		s := tensor.LinearLogProb(h, w, tensor.Ints([]int{0}, 1), 1, 0)
		require.True(t, math.IsInf(s.LogP.Item(), -1))
		tensor.Backward(s.LogP.Exp().Sum()) // as a ratio's
		assert.False(t, math.IsNaN(h.Grad().Item()), "0 times infinity")
	})
}

package optim_test

// AdamW against its definition in float64, its state on disk, and the learning-rate schedules.

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/nn"
	"salsa/optim"
	"salsa/tensor"
	"salsa/tensor/tensortest"
)

// run is the frame of a tensor test.
var run = tensortest.Run

var hyper = optim.Hyper{Beta1: .9, Beta2: .99, WeightDecay: .1, Eps: 1e-6}

// adamw is the definition (Loshchilov & Hutter, algorithm 2) for a vector.
type adamw struct {
	w, m, v []float64
	step    int
}

func newAdamW(w []float64) *adamw {
	return &adamw{w: append([]float64(nil), w...), m: make([]float64, len(w)), v: make([]float64, len(w))}
}

func (a *adamw) take(g []float64, lr float64, h optim.Hyper) {
	a.step++
	for i := range a.w {
		a.m[i] = h.Beta1*a.m[i] + (1-h.Beta1)*g[i]
		a.v[i] = h.Beta2*a.v[i] + (1-h.Beta2)*g[i]*g[i]
		m := a.m[i] / (1 - math.Pow(h.Beta1, float64(a.step)))
		v := a.v[i] / (1 - math.Pow(h.Beta2, float64(a.step)))
		a.w[i] -= lr*h.WeightDecay*a.w[i] + lr*m/(math.Sqrt(v)+h.Eps)
	}
}

// gradient is some gradient for step s; all values are exact in bf16.
func gradient(s, n int) []float64 {
	g := make([]float64, n)
	for i := range g {
		g[i] = float64((7*s+3*i)%11-5) / 8
	}
	return g
}

// param makes a leaf of a type.
func param(values []float64, d tensor.DType) tensor.Tensor {
	var leaf tensor.Tensor
	if err := tensor.NoGrad(func() error { leaf = tensor.Doubles(values, len(values)).To(d).Keep(); return nil }); err != nil {
		panic(err)
	}
	return leaf.RequireGrad(true)
}

// setGrad gives w the gradient g.
func setGrad(t *testing.T, w tensor.Tensor, g []float64) {
	t.Helper()
	require.NoError(t, tensor.Scope(func() error {
		tensor.ZeroGrads([]tensor.Tensor{w})
		tensor.Backward(w.To(tensor.Float32).Mul(tensor.Doubles(g, len(g)).To(tensor.Float32)).Sum())
		return nil
	}))
}

func params(ws ...*tensor.Tensor) []nn.Param {
	var out []nn.Param
	for i, w := range ws {
		out = append(out, nn.Param{Name: string(rune('a' + i)), Tensor: w, Shape: w.Shape()})
	}
	return out
}

func TestAdamWFollowsItsDefinition(t *testing.T) {
	run(t, func() {
		start := []float64{1, -2, .5, 0, 3}
		w := param(start, tensor.Float32)
		want := newAdamW(start)
		o := optim.NewAdamW(params(&w), hyper)
		defer o.Close()
		for s := range 50 {
			lr := 1e-2 / float64(s+1)
			setGrad(t, w, gradient(s, len(start)))
			require.NoError(t, o.Step(lr, 1))
			want.take(gradient(s, len(start)), lr, hyper)
			assert.InDeltaSlice(t, want.w, w.Float64s(), 2e-6, "step %d", s)
		}
	})
}

// Steps far below the resolution of bf16 add up in the fp32 master weights, of which the parameter is the
// rounded copy.
func TestAdamWMasterWeights(t *testing.T) {
	for _, d := range []tensor.DType{tensor.BFloat16, tensor.Float16} {
		run(t, func() {
			start := []float64{1, -2, .5, .25, 3}
			w := param(start, d)
			want := newAdamW(start)
			o := optim.NewAdamW(params(&w), hyper)
			defer o.Close()
			for range 400 {
				g := gradient(0, len(start)) // always the same way
				setGrad(t, w, g)
				require.NoError(t, o.Step(1e-4, 1))
				want.take(g, 1e-4, hyper)
			}
			assert.Equal(t, d, w.DType())
			for i, got := range w.Float64s() {
				assert.InEpsilon(t, want.w[i], got, 1./256, "%s element %d", d, i)
				assert.NotEqual(t, start[i], got, "%s element %d did not move", d, i)
			}
		})
	}
}

// A parameter without a gradient is left alone: no decay, and its step count stands.
func TestAdamWLeavesParametersWithoutGradient(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16} {
		run(t, func() {
			a, b := param([]float64{1, 2}, d), param([]float64{3}, d)
			o := optim.NewAdamW(params(&a, &b), optim.Hyper{Beta1: .9, Beta2: .999, WeightDecay: .5, Eps: 1e-8})
			defer o.Close()
			for range 3 {
				setGrad(t, a, []float64{1, -1})
				require.NoError(t, o.Step(.125, 1))
			}
			assert.NotEqual(t, []float64{1, 2}, a.Float64s())
			assert.Equal(t, []float64{3}, b.Float64s())
			setGrad(t, b, []float64{1})
			require.NoError(t, o.Step(.125, 1)) // its first step: m/√v = 1
			assert.InDelta(t, 3-.125*.5*3-.125, b.Float64s()[0], 1e-2)
			require.Len(t, o.Tensors(), 2)
		})
	}
}

func TestAdamWStateRoundTrip(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16} {
		run(t, func() {
			path := filepath.Join(t.TempDir(), "optimizer.safetensors")
			start := []float64{1, -2, .5}
			straight := param(start, d)
			o := optim.NewAdamW(params(&straight), hyper)
			defer o.Close()
			var middle []float64
			for s := range 10 {
				if s == 6 {
					require.NoError(t, o.Save(path))
					middle = straight.Float64s()
				}
				setGrad(t, straight, gradient(s, 3))
				require.NoError(t, o.Step(1e-3, 1))
			}
			resumed := param(middle, d)
			again := optim.NewAdamW(params(&resumed), hyper)
			defer again.Close()
			require.NoError(t, again.Load(path))
			for s := 6; s < 10; s++ {
				setGrad(t, resumed, gradient(s, 3))
				require.NoError(t, again.Step(1e-3, 1))
			}
			assert.Equal(t, straight.Bytes(), resumed.Bytes(), d)
			second := filepath.Join(t.TempDir(), "again.safetensors")
			require.NoError(t, o.Save(path))
			require.NoError(t, again.Save(second))
			one, err := os.ReadFile(path)
			require.NoError(t, err)
			two, err := os.ReadFile(second)
			require.NoError(t, err)
			assert.Equal(t, one, two, "the same state is the same file")
		})
	}
}

func TestAdamWLoadRefuses(t *testing.T) {
	run(t, func() {
		dir := t.TempDir()
		save := func(name string, ws ...*tensor.Tensor) string {
			o := optim.NewAdamW(params(ws...), hyper)
			defer o.Close()
			path := filepath.Join(dir, name)
			require.NoError(t, o.Save(path))
			return path
		}
		a, b := param([]float64{1, 2}, tensor.Float32), param([]float64{1, 2, 3}, tensor.Float32)
		half := param([]float64{1, 2}, tensor.BFloat16)
		o := optim.NewAdamW(params(&a), hyper)
		defer o.Close()
		setGrad(t, a, []float64{1, 1})
		require.NoError(t, o.Step(1e-3, 1))
		require.NoError(t, o.Save(filepath.Join(dir, "before")))
		before, err := os.ReadFile(filepath.Join(dir, "before"))
		require.NoError(t, err)

		broken := filepath.Join(dir, "broken")
		require.NoError(t, os.WriteFile(broken, before[:len(before)-4], 0o644))
		for name, c := range map[string]struct{ path, says string }{
			"more parameters": {save("two", &a, &b), "holds 6 tensors and this optimizer needs 3"},
			"another shape":   {save("shape", &b), "m.a is missing or has another shape"},
			"another dtype":   {save("half", &half), "holds 4 tensors"},
			"cut off":         {broken, "broken"},
			"not there":       {filepath.Join(dir, "none"), "none"},
		} {
			err := o.Load(c.path)
			require.ErrorContains(t, err, c.says, name)
			assert.Equal(t, fault.ExitInput, fault.ExitCode(err), name)
		}
		require.NoError(t, o.Save(filepath.Join(dir, "after")))
		after, err := os.ReadFile(filepath.Join(dir, "after"))
		require.NoError(t, err)
		assert.Equal(t, before, after, "a refused file changes nothing")
	})
}

func TestSchedules(t *testing.T) {
	for _, c := range []struct {
		kind   string
		warmup float64
		total  int
		want   map[int]float64
	}{
		{"constant", 0, 10, map[int]float64{0: 2, 5: 2, 9: 2}},
		{"constant", .2, 10, map[int]float64{0: 0, 1: 1, 2: 2, 9: 2}},
		{"linear", 0, 10, map[int]float64{0: 2, 5: 1, 9: .2, 10: 0}},
		{"linear", .5, 8, map[int]float64{0: 0, 2: 1, 4: 2, 6: 1, 7: .5, 8: 0}},
		{"linear", .15, 10, map[int]float64{0: 0, 1: 1, 2: 2, 6: 1, 10: 0}}, // 1.5 steps of warm-up are 2
		{"cosine", 0, 10, map[int]float64{0: 2, 5: 1, 10: 0}},
		{"cosine", .2, 10, map[int]float64{0: 0, 1: 1, 2: 2, 4: 1 + math.Sqrt2/2, 6: 1, 8: 1 - math.Sqrt2/2, 10: 0}},
		{"cosine", 1, 4, map[int]float64{0: 0, 1: .5, 2: 1, 3: 1.5}},
		{"linear", 0, 1, map[int]float64{0: 2}},
		{"cosine", .1, 1, map[int]float64{0: 2}}, // one step of warm-up would be all of the run
	} {
		s, err := optim.NewSchedule(c.kind, 2, c.warmup)
		require.NoError(t, err)
		for step, want := range c.want {
			assert.InDelta(t, want, s(step, c.total), 1e-12, "%+v at step %d", c, step)
		}
	}
	_, err := optim.NewSchedule("square", 1, 0)
	require.ErrorContains(t, err, `"square" is not one of constant, linear, cosine`)
}

package nn_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/nn"
	"salsa/tensor"
	"salsa/tensor/tensortest"
)

// run is the frame of a tensor test.
var run = tensortest.Run

func maxDiff(a, b tensor.Tensor) float64 { return a.Sub(b).Abs().Max().Item() }

// fill gives every weight of a module small random values.
func fill(module any) {
	for p := range nn.Params(module) {
		*p.Tensor = tensor.Randn(uint64(len(p.Name)), p.Shape...).MulScalar(0.3)
	}
}

type tree struct {
	Blocks []any       `hf:"blocks"`
	Norm   *nn.RMSNorm `hf:"norm,optional"`
	Head   *nn.Linear  `hf:"head"`
	Other  *nn.Linear
}

func TestParamsWalk(t *testing.T) {
	m := &tree{
		Blocks: []any{nn.NewLinear(2, 3, true), &tree{Head: nn.NewLinear(1, 1, false)}},
		Head:   nn.NewLinear(4, 5, false), Other: nn.NewLinear(9, 9, true),
	}
	var names []string
	for p := range nn.Params(m) {
		names = append(names, p.Name)
	}
	assert.Equal(t, []string{"blocks.0.weight", "blocks.0.bias", "blocks.1.head.weight", "head.weight"}, names)
	assert.Equal(t, 2*3+3+1+20, nn.Count(m))
	var linears []string
	for name := range nn.Linears(m) {
		linears = append(linears, name)
	}
	assert.Equal(t, []string{"blocks.0", "blocks.1.head", "head"}, linears)
	for range nn.Params(m) {
		break // ends the walk
	}
	m.Head = nil
	assert.PanicsWithValue(t, `nn: "head" is nil; a block that a model may lack needs the tag option "optional"`, func() { nn.Count(m) })
	m.Blocks = []any{3}
	assert.Panics(t, func() { nn.Count(m) })
}

func TestLoRA(t *testing.T) {
	run(t, func() {
		l := nn.NewLinear(4, 3, true)
		fill(l)
		x := tensor.Randn(1, 2, 5, 4)
		plain := l.Forward(x)
		l.LoRA = &nn.LoRA{A: tensor.Randn(2, 2, 4).RequireGrad(true), B: tensor.Zeros(tensor.Float32, tensor.CPU, 3, 2).RequireGrad(true), Scale: 0.5}
		assert.True(t, plain.Equal(l.Forward(x)), "an adapter begins as nothing")
		l.LoRA.B = tensor.Randn(3, 3, 2)
		want := x.Linear(l.Weight.Add(l.LoRA.B.Matmul(l.LoRA.A).MulScalar(0.5)), l.Bias)
		assert.Less(t, maxDiff(want, l.Forward(x)), 1e-5)
		assert.Less(t, maxDiff(want, x.Linear(l.Effective(), l.Bias)), 1e-5)
		tensor.Backward(l.Forward(x).Square().Sum())
		assert.True(t, l.LoRA.A.Grad().Defined())
	})
}

func TestMLPGates(t *testing.T) {
	run(t, func() {
		x := tensor.Randn(1, 3, 4)
		for act, f := range map[nn.Activation]func(tensor.Tensor) tensor.Tensor{
			nn.Silu:     func(z tensor.Tensor) tensor.Tensor { return z.Mul(z.Sigmoid()) },
			nn.Gelu:     func(z tensor.Tensor) tensor.Tensor { return z.Gelu(false) },
			nn.GeluTanh: func(z tensor.Tensor) tensor.Tensor { return z.Gelu(true) },
		} {
			m := nn.NewMLP(4, 6, act, false)
			fill(m)
			want := f(x.Linear(m.Gate.Weight, tensor.Tensor{})).Mul(x.Linear(m.Up.Weight, tensor.Tensor{})).Linear(m.Down.Weight, tensor.Tensor{})
			assert.Less(t, maxDiff(want, m.Forward(x, nil)), 1e-6, act)
		}
		m := nn.NewMLP(4, 6, "relu", false)
		fill(m)
		assert.ErrorContains(t, tensor.Scope(func() error { m.Forward(x, nil); return nil }), "relu is not known")
	})
}

// TestAttentionCap: the capped path without a real cap is plain attention, with and without a mask.
func TestAttentionCap(t *testing.T) {
	run(t, func() {
		const b, steps, d, k = 2, 5, 8, 4
		a := &nn.Attention{Q: nn.NewLinear(d, 4*k, false), K: nn.NewLinear(d, 2*k, false), V: nn.NewLinear(d, 2*k, false), O: nn.NewLinear(4*k, d, false), HeadDim: k, Scale: 0.5}
		fill(a)
		x := tensor.Randn(3, b, steps, d)
		rope := nn.Rope{Kind: nn.RopeDefault, Dim: k, Theta: 100}
		var at nn.Place
		at.Cos, at.Sin = rope.Tables(tensor.Arange(steps, tensor.CPU).Unsqueeze(0), nil)
		causal := tensor.Arange(steps, tensor.CPU)
		masks := []tensor.Tensor{{}, causal.Unsqueeze(-1).GeTensor(causal).Unsqueeze(0).Unsqueeze(0)}
		for _, at.Mask = range masks {
			a.Softcap = 0
			want := a.Forward(x, nil, at)
			a.Softcap = 1e4
			assert.Less(t, maxDiff(want, a.Forward(x, nil, at)), 1e-5)
			a.Softcap = 0.1
			assert.Greater(t, maxDiff(want, a.Forward(x, nil, at)), 1e-3)
		}
	})
}

// TestRopeTables holds tables to the definition, and positions to what scaling says of them.
func TestRopeTables(t *testing.T) {
	run(t, func() {
		pos := tensor.Ints([]int{0, 7, 3, 100}, 2, 2)
		rope := nn.Rope{Kind: nn.RopeDefault, Dim: 6, Theta: 1000}
		cos, sin := rope.Tables(pos, nil)
		require.Equal(t, []int{2, 1, 2, 3}, cos.Shape())
		c, s := cos.Float64s(), sin.Float64s()
		for i, p := range []float64{0, 7, 3, 100} {
			for j := range 3 {
				angle := p * math.Pow(1000, -float64(2*j)/6)
				assert.InDelta(t, math.Cos(angle), c[3*i+j], 1e-5)
				assert.InDelta(t, math.Sin(angle), s[3*i+j], 1e-5)
			}
		}
		linear := nn.Rope{Kind: nn.RopeLinear, Dim: 6, Theta: 1000, Factor: 4}
		half, _ := linear.Tables(pos.MulScalar(4), nil)
		assert.Less(t, maxDiff(cos, half), 1e-5, "a factor of 4 makes position 4p what p was")

		dynamic := nn.Rope{Kind: nn.RopeDynamic, Dim: 6, Theta: 1000, Factor: 2, MaxPositions: 50}
		both, _ := dynamic.Tables(pos, []int{8, 101})
		assert.Less(t, maxDiff(cos.Narrow(0, 0, 1), both.Narrow(0, 0, 1)), 1e-6, "a short row keeps its frequencies beside a long one")
		assert.Greater(t, maxDiff(cos.Narrow(0, 1, 1), both.Narrow(0, 1, 1)), 1e-2)
	})
}

func TestYarnScale(t *testing.T) {
	assert.Equal(t, 1.0, nn.YarnScale(1, 1, 1))
	assert.Equal(t, 1.0, nn.YarnScale(40, 1, 1))
	assert.InDelta(t, (0.1*0.707*math.Log(40)+1)/(0.1*math.Log(40)+1), nn.YarnScale(40, 0.707, 1), 1e-12)
}

// TestAttentionRectangles: devices without the kernel for rows pad them, and get the same; float64 stands for them here.
func TestAttentionRectangles(t *testing.T) {
	for _, window := range []int{0, 3} {
		for _, softcap := range []float64{0, 0.8} {
			run(t, func() {
				const d, k = 8, 4
				// Two rows of 7 that share four tokens, and one of two.
				rows := tensor.NewRows([]int{0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 7, 8, 9, 10, 11}, []int{0, 7, 14, 16}, []int{7, 3, 2}, []int{0, 2, 3})
				of := func(dt tensor.DType) []tensor.Tensor {
					leaf := func(seed uint64, shape ...int) tensor.Tensor {
						return tensor.Randn(seed, shape...).To(dt).Detach().RequireGrad(true)
					}
					a := &nn.Attention{Q: nn.NewLinear(d, 4*k, false), K: nn.NewLinear(d, 2*k, false), V: nn.NewLinear(d, 2*k, false), O: nn.NewLinear(4*k, d, false), HeadDim: k, Scale: 0.5, Softcap: softcap}
					a.Q.Weight, a.K.Weight, a.V.Weight, a.O.Weight = leaf(1, 4*k, d), leaf(2, 2*k, d), leaf(3, 2*k, d), leaf(4, d, 4*k)
					rope := nn.Rope{Kind: nn.RopeDefault, Dim: k, Theta: 100}
					cos, sin := rope.Tables(tensor.Ints([]int{0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 0, 1}, 1, 12), nil)
					x := leaf(5, 1, 12, d)
					at := nn.Place{Cos: cos, Sin: sin, Rows: rows, Window: window}
					if !tensor.HasRows(x) {
						at.Laid = rows.Rectangles(x.Device())
					}
					y := a.Forward(x, nil, at)
					tensor.Backward(y.Square().Sum())
					return []tensor.Tensor{y.Detach(), x.Grad(), a.K.Weight.Grad(), a.V.Weight.Grad()}
				}
				want, got := of(tensor.Float64), of(tensor.Float32)
				for i := range want {
					worst := want[i].Sub(got[i].To(tensor.Float64)).Abs().Max().Item() / want[i].Abs().Max().Item()
					assert.Less(t, worst, 1e-5, "window %d, cap %v, output %d", window, softcap, i)
				}
			})
		}
	}
}

package tensor_test

// The optimizer's step against its definition in float64 and against libtorch's kernel, and the float32 value that a bf16
// weight carries.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

// newState is a parameter of n standard normal numbers; in bf16 they are rounded from float32.
func newState(d tensor.DType, n int) tensor.AdamWState {
	s := tensor.AdamWState{
		Param: tensor.Randn(1, n).To(d).Detach().RequireGrad(true),
		M:     tensor.Zeros(tensor.Float32, tensor.CPU, n), V: tensor.Zeros(tensor.Float32, tensor.CPU, n), Step: tensor.Scalar(0),
	}
	if d == tensor.BFloat16 {
		s.Rest = tensor.Zeros(tensor.Int16, tensor.CPU, n)
	}
	return s
}

// pull makes g, of s's shape, the gradient of s.
func pull(s tensor.AdamWState, g tensor.Tensor) {
	tensor.ZeroGrads([]tensor.Tensor{s.Param})
	tensor.Backward(s.Param.Mul(g.To(s.Param.DType())).Sum())
}

// fused takes libtorch's step.
func fused(s tensor.AdamWState, g tensor.Tensor, h tensor.AdamWHyper) {
	_ = tensor.NoGrad(func() error {
		one := func(t tensor.Tensor) []tensor.Tensor { return []tensor.Tensor{t} }
		tensor.FusedAdamWStep(one(s.Param), one(g), one(s.M), one(s.V), one(s.Step), h)
		return nil
	})
}

func TestAdamWStepAgainstItsDefinition(t *testing.T) {
	run(t, func() {
		const n, clip = 45, 0.3
		for _, h := range []tensor.AdamWHyper{
			{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, WeightDecay: 0.1, Eps: 1e-8},
			{LR: 1e-2, Beta1: 0.2, Beta2: 0.95, Eps: 1e-3},
		} {
			s := newState(tensor.Float32, n)
			ref, rm, rv := s.Param.Float64s(), make([]float64, n), make([]float64, n)
			for k := 1; k <= 5; k++ {
				g := tensor.Randn(uint64(k), n)
				pull(s, g)
				tensor.AdamWStep([]tensor.AdamWState{s}, h, clip)
				for i, gi := range g.Float64s() {
					ref[i] *= 1 - h.LR*h.WeightDecay
					rm[i] = h.Beta1*rm[i] + (1-h.Beta1)*clip*gi
					rv[i] = h.Beta2*rv[i] + (1-h.Beta2)*clip*gi*clip*gi
					mh, vh := rm[i]/(1-math.Pow(h.Beta1, float64(k))), rv[i]/(1-math.Pow(h.Beta2, float64(k)))
					ref[i] -= h.LR * mh / (math.Sqrt(vh) + h.Eps)
				}
			}
			assert.InDeltaSlice(t, ref, s.Param.Float64s(), 1e-6, "%+v", h)
			assert.InDeltaSlice(t, rv, s.V.Float64s(), 1e-6, "%+v", h)
		}
	})
}

// ulps is the largest distance of two float32 tensors in units in the last place of the larger number.
func ulps(a, b tensor.Tensor) (most float64) {
	y := b.Float64s()
	for i, x := range a.Float64s() {
		_, e := math.Frexp(max(math.Abs(x), math.Abs(y[i])))
		most = max(most, math.Abs(x-y[i])/math.Ldexp(1, e-24))
	}
	return most
}

func TestAdamWStepIsLibtorchs(t *testing.T) {
	run(t, func() {
		const n = 40_003 // three pieces and a rest
		for _, h := range []tensor.AdamWHyper{
			{LR: 1e-2, Beta1: 0.9, Beta2: 0.999, WeightDecay: 0.01, Eps: 1e-8},
			{LR: 1e-3, Beta1: 0.4, Beta2: 0.9, Eps: 1e-6},
		} {
			ours, theirs := newState(tensor.Float32, n), newState(tensor.Float32, n)
			for k := range 6 {
				g := tensor.Randn(uint64(k), n)
				pull(ours, g)
				tensor.AdamWStep([]tensor.AdamWState{ours}, h, 0.25)
				fused(theirs, g.MulScalar(0.25), h)
			}
			assert.LessOrEqual(t, ulps(ours.V, theirs.V), 4., "second moment, %+v", h)
			assert.Less(t, worst(ours.M, theirs.M), 1e-7, "first moment, %+v", h)
			assert.Less(t, worst(ours.Param, theirs.Param), 1e-6, "weight, %+v", h)
			assert.Equal(t, theirs.Step.Item(), ours.Step.Item())
		}
	})
}

// A bf16 weight moves as its float32 master would, bit for bit, and is always that master rounded.
func TestAdamWStepOfBF16IsThatOfItsMaster(t *testing.T) {
	run(t, func() {
		const n, clip = 70_001, 0.37
		h := tensor.AdamWHyper{LR: 1e-4, Beta1: 0.9, Beta2: 0.999, WeightDecay: 0.01, Eps: 1e-8}
		half, master := newState(tensor.BFloat16, n), newState(tensor.Float32, n)
		ties := master.Param.Bytes() // all of them half way between two bf16
		for i := 0; i < len(ties); i += 4 {
			ties[i], ties[i+1] = 0, 0x80
		}
		_ = tensor.NoGrad(func() error { master.Param.Copy(tensor.FromBytes(ties, tensor.Float32, n)); return nil })
		half.SetMaster(ties)
		for k := range 8 {
			g := tensor.Randn(uint64(k), n).MulScalar(math.Ldexp(1, -k))
			pull(half, g)
			tensor.AdamWStep([]tensor.AdamWState{half}, h, clip)
			pull(master, half.Param.Grad().To(tensor.Float32))
			tensor.AdamWStep([]tensor.AdamWState{master}, h, clip)
			rounded := master.Param.Detach().To(tensor.BFloat16)
			require.True(t, bytes.Equal(master.Param.Bytes(), half.Master()), "master after step %d", k)
			require.True(t, bytes.Equal(rounded.Bytes(), half.Param.Bytes()), "weight after step %d", k)
			require.True(t, bytes.Equal(master.V.Bytes(), half.SecondMoment()), "second moment after step %d", k)
			require.True(t, bytes.Equal(master.M.Bytes(), half.M.Bytes()), "first moment after step %d", k)
		}
	})
}

func TestAdamWStepOnAnyNumberOfThreads(t *testing.T) {
	run(t, func() {
		defer tensor.SetThreads(tensor.Threads())
		h := tensor.AdamWHyper{LR: 1e-2, Beta1: 0.9, Beta2: 0.999, WeightDecay: 0.01, Eps: 1e-8}
		for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16} {
			var want []byte
			var norm float64
			for threads := 1; threads <= 4; threads++ {
				tensor.SetThreads(threads)
				big, small := newState(d, 100_003), newState(d, 7)
				for k := range 2 {
					pull(big, tensor.Randn(uint64(k), 100_003))
					pull(small, tensor.Randn(uint64(k), 7))
					tensor.AdamWStep([]tensor.AdamWState{big, small}, h, 0.5)
				}
				got := append(append(big.Param.Bytes(), big.V.Bytes()...), small.Param.Bytes()...)
				total := tensor.GradNorm([]tensor.Tensor{big.Param, small.Param})
				if threads == 1 {
					want, norm = got, total
				}
				assert.True(t, bytes.Equal(want, got), "%s, %d threads", d, threads)
				assert.Equal(t, norm, total, "%s, %d threads", d, threads)
			}
		}
	})
}

// Every bf16 with low halves at, around and between the ties: all float32 come back but what is no number, which stays
// none, and the weight is libtorch's rounding.
func TestMasterOfEveryBF16(t *testing.T) {
	run(t, func() {
		var masters []byte
		r := tensor.NewRNG(1, 2)
		for high := range uint32(1 << 16) {
			for _, low := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, uint32(r.Uint64() & 0xffff)} {
				masters = binary.LittleEndian.AppendUint32(masters, high<<16|low)
			}
		}
		n := len(masters) / 4
		s := newState(tensor.BFloat16, n)
		s.V.Copy(tensor.Randn(2, n).Abs())
		v := s.V.Bytes()
		for range 2 { // the second time over the signs of the first
			s.SetMaster(masters)
			require.True(t, bytes.Equal(v, s.SecondMoment()))
			back, w, want := s.Master(), s.Param.Bytes(), tensor.FromBytes(masters, tensor.Float32, n).To(tensor.BFloat16).Bytes()
			for i := 0; i < len(masters); i += 4 {
				in, out := binary.LittleEndian.Uint32(masters[i:]), binary.LittleEndian.Uint32(back[i:])
				if in&0x7fffffff > 0x7f800000 {
					require.True(t, math.IsNaN(float64(math.Float32frombits(out))), "%08x is %08x", in, out)
					continue
				}
				if in != out || w[i/2] != want[i/2] || w[i/2+1] != want[i/2+1] {
					require.Fail(t, fmt.Sprintf("%08x is %08x behind %02x%02x, libtorch rounds to %02x%02x", in, out, w[i/2+1], w[i/2], want[i/2+1], want[i/2]))
				}
			}
		}
	})
}

// Tensors of no, one and some numbers that begin anywhere in memory move as they do alone, one without a gradient stays,
// and nothing beside them is touched.
func TestAdamWStepOfManyTensors(t *testing.T) {
	run(t, func() {
		h := tensor.AdamWHyper{LR: 1e-2, Beta1: 0.9, Beta2: 0.999, WeightDecay: 0.01, Eps: 1e-8}
		for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16} {
			var many []tensor.AdamWState
			var around, values []tensor.Tensor // the memory that parameters are cut from, and what they begin with
			for i, n := range []int{0, 1, 17, 16_385, 9} {
				s := newState(d, n+3)
				around, values = append(around, s.Param), append(values, s.Param.Detach().Narrow(0, 1, n).Clone())
				cut := func(x tensor.Tensor) tensor.Tensor { return x.Detach().Narrow(0, 1, n) }
				s.Param, s.M, s.V = cut(s.Param).RequireGrad(true), cut(s.M), cut(s.V)
				if d == tensor.BFloat16 {
					s.Rest = cut(s.Rest)
				}
				if i < 4 {
					pull(s, tensor.Randn(uint64(i), n))
				}
				many = append(many, s)
			}
			tensor.AdamWStep(many, h, 0.5)
			for i, s := range many {
				n := s.Param.Numel()
				alone := newState(d, n)
				alone.Param = values[i].RequireGrad(true)
				if i < 4 {
					pull(alone, tensor.Randn(uint64(i), n))
					tensor.AdamWStep([]tensor.AdamWState{alone}, h, 0.5)
				}
				assert.True(t, bytes.Equal(alone.Param.Bytes(), s.Param.Bytes()), "%s, %d numbers", d, n)
				assert.True(t, bytes.Equal(alone.V.Bytes(), s.V.Bytes()), "%s, %d numbers", d, n)
				assert.Equal(t, alone.Step.Item(), s.Step.Item())
				whole, fresh := around[i].Detach(), newState(d, n+3).Param.Detach()
				assert.Equal(t, fresh.Narrow(0, 0, 1).Bytes(), whole.Narrow(0, 0, 1).Bytes())
				assert.Equal(t, fresh.Narrow(0, n+1, 2).Bytes(), whole.Narrow(0, n+1, 2).Bytes())
			}
		}
	})
}

func TestAdamWStepRefuses(t *testing.T) {
	run(t, func() {
		h := tensor.AdamWHyper{LR: 1, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}
		half := newState(tensor.BFloat16, 3)
		pull(half, tensor.Randn(1, 3))
		bare := half
		bare.Rest = tensor.Tensor{}
		err := tensor.Try(func() { tensor.AdamWStep([]tensor.AdamWState{bare}, h, 1) })
		require.ErrorContains(t, err, "a bfloat16 weight needs the low half")
		across := newState(tensor.Float32, 6)
		across.Param = tensor.Randn(1, 2, 3).Transpose(0, 1).Detach().RequireGrad(true)
		tensor.Backward(across.Param.Square().Sum())
		err = tensor.Try(func() { tensor.AdamWStep([]tensor.AdamWState{across}, h, 1) })
		require.ErrorContains(t, err, "are expected", "the numbers of a weight lie in a row")
		err = tensor.Try(func() { half.SetMaster(make([]byte, 6)) })
		require.ErrorContains(t, err, "4 bytes for each number")
		assert.Zero(t, half.Step.Item(), "a refused step does not count")
	})
}

func TestGradNormAndScaleGrads(t *testing.T) {
	run(t, func() {
		a, b, none := tensor.Floats([]float32{3}, 1).RequireGrad(true), tensor.Floats([]float32{4}, 1).RequireGrad(true), tensor.Scalar(1).RequireGrad(true)
		tensor.Backward(a.Square().Sum().Add(b.Square().Sum()).MulScalar(0.5))
		all := []tensor.Tensor{a, b, none}
		assert.Equal(t, 5., tensor.GradNorm(all))
		tensor.ScaleGrads(all, 0.2)
		assert.InDelta(t, 0.6, a.Grad().Item(), 1e-6)
		assert.InDelta(t, 0.8, b.Grad().Item(), 1e-6)
		assert.Equal(t, 0., tensor.GradNorm(nil))

		for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Float16} { // float16 is libtorch's
			w := newState(d, 300_001)
			pull(w, tensor.Randn(5, 300_001))
			sum := 0.
			for _, g := range w.Param.Grad().Float64s() {
				sum += g * g
			}
			bound := 1e-12
			if d == tensor.Float16 {
				bound = 1e-3
			}
			assert.InEpsilon(t, math.Sqrt(sum), tensor.GradNorm([]tensor.Tensor{w.Param}), bound, d)
		}
	})
}

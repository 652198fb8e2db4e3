package tensor_test

// Our products against float64 and against themselves: other companions, other threads, other blocks.

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

// ownProducts makes our kernels compute products of a type for a test, which is skipped where the processor lacks the instructions.
func ownProducts(t *testing.T, d tensor.DType) {
	t.Helper()
	before, own := tensor.GEMM(), []string{tensor.GEMMFP32AVX2}
	if d == tensor.BFloat16 {
		before, own = tensor.HalfGEMM(), []string{tensor.GEMMBF16AVX512, tensor.GEMMBF16AVX2}
	}
	var err error
	for _, name := range own {
		if err = tensor.ChooseGEMM(name); err == nil {
			t.Cleanup(func() { require.NoError(t, tensor.ChooseGEMM(before)) })
			return
		}
	}
	t.Skip(err)
}

// ofProducts runs a test for each type in which a product may be ours.
func ofProducts(t *testing.T, do func(t *testing.T, d tensor.DType)) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16} {
		t.Run(d.String(), func(t *testing.T) {
			ownProducts(t, d)
			do(t, d)
		})
	}
}

// linearOf is the linear map of its arguments: x, w and perhaps b.
func linearOf(v []tensor.Tensor) tensor.Tensor {
	return v[0].Linear(v[1], append(v, tensor.Tensor{})[2])
}

// Tiles of 6 or 12 rows and 16 or 32 columns, ranges of 512 floats or 1024 pairs, laid-out stripes: sizes on both sides of
// each, and odd ones, which have no pairs.
func TestProducts(t *testing.T) {
	ofProducts(t, func(t *testing.T, d tensor.DType) {
		rounding := map[tensor.DType]float64{tensor.Float32: 1e-6, tensor.BFloat16: 1./256 + 1e-4}[d]
		for _, s := range []struct{ n, in, out int }{
			{1, 2, 2}, {1, 64, 40}, {5, 30, 1}, {6, 16, 16}, {12, 32, 32}, {13, 34, 33}, {40, 66, 130}, {25, 7, 50}, {25, 50, 7}, {241, 514, 98}, {97, 2048, 64},
			{30, 2050, 34}, {31, 34, 4100}, {1025, 26, 46}, {2049, 26, 46}, {4101, 100, 130}, {3100, 2080, 34},
		} {
			run(t, func() {
				x, w, b := tensor.Randn(1, s.n, s.in).To(d), tensor.Randn(2, s.out, s.in).To(d), tensor.Randn(3, s.out).To(d)
				for _, in := range [][]tensor.Tensor{{x, w}, {x, w, b}} {
					want, got := gradsOf(tensor.Float64, linearOf, in...), gradsOf(d, linearOf, in...)
					for i := range want {
						if i == 3 {
							continue // the bias's gradient is libtorch's sum
						}
						// Half a unit in the last place of bf16, and what fp32 loses over the terms.
						scale := want[i].Abs().AddScalar(1e-2 * math.Sqrt(float64(max(s.n, s.in, s.out))))
						if d == tensor.Float32 {
							scale = want[i].Abs().Max().Expand(want[i].Shape()...)
						}
						off := got[i].To(tensor.Float64).Sub(want[i]).Abs().Div(scale).Max().Item()
						assert.Less(t, off, rounding, "%+v, result %d of %d inputs", s, i, len(in))
					}
				}
			})
		}
	})
}

// A row's bits do not depend on the rows beside it, nor on how many threads there are.
func TestProductsKeepRowsApart(t *testing.T) {
	ofProducts(t, func(t *testing.T, d tensor.DType) {
		run(t, func() {
			for _, s := range []struct{ n, in, out int }{{29, 96, 100}, {130, 2100, 70}, {77, 64, 4200}} {
				x, w := tensor.Randn(1, s.n, s.in).To(d), tensor.Randn(2, s.out, s.in).To(d)
				onThreads(t, fmt.Sprintf("%+v", s), func() []tensor.Tensor { return gradsOf(d, linearOf, x, w) })
				whole := gradsOf(d, linearOf, x, w)[0]
				for _, from := range []int{0, 1, 12, s.n - 1} {
					part := x.Narrow(0, from, s.n-from).Linear(w, tensor.Tensor{})
					assert.Equal(t, whole.Narrow(0, from, s.n-from).Contiguous().Bytes(), part.Bytes(), "%+v from row %d", s, from)
				}
			}
		})
	})
}

// What nobody can compute in pairs, or not row by row, is libtorch's: the results are those of our kernels to rounding.
func TestProductsInBF16Elsewhere(t *testing.T) {
	ownProducts(t, tensor.BFloat16)
	run(t, func() {
		x, w := tensor.Randn(1, 4, 3, 64).To(tensor.BFloat16), tensor.Randn(2, 48, 64).To(tensor.BFloat16)
		want := x.Linear(w, tensor.Tensor{})
		turned := x.Transpose(0, 1).Linear(w, tensor.Tensor{}).Transpose(0, 1)
		assert.Equal(t, want.Bytes(), turned.Contiguous().Bytes())
		columns := x.Linear(w.Transpose(0, 1).Contiguous().Transpose(0, 1), tensor.Tensor{})
		assert.Less(t, worst(want, columns), .13)
		none := x.Narrow(0, 0, 0).Linear(w, tensor.Tensor{})
		assert.Equal(t, []int{0, 3, 48}, none.Shape())
	})
	for what, call := range map[string]func(x, w, b tensor.Tensor){
		"linear":       func(x, w, b tensor.Tensor) { x.Linear(w, b) },
		"gated linear": func(x, w, b tensor.Tensor) { tensor.GatedLinear(x, x, w, b, tensor.GateSilu) },
		"normed linears": func(x, w, b tensor.Tensor) {
			tensor.NormedLinears(x, tensor.Ones(tensor.BFloat16, tensor.CPU, 64), []tensor.Tensor{w}, []tensor.Tensor{b}, 1e-6, false)
		},
	} {
		err := tensor.Scope(func() error {
			x, w := tensor.Randn(1, 48, 64).To(tensor.BFloat16), tensor.Randn(2, 48, 64).To(tensor.BFloat16)
			call(x, w, tensor.Randn(3, 2).To(tensor.BFloat16))
			return nil
		})
		require.ErrorContains(t, err, what, "a bias of another length")
	}
	run(t, func() { // what libtorch makes of a bias of another shape
		x, w, b := tensor.Randn(1, 48, 64).To(tensor.BFloat16), tensor.Randn(2, 48, 64).To(tensor.BFloat16), tensor.Randn(3, 48, 1).To(tensor.BFloat16)
		assert.Less(t, worst(x.Linear(w, tensor.Tensor{}).Add(b), x.Linear(w, b)), .26)
		assert.Equal(t, []int{48, 0}, x.Linear(w.Narrow(0, 0, 0), tensor.Tensor{}).Shape())
	})
	err := tensor.Scope(func() error {
		tensor.Randn(1, 3, 64).To(tensor.BFloat16).Linear(tensor.Randn(2, 8, 62).To(tensor.BFloat16), tensor.Tensor{})
		return nil
	})
	require.ErrorContains(t, err, "linear")
}

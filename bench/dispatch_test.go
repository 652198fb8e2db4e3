package bench

// What one op costs before any arithmetic: an add of four floats, through salsa's layer, through gotch's bare
// calls below it, and through gotch's own tensors, whose Go side allocates 100 kB each.

import (
	"testing"

	"github.com/sugarme/gotch/libtch"
	"github.com/sugarme/gotch/ts"

	"salsa/tensor"
)

func BenchmarkDispatch(b *testing.B) {
	four := []float32{1, 2, 3, 4}
	b.Run("tensor", func(b *testing.B) {
		run(b, func() error {
			x := tensor.Floats(four, 4)
			b.ReportAllocs()
			for b.Loop() {
				x.Add(x).Free()
			}
			return nil
		})
	})
	b.Run("libtch", func(b *testing.B) {
		run(b, func() error {
			x := tensor.Floats(four, 4).Handle()
			out := make([]libtch.Ctensor, 1)
			b.ReportAllocs()
			for b.Loop() {
				libtch.AtgAdd(&out[0], x, x)
				libtch.AtFree(out[0])
			}
			return nil
		})
	})
	b.Run("gotch-ts", func(b *testing.B) {
		run(b, func() error { // for the locked thread
			x := ts.MustOfSlice(four)
			defer x.MustDrop()
			b.ReportAllocs()
			for b.Loop() {
				x.MustAdd(x, false).MustDrop()
			}
			return nil
		})
	})
}

// BenchmarkScope is the price of an empty scope, and of one that owns 100 results and frees them.
func BenchmarkScope(b *testing.B) {
	b.Run("empty", func(b *testing.B) {
		run(b, func() error {
			b.ReportAllocs()
			for b.Loop() {
				if err := tensor.Scope(func() error { return nil }); err != nil {
					return err
				}
			}
			return nil
		})
	})
	b.Run("100-results", func(b *testing.B) {
		run(b, func() error {
			x := tensor.Floats([]float32{1, 2, 3, 4}, 4)
			err := loop(b, func() tensor.Tensor {
				for range 100 {
					x.Add(x)
				}
				return tensor.Tensor{}
			})
			perSecond(b, 100, 1e6, "Mop/s")
			return err
		})
	})
}

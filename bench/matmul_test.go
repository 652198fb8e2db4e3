package bench

// Matrix products: the sizes of a training step and of a decode step, each beside the same product into a
// buffer that is already there, which is as fast as this libtorch gets.

import (
	"fmt"
	"testing"

	"github.com/sugarme/gotch/libtch"

	"salsa/tensor"
)

func BenchmarkMatmul(b *testing.B) {
	for _, s := range []struct{ m, k, n int }{{256, 256, 256}, {1024, 1024, 1024}, {512, 768, 3072}, {1, 768, 3072}} {
		name := fmt.Sprintf("%dx%dx%d", s.m, s.k, s.n)
		work := 2 * float64(s.m) * float64(s.k) * float64(s.n)
		b.Run(name+"/tensor", func(b *testing.B) {
			run(b, func() error {
				x, w := normal(s.m, s.k), normal(s.k, s.n)
				err := inference(b, func() tensor.Tensor { return x.Matmul(w) })
				flops(b, work)
				return err
			})
		})
		b.Run(name+"/limit", func(b *testing.B) {
			run(b, func() error {
				x, w, into := normal(s.m, s.k), normal(s.k, s.n), normal(s.m, s.n)
				out := make([]libtch.Ctensor, 1)
				for b.Loop() {
					libtch.AtgMmOut(&out[0], into.Handle(), x.Handle(), w.Handle())
					libtch.AtFree(out[0]) // a second handle to into
					sync(into)
				}
				flops(b, work)
				return nil
			})
		})
	}
}

// BenchmarkLinear adds the backward pass: three products for each weight.
func BenchmarkLinear(b *testing.B) {
	for _, s := range []struct{ tokens, in, out int }{{512, 768, 768}, {512, 768, 3072}} {
		b.Run(fmt.Sprintf("%dx%dx%d/train", s.tokens, s.in, s.out), func(b *testing.B) {
			run(b, func() error {
				x, w := weight(s.tokens, s.in), weight(s.out, s.in)
				err := loop(b, func() tensor.Tensor {
					tensor.Backward(x.Linear(w, tensor.Tensor{}).Sum())
					g := w.Grad()
					tensor.ZeroGrads([]tensor.Tensor{x, w})
					return g
				})
				flops(b, 3*2*float64(s.tokens)*float64(s.in)*float64(s.out))
				return err
			})
		})
	}
}

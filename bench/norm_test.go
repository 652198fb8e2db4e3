package bench

// The kernels that memory bounds: RMSNorm and rotary positions.

import (
	"fmt"
	"testing"

	"salsa/tensor"
)

func BenchmarkRMSNorm(b *testing.B) {
	for _, s := range []struct{ tokens, dim int }{{1, 4096}, {512, 768}, {2048, 4096}} {
		b.Run(fmt.Sprintf("%dx%d/forward", s.tokens, s.dim), func(b *testing.B) {
			run(b, func() error {
				x, w := normal(s.tokens, s.dim), normal(s.dim)
				err := inference(b, func() tensor.Tensor { return tensor.RMSNorm(x, w, 1e-5, false) })
				bytes(b, 2*bytesOf(x)+bytesOf(w))
				return err
			})
		})
	}
	for _, s := range []struct{ tokens, dim int }{{512, 768}} {
		b.Run(fmt.Sprintf("%dx%d/train", s.tokens, s.dim), func(b *testing.B) {
			run(b, func() error {
				x, w := weight(s.tokens, s.dim), weight(s.dim)
				err := loop(b, func() tensor.Tensor {
					tensor.Backward(tensor.RMSNorm(x, w, 1e-5, false).Sum())
					g := x.Grad()
					tensor.ZeroGrads([]tensor.Tensor{x, w})
					return g
				})
				bytes(b, 5*bytesOf(x)+2*bytesOf(w)) // x, y; then x, dy, dx
				return err
			})
		})
	}
}

func BenchmarkRope(b *testing.B) {
	for _, s := range []struct{ batch, heads, time, dim int }{{8, 8, 1, 64}, {1, 8, 512, 64}, {1, 32, 2048, 128}} {
		b.Run(fmt.Sprintf("B%d-H%d-T%d-D%d", s.batch, s.heads, s.time, s.dim), func(b *testing.B) {
			run(b, func() error {
				x := normal(s.batch, s.heads, s.time, s.dim)
				angle := tensor.Randn(2, 1, 1, s.time, s.dim/2).OnDevice(device)
				cos, sin := angle.Cos(), angle.Sin()
				err := inference(b, func() tensor.Tensor { return tensor.Rope(x, cos, sin) })
				bytes(b, 2*bytesOf(x)+bytesOf(cos, sin))
				return err
			})
		})
	}
}

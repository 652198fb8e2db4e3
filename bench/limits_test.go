package bench

// What the machine can do at most: products into buffers that are there, and the bandwidth of memory.

import (
	"fmt"
	"testing"

	"github.com/sugarme/gotch/libtch"

	"salsa/tensor"
)

// BenchmarkLimits is what bench/jobs puts beside its times.
func BenchmarkLimits(b *testing.B) {
	for _, s := range []struct{ m, k, n int }{{1024, 1024, 1024}, {1024, 512, 32000}} {
		b.Run(fmt.Sprintf("product-%dx%dx%d", s.m, s.k, s.n), func(b *testing.B) {
			run(b, func() error {
				x, w, into := normal(s.m, s.k), normal(s.k, s.n), normal(s.m, s.n)
				out := make([]libtch.Ctensor, 1)
				for b.Loop() {
					libtch.AtgMmOut(&out[0], into.Handle(), x.Handle(), w.Handle())
					libtch.AtFree(out[0]) // a second handle to into
					sync(into)
				}
				flops(b, 2*float64(s.m)*float64(s.k)*float64(s.n))
				return nil
			})
		})
	}
	b.Run("memory", func(b *testing.B) { // far beyond every cache: read two, write one
		run(b, func() error {
			const n = 64 << 20
			x, y, into := tensor.Ones(tensor.Float32, tensor.CPU, n), tensor.Ones(tensor.Float32, tensor.CPU, n), tensor.Ones(tensor.Float32, tensor.CPU, n)
			out := make([]libtch.Ctensor, 1)
			for b.Loop() {
				libtch.AtgAddOut(&out[0], into.Handle(), x.Handle(), y.Handle())
				libtch.AtFree(out[0])
			}
			bytes(b, bytesOf(x, y, into))
			return nil
		})
	})
}

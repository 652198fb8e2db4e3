package tensor_test

// Salsa's kernels give the same bits on any number of threads.

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"salsa/tensor"
)

// onThreads runs fn on 1, 2, 3 and 5 threads and holds the bits of its results, values and gradients, to those of one.
func onThreads(t *testing.T, what string, fn func() []tensor.Tensor) {
	t.Helper()
	before := tensor.Threads()
	defer tensor.SetThreads(before)
	var want [][]byte
	for _, n := range []int{1, 2, 3, 5} {
		tensor.SetThreads(n)
		for i, x := range fn() {
			got := x.Detach().Contiguous().Bytes()
			if n == 1 {
				want = append(want, got)
				continue
			}
			assert.Equal(t, want[i], got, "%s, result %d on %d threads", what, i, n)
		}
	}
}

func TestKernelsHaveNoThreadsInTheirBits(t *testing.T) {
	run(t, func() {
		for _, d := range bothTypes {
			with := func(what string, fn func(v []tensor.Tensor) tensor.Tensor, in ...tensor.Tensor) {
				onThreads(t, fmt.Sprint(what, " ", d), func() []tensor.Tensor { return gradsOf(d, fn, in...) })
			}
			x := func(seed uint64, shape ...int) tensor.Tensor { return tensor.Randn(seed, shape...).To(d) }
			with("norm", func(v []tensor.Tensor) tensor.Tensor { return tensor.RMSNorm(v[0], v[1], 1e-6, false) }, x(1, 530, 2051), x(2, 2051))
			with("gate", func(v []tensor.Tensor) tensor.Tensor { return tensor.Gate(v[0], v[1], tensor.GateSilu) }, x(1, 301, 333), x(2, 301, 333))
			for _, window := range []int{0, 40} {
				with("attention", func(v []tensor.Tensor) tensor.Tensor {
					return tensor.AttentionRows(v[0], v[1], v[2], someRows(), window, .3, 20)
				}, x(1, 1, 6, 214, 20), x(2, 1, 2, 214, 20), x(3, 1, 2, 214, 20))
			}
		}
		draw := tensor.Sampler{Temperature: .8, TopK: 40, TopP: .9}
		u := make([]float64, 33)
		for i := range u {
			u[i] = tensor.NewRNG(7, uint64(i)).Float64()
		}
		onThreads(t, "sample", func() []tensor.Tensor {
			ids, logp := tensor.Sample(tensor.Randn(5, 33, 3001), u, draw)
			return []tensor.Tensor{ids, logp}
		})
		onThreads(t, "lincomb", func() []tensor.Tensor {
			y := tensor.Zeros(tensor.Float32, tensor.CPU, 300_001)
			tensor.Lincomb(y, []tensor.Tensor{tensor.Randn(1, 300_001), tensor.Randn(2, 300_001)}, []float64{.3, .7})
			return []tensor.Tensor{y}
		})
	})
}

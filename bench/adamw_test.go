package bench

// The optimizer's step over many tensors at once, and the global gradient norm before it.

import (
	"fmt"
	"testing"

	"salsa/tensor"
)

// optimizerState makes n square parameters with gradients, moments and step counts.
func optimizerState(n, dim int) (params, grads, m, v, steps []tensor.Tensor) {
	for range n {
		p := weight(dim, dim)
		tensor.Backward(p.Square().Sum())
		params = append(params, p)
		grads = append(grads, p.Grad())
		m = append(m, tensor.Zeros(tensor.Float32, device, dim, dim))
		v = append(v, tensor.Zeros(tensor.Float32, device, dim, dim))
		steps = append(steps, tensor.Zeros(tensor.Float32, device))
	}
	return params, grads, m, v, steps
}

func BenchmarkAdamW(b *testing.B) {
	for _, s := range []struct{ n, dim int }{{64, 64}, {16, 768}} {
		b.Run(fmt.Sprintf("%dx%dx%d", s.n, s.dim, s.dim), func(b *testing.B) {
			run(b, func() error {
				params, grads, m, v, steps := optimizerState(s.n, s.dim)
				h := tensor.AdamWHyper{LR: 1e-5, Beta1: 0.9, Beta2: 0.999, WeightDecay: 0.01, Eps: 1e-8}
				err := loop(b, func() tensor.Tensor {
					tensor.AdamWStep(params, grads, m, v, steps, h)
					return params[0]
				})
				// Parameters and both moments are read and written, gradients read.
				bytes(b, 2*bytesOf(params...)+bytesOf(grads...)+2*bytesOf(m...)+2*bytesOf(v...))
				return err
			})
		})
	}
}

func BenchmarkClipGrads(b *testing.B) {
	run(b, func() error {
		params, _, _, _, _ := optimizerState(16, 768)
		err := loop(b, func() tensor.Tensor {
			tensor.ClipGrads(params, 1)
			return params[0]
		})
		bytes(b, 3*bytesOf(params...)) // read for the norm; read and written for the scale
		return err
	})
}

package bench

// The optimizer's step over many tensors at once, ours beside libtorch's, and the global gradient norm before it.

import (
	"fmt"
	"testing"

	"salsa/tensor"
)

// optimizerState makes n square parameters of a type with gradients, moments and step counts.
func optimizerState(d tensor.DType, n, dim int) (states []tensor.AdamWState) {
	for range n {
		s := tensor.AdamWState{
			Param: tensor.Randn(1, dim, dim).To(d).OnDevice(device).Detach().RequireGrad(true),
			M:     tensor.Zeros(tensor.Float32, device, dim, dim),
			V:     tensor.Zeros(tensor.Float32, device, dim, dim),
			Step:  tensor.Zeros(tensor.Float32, device),
		}
		if d == tensor.BFloat16 {
			s.Rest = tensor.Zeros(tensor.Int16, device, dim, dim)
		}
		tensor.Backward(s.Param.Square().Sum())
		states = append(states, s)
	}
	return states
}

// parameters are the weights of states.
func parameters(states []tensor.AdamWState) (ps []tensor.Tensor) {
	for _, s := range states {
		ps = append(ps, s.Param)
	}
	return ps
}

// libtorchStep is what clipping and libtorch's step take together: the gradients are scaled, and in bf16 widened, for a
// float32 master whose rounded copy the weight becomes.
func libtorchStep(states []tensor.AdamWState, masters []tensor.Tensor, h tensor.AdamWHyper) {
	var params, grads, m, v, steps []tensor.Tensor
	tensor.ScaleGrads(parameters(states), 0.999)
	for i, s := range states {
		p, g := s.Param, s.Param.Grad()
		if masters != nil {
			p, g = masters[i], g.To(tensor.Float32)
		}
		params, grads, m, v, steps = append(params, p), append(grads, g), append(m, s.M), append(v, s.V), append(steps, s.Step)
	}
	tensor.FusedAdamWStep(params, grads, m, v, steps, h)
	for i := range masters {
		states[i].Param.Copy(masters[i])
	}
}

// BenchmarkAdamW counts the bytes that our step on the CPU reads and writes, for libtorch's too, whose passes are more.
// %limit is their share of what updateSpeed allows; the small tensors stay in a cache and can be above it.
func BenchmarkAdamW(b *testing.B) {
	h := tensor.AdamWHyper{LR: 1e-5, Beta1: 0.9, Beta2: 0.999, WeightDecay: 0.01, Eps: 1e-8}
	for _, s := range []struct{ n, dim int }{{64, 64}, {16, 1024}} {
		for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16} {
			for _, kernel := range []string{"tensor", "libtorch"} {
				b.Run(fmt.Sprintf("%dx%dx%d/%s/%s", s.n, s.dim, s.dim, d, kernel), func(b *testing.B) {
					if kernel == "tensor" && device != tensor.CPU {
						b.Skip("our kernel is the CPU's")
					}
					run(b, func() error { return adamwSteps(b, optimizerState(d, s.n, s.dim), kernel == "tensor", h) })
				})
			}
		}
	}
}

func adamwSteps(b *testing.B, states []tensor.AdamWState, ours bool, h tensor.AdamWHyper) error {
	params := parameters(states)
	var masters []tensor.Tensor
	if !ours && params[0].DType() == tensor.BFloat16 {
		for _, p := range params {
			masters = append(masters, p.Detach().To(tensor.Float32))
		}
	}
	err := inference(b, func() tensor.Tensor {
		if ours {
			tensor.AdamWStep(states, h, 0.999)
		} else {
			libtorchStep(states, masters, h)
		}
		return params[0]
	})
	each := 5 * bytesOf(params...) // gradients are read, of float32 values both halves read and written
	if params[0].DType() == tensor.Float32 {
		each = 3 * bytesOf(params...)
	}
	for _, s := range states {
		each += 2 * bytesOf(s.M, s.V)
	}
	bytes(b, each)
	perSecond(b, each, updateSpeed()/100, "%limit")
	return err
}

func BenchmarkGradNorm(b *testing.B) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16} {
		b.Run(d.String(), func(b *testing.B) {
			run(b, func() error {
				params := parameters(optimizerState(d, 16, 1024))
				err := loop(b, func() tensor.Tensor {
					tensor.GradNorm(params)
					return params[0]
				})
				bytes(b, bytesOf(params...))
				perSecond(b, bytesOf(params...), readSpeed()/100, "%limit")
				return err
			})
		})
	}
}

package soup

// Interpolation towards the initialisation.

import "salsa/tensor"

// LITI writes (1-η)·base + η·r, the last step of WARP (Ramé et al., arXiv 2406.16768, §3.3), whose base is the model
// that training began with. η = 1 is r itself. Beside the inputs it holds one float64 copy of the weight.
func LITI(r Recipe, eta float64) Recipe {
	if eta == 1 {
		return r
	}
	return func(dst tensor.Tensor, in Inputs) {
		mixed := tensor.Zeros(tensor.Float64, tensor.CPU, in.Base.Shape()...)
		r(mixed, in)
		tensor.Lincomb(dst, []tensor.Tensor{in.Base, mixed}, []float64{1 - eta, eta})
	}
}

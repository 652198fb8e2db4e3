package soup

// Interpolation towards the initialisation.

import "salsa/tensor"

// LITI writes (1-η)·base + η·r, the last step of WARP (Ramé et al., arXiv 2406.16768, §3.3), whose base is the model
// that training began with. η = 1 is r itself; else r's result is not rounded before.
func LITI(r Recipe, eta float64) Recipe {
	if eta == 1 {
		return r
	}
	return func(in Inputs) (Mixer, error) {
		mix, err := r(in)
		if err != nil {
			return nil, err
		}
		return func(dst tensor.Stretch, b *Block) {
			mixed := result(&b.spare, b.size(), tensor.Float64)
			mix(mixed, b)
			tensor.LincombStretch(dst, []tensor.Stretch{b.base, mixed}, []float64{1 - eta, eta})
		}, nil
	}
}

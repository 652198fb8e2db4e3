package soup

// Task arithmetic.

// TaskArithmetic is base + λ Σ w_k τ_k, τ_k = θ_k - base being the task vectors (Ilharco et al., arXiv 2212.04089, §4).
// As the shares add up to 1, λ = 1 is the linear soup and λ = n the sum of n task vectors. mergekit's task_arithmetic
// does not scale its weights: its result is ours with λ times their sum.
func TaskArithmetic(shares Shares, lambda float64) Recipe {
	return func(in Inputs) (Mixer, error) {
		w := shares(in.Name)
		c := make([]float64, len(w))
		for k := range w {
			c[k] = lambda * w[k]
		}
		return aroundBase(c), nil
	}
}

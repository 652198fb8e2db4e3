package soup

// Linear soups, and the operators that are linear soups with computed shares.

import (
	"math"

	"salsa/tensor"
)

// Linear is the weighted sum Σ w_k θ_k (Wortsman et al., arXiv 2203.05482). Equal members give themselves bit for bit,
// as does a weight of 1 beside zeros. mergekit's linear is the same, summed in float32.
func Linear(shares Shares) Recipe {
	return func(in Inputs) (Mixer, error) { return weighted(shares(in.Name)), nil }
}

// EMAWeights returns the shares of n checkpoints in the exponential moving average that starts at the first of them
// and takes a step towards each of the others: m ← (1-μ)m + μθ_k, in their order. They add up to 1.
func EMAWeights(n int, mu float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = mu * math.Pow(1-mu, float64(n-1-i))
	}
	out[0] = math.Pow(1-mu, float64(n-1))
	return out
}

// weighted writes Σ c_k θ_k.
func weighted(c []float64) Mixer {
	return func(dst tensor.Stretch, b *Block) { tensor.LincombStretch(dst, b.members, c) }
}

// aroundBase writes base + Σ c_k (θ_k - base) as one exactly summed combination, so that members which are equal, or
// equal to the base, give themselves.
func aroundBase(c []float64) Mixer {
	rest := 1.0
	for _, v := range c {
		rest -= v
	}
	all := append([]float64{rest}, c...)
	return func(dst tensor.Stretch, b *Block) {
		tensor.LincombStretch(dst, append([]tensor.Stretch{b.base}, b.members...), all)
	}
}

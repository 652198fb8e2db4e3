package soup

// What TIES and DARE share: task vectors that lose most of their entries, and how the rest is added up.

import "salsa/tensor"

// Consensus says what a sum of thinned task vectors does where their signs differ.
type Consensus int

const (
	// AllSigns adds up all entries: Σ w_k τ_k.
	AllSigns Consensus = iota
	// AgreeingMean elects the sign of Σ w_k τ_k, a sum of zero counting as positive, and takes the mean of the entries
	// that have it, weighted by w_k (Yadav et al., arXiv 2306.01708, §4): TIES, and mergekit's ties.
	AgreeingMean
	// AgreeingSum elects in the same way and adds up without dividing: mergekit's dare_ties.
	AgreeingSum
)

// thinner zeroes and scales entries of member k's task vector in place, a stretch at a time from the first element on.
type thinner func(at int, tau []float64)

// thinned is base + λ·(what the consensus makes of the thinned task vectors). thin looks at a whole task vector before
// its entries are taken.
func thinned(shares Shares, lambda float64, how Consensus, thin func(in Inputs, k int) thinner) Recipe {
	return func(dst tensor.Tensor, in Inputs) {
		w := shares(in.Name)
		each := make([]thinner, len(in.Members))
		for k := range each {
			each[k] = thin(in, k)
		}
		in.blocks(nil, func(b block) {
			for k, t := range each {
				t(b.at, b.tau[k])
			}
			out := make([]float64, len(b.base))
			for i := range out {
				out[i] = b.base[i] + lambda*agree(b.tau, w, i, how)
			}
			put(dst, b.at, out)
		})
	}
}

// agree adds up entry i of the task vectors.
func agree(tau [][]float64, w []float64, i int, how Consensus) float64 {
	sum := 0.0
	for k := range tau {
		sum += w[k] * tau[k][i]
	}
	if how == AllSigns {
		return sum
	}
	positive := sum >= 0
	total, share := 0.0, 0.0
	for k := range tau {
		if v := w[k] * tau[k][i]; v > 0 && positive || v < 0 && !positive {
			total += v
			share += w[k]
		}
	}
	if how == AgreeingMean && share != 0 {
		return total / share
	}
	return total
}

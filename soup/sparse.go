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

// thinner zeroes and scales entries of a member's task vector in place: a stretch of it, whose first entry's place is at.
// Several goroutines call it at once.
type thinner func(at int, tau []float64)

// thinned is base + λ·(what the consensus makes of the thinned task vectors). thin looks at the whole task vector of one
// member, the only one of its inputs, before its entries are taken; k is the member's place.
func thinned(shares Shares, lambda float64, how Consensus, thin func(in Inputs, k int) (thinner, error)) Recipe {
	votes := map[Consensus]tensor.Votes{AllSigns: tensor.AllVotes, AgreeingMean: tensor.WinningMean, AgreeingSum: tensor.WinningSum}[how]
	return func(in Inputs) (Mixer, error) {
		w := shares(in.Name)
		each := make([]thinner, len(in.Members))
		for k := range each {
			var err error
			if each[k], err = thin(in.only(k), k); err != nil {
				return nil, err
			}
		}
		return func(dst tensor.Stretch, b *Block) {
			tau, out := b.tau()
			for k, t := range each {
				t(b.at, tau[k])
			}
			tensor.AddConsensus(out, tau, w, votes, lambda)
			dst.Set(out)
		}, nil
	}
}

package soup

// DARE: drop at random, rescale the rest.

import (
	"hash/fnv"
	"math"

	"salsa/tensor"
)

// Rescale says by what DARE multiplies the entries that it keeps.
type Rescale int

const (
	// ByDensity multiplies by 1/density, which keeps every entry's expectation: the paper's.
	ByDensity Rescale = iota
	// ByL1 keeps the L1 norm of each tensor's task vector: mergekit's. A tensor of norm below 1e-7 is not rescaled.
	ByL1
	// NotRescaled multiplies by nothing.
	NotRescaled
)

// DARE is base + λ·the consensus of task vectors of which each entry is kept with probability density and rescaled
// (Yu et al., arXiv 2311.03099, §3). Which entries are kept is a function of the seed, the member's place, the tensor's
// name and the entry's place: neither threads nor the order of tensors change it. AllSigns is mergekit's dare_linear,
// AgreeingSum its dare_ties, both with ByL1 and masks from another generator; AgreeingMean is TIES after DARE as the
// paper has it. Density 1 is task arithmetic, or TIES without trimming.
func DARE(shares Shares, density, lambda float64, how Consensus, rescale Rescale, seed uint64) Recipe {
	return dare(shares, lambda, how, func(name string, k int) keeper { return randomly(density, seed, name, k) }, rescale, density)
}

// keeper tells whether the entry at a place survives.
type keeper func(at int) bool

func dare(shares Shares, lambda float64, how Consensus, draw func(name string, k int) keeper, rescale Rescale, density float64) Recipe {
	return thinned(shares, lambda, how, func(in Inputs, k int) thinner {
		keep := draw(in.Name, k)
		gain := 1.0
		switch rescale {
		case ByDensity:
			gain = 1 / density
		case ByL1:
			gain = normGain(in, k, keep)
		}
		return func(at int, tau []float64) {
			for i := range tau {
				if keep(at + i) {
					tau[i] *= gain
				} else {
					tau[i] = 0
				}
			}
		}
	})
}

// randomly draws each entry's number from a generator that counts: the number at a place needs none before it.
func randomly(density float64, seed uint64, name string, k int) keeper {
	if density >= 1 {
		return func(int) bool { return true }
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	stream := tensor.Mix(seed, uint64(k), h.Sum64())
	below := uint64(density * (1 << 53))
	return func(at int) bool { return tensor.Mix(stream, uint64(at))>>11 < below }
}

// normGain is what brings member k's surviving entries to the L1 norm of its whole task vector.
func normGain(in Inputs, k int, keep keeper) float64 {
	const small = 1e-7
	all, kept := 0.0, 0.0
	in.blocks([]int{k}, func(b block) {
		for i, v := range b.tau[k] {
			all += math.Abs(v)
			if keep(b.at + i) {
				kept += math.Abs(v)
			}
		}
	})
	if all < small || kept < small {
		return 1
	}
	return all / kept
}

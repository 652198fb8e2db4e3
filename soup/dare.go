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
	return dare(shares, lambda, how, func(name string, k int) dropper { return randomly(density, seed, name, k) }, rescale, density)
}

// dropper zeroes the entries that do not survive and multiplies the others by gain; at is the first entry's place.
type dropper func(at int, tau []float64, gain float64)

func dare(shares Shares, lambda float64, how Consensus, draw func(name string, k int) dropper, rescale Rescale, density float64) Recipe {
	return thinned(shares, lambda, how, func(in Inputs, k int) (thinner, error) {
		drop := draw(in.Name, k)
		gain := 1.0
		var err error
		switch rescale {
		case ByDensity:
			gain = 1 / density
		case ByL1:
			gain, err = normGain(in, drop)
		}
		return func(at int, tau []float64) { drop(at, tau, gain) }, err
	})
}

// randomly draws each entry's number from a generator that counts: the number at a place needs none before it.
func randomly(density float64, seed uint64, name string, k int) dropper {
	if density >= 1 {
		return func(_ int, tau []float64, gain float64) {
			for i := range tau {
				tau[i] *= gain
			}
		}
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	stream := tensor.Mix(tensor.Mix(seed, uint64(k), h.Sum64()))
	below := uint64(density * (1 << 53))
	return func(at int, tau []float64, gain float64) { tensor.DropAt(tau, stream, at, below, gain) }
}

// normGain is what brings the one member's surviving entries to the L1 norm of its whole task vector.
func normGain(in Inputs, drop dropper) (float64, error) {
	const small = 1e-7
	all, kept := 0.0, 0.0
	err := in.each(func(b *Block) error {
		tau, _ := b.tau()
		b.partial = append(b.partial[:0], norm1(tau[0]))
		drop(b.at, tau[0], 1)
		b.partial = append(b.partial, norm1(tau[0]))
		return nil
	}, func(b *Block) error {
		all += b.partial[0]
		kept += b.partial[1]
		return nil
	})
	if all < small || kept < small {
		return 1, err
	}
	return all / kept, err
}

// norm1 is the sum of absolute values.
func norm1(tau []float64) (sum float64) {
	for _, v := range tau {
		sum += math.Abs(v)
	}
	return sum
}

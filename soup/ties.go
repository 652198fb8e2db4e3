package soup

// TIES: trim, elect sign, merge.

import (
	"math"

	"salsa/tensor"
)

// TIES is base + λ·the consensus of task vectors of which the share density, the largest entries of each tensor, is kept
// (Yadav et al., arXiv 2306.01708, §4). It keeps max(1, ⌊density·n⌋) of n entries, of equals those that come first, as
// mergekit does; the authors' code keeps one more, and breaks zero sums by the majority of the whole model. AgreeingMean
// is the paper's and mergekit's ties. Equal members give themselves at density 1 and λ = 1.
func TIES(shares Shares, density, lambda float64, how Consensus) Recipe {
	return thinned(shares, lambda, how, func(in Inputs, _ int) (thinner, error) { return trimmer(in, density) })
}

// trimmer keeps the largest entries of the one member's task vector.
func trimmer(in Inputs, density float64) (thinner, error) {
	n := in.numel()
	keep := max(1, int(density*float64(n)))
	if keep >= n {
		return func(int, []float64) {}, nil
	}
	least, equals, err := threshold(in, keep)
	if err != nil {
		return nil, err
	}
	end, err := placeOf(in, least, equals)
	return func(at int, tau []float64) { tensor.Trim(tau, least, end-at) }, err
}

// magnitude orders numbers by their absolute value in float32.
func magnitude(v float64) uint32 { return math.Float32bits(float32(math.Abs(v))) }

// lowBits of a magnitude are told apart in the second pass of threshold.
const lowBits = 15

// threshold finds the keep-th largest magnitude of the task vector, and how many entries of just that magnitude
// are among the keep largest. It counts, in two passes over the data, where sorting would need a copy.
func threshold(in Inputs, keep int) (least uint32, equals int, err error) {
	counts, err := in.counts(1<<16, func(m uint32) int { return int(m >> lowBits) })
	if err != nil {
		return 0, 0, err
	}
	high, left := descend(counts, keep)
	counts, err = in.counts(1<<lowBits+1, func(m uint32) int {
		if int(m>>lowBits) != high {
			return 1 << lowBits // the bin of all others, which is above and left out below
		}
		return int(m & (1<<lowBits - 1))
	})
	if err != nil {
		return 0, 0, err
	}
	low, left := descend(counts[:1<<lowBits], left)
	return uint32(high<<lowBits | low), left, nil
}

// counts is how many entries of the task vector have a magnitude in each bin.
func (in Inputs) counts(bins int, bin func(magnitude uint32) int) ([]int, error) {
	counts := make([]int, bins)
	err := in.each(func(b *Block) error {
		tau, _ := b.tau()
		b.counts = grown(b.counts, bins)
		clear(b.counts)
		for _, v := range tau[0] {
			b.counts[bin(magnitude(v))]++
		}
		return nil
	}, func(b *Block) error {
		for i, n := range b.counts {
			counts[i] += int(n)
		}
		return nil
	})
	return counts, err
}

// placeOf is where the task vector has had its first so many entries of just that magnitude.
func placeOf(in Inputs, least uint32, equals int) (end int, err error) {
	end = in.numel()
	err = in.each(func(b *Block) error {
		b.equal = b.equal[:0]
		tau, _ := b.tau()
		for i, v := range tau[0] {
			if magnitude(v) == least {
				b.equal = append(b.equal, int32(i))
			}
		}
		return nil
	}, func(b *Block) error {
		if n := len(b.equal); 0 < equals && equals <= n {
			end = b.at + int(b.equal[equals-1]) + 1
		}
		equals -= len(b.equal)
		return nil
	})
	return end, err
}

// descend goes down from the last bin to the one that holds the keep-th entry, and returns that entry's number in it.
func descend(counts []int, keep int) (bin, left int) {
	for bin = len(counts) - 1; counts[bin] < keep; bin-- {
		keep -= counts[bin]
	}
	return bin, keep
}

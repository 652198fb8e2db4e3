package soup

// TIES: trim, elect sign, merge.

import "math"

// TIES is base + λ·the consensus of task vectors of which the share density, the largest entries of each tensor, is kept
// (Yadav et al., arXiv 2306.01708, §4). It keeps max(1, ⌊density·n⌋) of n entries, of equals those that come first, as
// mergekit does; the authors' code keeps one more, and breaks zero sums by the majority of the whole model. AgreeingMean
// is the paper's and mergekit's ties. Equal members give themselves at density 1 and λ = 1.
func TIES(shares Shares, density, lambda float64, how Consensus) Recipe {
	return thinned(shares, lambda, how, func(in Inputs, k int) thinner { return trimmer(in, k, density) })
}

// trimmer keeps the largest entries of member k's task vector.
func trimmer(in Inputs, k int, density float64) thinner {
	n := in.Members[k].Numel()
	keep := max(1, int(density*float64(n)))
	if keep >= n {
		return func(int, []float64) {}
	}
	least, equals := threshold(in, k, keep)
	return func(_ int, tau []float64) {
		for i, v := range tau {
			switch m := magnitude(v); {
			case m < least, m == least && equals == 0:
				tau[i] = 0
			case m == least:
				equals--
			}
		}
	}
}

// magnitude orders numbers by their absolute value in float32.
func magnitude(v float64) uint32 { return math.Float32bits(float32(math.Abs(v))) }

// lowBits of a magnitude are told apart in the second pass of threshold.
const lowBits = 15

// threshold finds the keep-th largest magnitude of member k's task vector, and how many entries of just that magnitude
// are among the keep largest. It counts, in two passes over the data, where sorting would need a copy.
func threshold(in Inputs, k, keep int) (least uint32, equals int) {
	counts := make([]int, 1<<16)
	in.blocks([]int{k}, func(b block) {
		for _, v := range b.tau[k] {
			counts[magnitude(v)>>lowBits]++
		}
	})
	high, left := descend(counts, keep)
	counts = make([]int, 1<<lowBits)
	in.blocks([]int{k}, func(b block) {
		for _, v := range b.tau[k] {
			if m := magnitude(v); int(m>>lowBits) == high {
				counts[m&(1<<lowBits-1)]++
			}
		}
	})
	low, left := descend(counts, left)
	return uint32(high<<lowBits | low), left
}

// descend goes down from the last bin to the one that holds the keep-th entry, and returns that entry's number in it.
func descend(counts []int, keep int) (bin, left int) {
	for bin = len(counts) - 1; counts[bin] < keep; bin-- {
		keep -= counts[bin]
	}
	return bin, keep
}

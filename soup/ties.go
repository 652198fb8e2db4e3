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

// threshold finds the keep-th largest magnitude of the task vector, and how many entries of just that magnitude
// are among the keep largest. It counts, in two passes over the data, where sorting would need a copy.
func threshold(in Inputs, keep int) (least uint32, equals int, err error) {
	counts, err := in.counts(tensor.MagnitudeHigh, tensor.CountHigh)
	if err != nil {
		return 0, 0, err
	}
	high, left := descend(counts, keep)
	counts, err = in.counts(tensor.MagnitudeLow, func(counts []int, tau []float64) { tensor.CountLow(counts, tau, high) })
	if err != nil {
		return 0, 0, err
	}
	low, left := descend(counts, left)
	return uint32(high*tensor.MagnitudeLow + low), left, nil
}

// counts is how many entries of the task vector count finds in each bin. Each goroutine has a table of its own.
func (in Inputs) counts(bins int, count func(counts []int, tau []float64)) ([]int, error) {
	tables := make(chan []int, in.workers())
	for range cap(tables) {
		tables <- make([]int, bins)
	}
	err := in.each(func(b *Block) error {
		tau, _ := b.tau()
		table := <-tables
		count(table, tau[0])
		tables <- table
		return nil
	}, func(*Block) error { return nil })
	counts := <-tables
	for range cap(tables) - 1 {
		for i, n := range <-tables {
			counts[i] += n
		}
	}
	return counts, err
}

// placeOf is where the task vector has had its first so many entries of just that magnitude.
func placeOf(in Inputs, least uint32, equals int) (end int, err error) {
	end = in.numel()
	err = in.each(func(b *Block) error {
		tau, _ := b.tau()
		b.equal = tensor.CountEqual(tau[0], least)
		return nil
	}, func(b *Block) error {
		if 0 < equals && equals <= b.equal {
			end = b.at
			for left := equals; left > 0; end++ {
				if magnitude(b.taus[0][end-b.at]) == least {
					left--
				}
			}
		}
		equals -= b.equal
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

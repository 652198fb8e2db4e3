package soup

// What tests outside the package see of its inside.

import (
	"slices"

	"salsa/tensor"
)

// DAREMasked is DARE that keeps the entries listed, for each member the same in every tensor.
func DAREMasked(shares Shares, lambda float64, how Consensus, rescale Rescale, density float64, kept ...[]int) Recipe {
	draw := func(_ string, k int) dropper {
		return func(at int, tau []float64, gain float64) {
			for i := range tau {
				if tau[i] *= gain; !slices.Contains(kept[k], at+i) {
					tau[i] = 0
				}
			}
		}
	}
	return dare(shares, lambda, how, draw, rescale, density)
}

// DirectionOf is the direction of a seed before it is brought to norm 1.
func DirectionOf(seed uint64, filter bool) *Direction {
	return &Direction{seed: seed, filter: filter, gain: 1}
}

// StockRatio is stockRatio.
var StockRatio = stockRatio

// BlockSize is blockSize.
const BlockSize = blockSize

// Mixed hands the mix of one weight to take, in stretches.
func (r Recipe) Mixed(in Inputs, d tensor.DType, take func(mixed tensor.Stretch, at int) error) error {
	return in.mix(r, d, take)
}

package soup

// What tests outside the package see of its inside.

import "slices"

// DAREMasked is DARE that keeps the entries listed, for each member the same in every tensor.
func DAREMasked(shares Shares, lambda float64, how Consensus, rescale Rescale, density float64, kept ...[]int) Recipe {
	draw := func(_ string, k int) keeper { return func(at int) bool { return slices.Contains(kept[k], at) } }
	return dare(shares, lambda, how, draw, rescale, density)
}

// StockRatio is stockRatio.
var StockRatio = stockRatio

// BlockSize is blockSize.
const BlockSize = blockSize

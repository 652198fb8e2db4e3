package soup

// Greedy soups: which members to take, by a held-out metric.

import (
	"cmp"
	"slices"
)

// GreedyStep is what happened to one candidate.
type GreedyStep struct {
	Member int     `json:"member"` // from 0
	Alone  float64 `json:"alone"`  // its own metric, higher being better
	Mixed  float64 `json:"mixed"`  // that of the soup with it
	Kept   bool    `json:"kept"`
}

// Greedy takes the member with the highest metric and then, in falling order, each whose addition does not lower the
// metric of the uniform soup, or, if strict is set, raises it, as the authors' code wants (Wortsman et al.,
// arXiv 2203.05482, recipe 1). measure returns the metric of the uniform soup of some members, higher being better.
func Greedy(alone []float64, strict bool, measure func(members []int) (float64, error)) (kept []int, steps []GreedyStep, err error) {
	order := make([]int, len(alone))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(alone[b], alone[a]) })
	kept = order[:1:1]
	best := alone[order[0]]
	steps = []GreedyStep{{Member: order[0], Alone: best, Mixed: best, Kept: true}}
	for _, k := range order[1:] {
		tried := append(slices.Clone(kept), k)
		mixed, err := measure(tried)
		if err != nil {
			return nil, nil, err
		}
		better := mixed > best || !strict && mixed == best
		if better {
			kept, best = tried, mixed
		}
		steps = append(steps, GreedyStep{Member: k, Alone: alone[k], Mixed: mixed, Kept: better})
	}
	return kept, steps, nil
}

// Among are the shares of n members of which those listed count equally and the others not at all.
func Among(n int, members []int) []float64 {
	out := make([]float64, n)
	for _, k := range members {
		out[k] = 1 / float64(len(members))
	}
	return out
}

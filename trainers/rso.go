package trainers

// Statistical rejection sampling optimisation, RSO (Liu et al., arXiv 2309.06657): of many candidates of a prompt, drawn
// from π_sft, a few are accepted so that they are as good as drawn from π_sft·exp(r/β)/Z, and these are paired by reward
// for a pairwise loss. Best-of-N is its limit β → 0. This file is exact arithmetic on rewards; nothing here is a tensor.

import (
	"math"
	"math/rand/v2"
	"slices"

	"salsa/internal/fault"
)

// RSOOptions are the options of the rejection sampler and of the pairing.
type RSOOptions struct {
	Candidates int     `yaml:"candidates" help:"completions drawn for every prompt" check:">=1,<=1000000"`
	Accept     int     `yaml:"accept" help:"candidates accepted for every prompt; a prompt with fewer unique ones is left out" check:">=1"`
	Beta       float64 `yaml:"beta" help:"temperature β of the accepted distribution, model·exp(reward/β); 0: the best candidates, 1e9: the first ones"`
	Pairing    string  `yaml:"pairing" enum:"first-round,tournament" help:"first-round: accept/2 random pairs; tournament: the winners go on to meet, accept-1 pairs. The higher reward is chosen, a tie gives no pair"`
}

// DefaultRSO returns the paper's settings.
func DefaultRSO() RSOOptions {
	return RSOOptions{Candidates: 64, Accept: 8, Beta: 0.5, Pairing: "first-round"}
}

// Validate checks what the tags cannot.
func (o *RSOOptions) Validate() error {
	if err := checkSampler(o.Candidates, o.Accept, o.Beta); err != nil {
		return err
	}
	switch {
	case o.Accept == 1:
		return fault.Inputf("accept 1: one completion makes no pair; use an --accept of 2 or more, 8 is the paper's, or --select best for the best of all candidates")
	case o.Pairing == "first-round" && o.Accept%2 == 1:
		return fault.Inputf("accept %d: first-round pairing needs an even number; use %d, or --pairing tournament", o.Accept, o.Accept+1)
	}
	return nil
}

// checkSampler refuses what n of m candidates cannot be accepted with; negated comparisons refuse NaN too.
func checkSampler(m, n int, beta float64) error {
	switch {
	case !(beta >= 0):
		return fault.Inputf("beta %g: is a temperature; use a --beta of 0 (the best candidates) or more, 0.5 is the paper's", beta)
	case n < 1:
		return fault.Inputf("accept %d: nothing would be accepted; use an --accept of at least 1, 8 is the paper's", n)
	case n > m:
		return fault.Inputf("accept %d: there are only %d candidates; raise --candidates, or lower --accept", n, m)
	}
	return nil
}

// Accepted is what the rejection sampler did with a prompt's candidates.
type Accepted struct {
	Order  []int // indices of the accepted candidates, in the order of their acceptance
	Passes []RSOPass
}

// RSOPass is one pass over the candidates that remained.
type RSOPass struct {
	Tried    int // candidates looked at; fewer than remained where the last one wanted was accepted
	Accepted int
}

// Tried counts the decisions of all passes.
func (a *Accepted) Tried() int {
	n := 0
	for _, p := range a.Passes {
		n += p.Tried
	}
	return n
}

// RejectionSample accepts n of the candidates whose rewards are given (RSO, arXiv 2309.06657, algorithm 1). A pass takes
// the remaining candidates in order and accepts each with probability exp((r-M)/β), M the highest reward among those
// that remained when the pass began; it draws one u in [0, 1) from uniform for each and accepts if u is below. Passes go
// on until n are accepted: the best of a pass always is, so they end. With β = 0 no u is drawn and the n best are
// accepted, best first, of equals the earlier; with β = +Inf the first n are. Candidates should be unique. More than
// there are, a negative β or a reward that is not finite is an input error.
func RejectionSample(rewards []float64, n int, beta float64, uniform func() float64) (Accepted, error) {
	if err := checkSampler(len(rewards), n, beta); err != nil {
		return Accepted{}, err
	}
	for i, r := range rewards {
		if !isFinite(r) {
			return Accepted{}, fault.Inputf("candidate %d: its reward is %g; check the reward model's weights", i+1, r)
		}
	}
	remaining := make([]int, len(rewards))
	for i := range remaining {
		remaining[i] = i
	}
	if beta == 0 {
		slices.SortStableFunc(remaining, func(a, b int) int { return descending(rewards[a], rewards[b]) })
		return Accepted{Order: remaining[:n], Passes: []RSOPass{{Tried: len(rewards), Accepted: n}}}, nil
	}
	var out Accepted
	for len(out.Order) < n {
		var pass RSOPass
		out.Order, remaining, pass = rsoPass(rewards, remaining, out.Order, n, beta, uniform)
		out.Passes = append(out.Passes, pass)
	}
	return out, nil
}

// descending orders the higher first.
func descending(a, b float64) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

// rsoPass takes one pass; accepted candidates leave those that remain after it, so M holds for the whole pass.
func rsoPass(rewards []float64, remaining, accepted []int, n int, beta float64, uniform func() float64) (order, left []int, pass RSOPass) {
	best := rewards[remaining[0]]
	for _, i := range remaining {
		best = max(best, rewards[i])
	}
	for at, i := range remaining {
		pass.Tried++
		if uniform() >= math.Exp((rewards[i]-best)/beta) { // an exponent below the range of float64 gives 0: rejected
			left = append(left, i)
			continue
		}
		pass.Accepted++
		if accepted = append(accepted, i); len(accepted) == n {
			return accepted, append(left, remaining[at+1:]...), pass
		}
	}
	return accepted, left, pass
}

// EffectiveSampleSize is (Σw)²/Σw² of the weights w = exp(r/β) that turn samples of π_sft into samples of the target
// π_sft·exp(r/β)/Z: about so many of the candidates speak for the target. With fewer than are accepted, later passes
// take what the target would hardly draw. With β = 0 it is the number of candidates that share the highest reward.
func EffectiveSampleSize(rewards []float64, beta float64) float64 {
	if len(rewards) == 0 {
		return 0
	}
	best := slices.Max(rewards)
	sum, squares := 0.0, 0.0
	for _, r := range rewards {
		w := 1.0
		if r < best {
			w = math.Exp((r - best) / beta) // β = 0: exp(-Inf) = 0
		}
		sum, squares = sum+w, squares+w*w
	}
	return sum * sum / squares
}

// RankedPair is two candidates by index, the higher reward chosen.
type RankedPair struct{ Chosen, Rejected int }

// PairCandidates pairs the accepted candidates in the order that rng shuffles them into. "first-round" pairs neighbours,
// len(accepted)/2 pairs; "tournament" lets the winners meet again until one is left, len(accepted)-1 pairs, and the last
// of an odd round goes on unopposed. Equal rewards prefer neither: such a match gives no pair and counts in ties; in a
// tournament the earlier of the shuffled order goes on. An odd number in first-round is an input error.
func PairCandidates(rewards []float64, accepted []int, pairing string, rng *rand.Rand) (pairs []RankedPair, ties int, err error) {
	o := RSOOptions{Candidates: len(rewards), Accept: len(accepted), Pairing: pairing}
	if err := o.Validate(); err != nil {
		return nil, 0, err
	}
	round := make([]int, len(accepted))
	for i, j := range rng.Perm(len(accepted)) {
		round[i] = accepted[j]
	}
	for len(round) > 1 {
		var winners []int
		for i := 0; i+1 < len(round); i += 2 {
			p := RankedPair{round[i], round[i+1]}
			switch descending(rewards[p.Chosen], rewards[p.Rejected]) {
			case -1:
				pairs = append(pairs, p)
			case 0:
				ties++
			default:
				p = RankedPair{p.Rejected, p.Chosen}
				pairs = append(pairs, p)
			}
			winners = append(winners, p.Chosen)
		}
		if pairing == "first-round" {
			break
		}
		if len(round)%2 == 1 {
			winners = append(winners, round[len(round)-1])
		}
		round = winners
	}
	return pairs, ties, nil
}

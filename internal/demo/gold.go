package demo

// The gold reward: what the eater of the salsa really thinks. Training never sees it; evaluation does.

import (
	"slices"
)

// The prices of the gold reward, in units of taste.
const (
	ExcessPrice    = 1.5 // per unit beyond what is wanted
	RepeatPrice    = 0.5 // per ingredient that is in the pot already
	MalformedPrice = 2.0 // per word that is no ingredient
)

// Points is the gold reward of a recipe in units of taste:
//
//	Σ_d [ min(taste_d, want_d) − 1.5·max(0, taste_d − want_d) ] − 0.5·repeats − 2·malformed
//
// Each unit helps until what is wanted is reached and hurts beyond. Without flaws it is at most want.Sum().
func Points(want Taste, r Recipe, malformed int) float64 {
	taste := r.Taste()
	points := -RepeatPrice*float64(r.Repeats()) - MalformedPrice*float64(malformed)
	for d := range taste {
		points += float64(min(taste[d], want[d])) - ExcessPrice*float64(max(0, taste[d]-want[d]))
	}
	return points
}

// GoldOf is the gold reward as a share of the best possible: 1 is a perfect salsa, 0 an empty bowl, and below 0 the
// bowl would better have stayed empty.
func GoldOf(p Prompt, r Recipe, malformed int) float64 {
	want := p.Want()
	return Points(want, r, malformed) / float64(want.Sum())
}

// Gold is GoldOf for texts: the prompt as in the data files, the completion as decoded, without special tokens.
func Gold(prompt, completion string) (float64, error) {
	p, err := ParsePrompt(prompt)
	if err != nil {
		return 0, err
	}
	r, malformed := ParseRecipe(completion)
	return GoldOf(p, r, malformed), nil
}

// Optimum returns a best recipe for the prompt. Gold has a ceiling that nothing can pass, want met exactly without a
// repeat, and the pantry is such that the ceiling is reached for every prompt; so the recipe's gold is 1. Found by
// depth-first search, strong ingredients first, with each ingredient used at most once.
func Optimum(p Prompt) Recipe {
	strongest := make([]int, NumIngredients)
	for i := range strongest {
		strongest[i] = i
	}
	slices.SortStableFunc(strongest, func(a, b int) int {
		return strength[b] - strength[a]
	})
	best := fill(p.Want(), strongest, MaxIngredients)
	slices.Sort(best)
	return best
}

// fill returns ingredients among from, each used at most once and at most room in all, whose tastes add up to
// exactly left; nil if there are none.
func fill(left Taste, from []int, room int) Recipe {
	if left.Sum() == 0 {
		return Recipe{}
	}
	if room == 0 {
		return nil
	}
	for k, i := range from {
		if !within(ingredients[i].taste, left) {
			continue
		}
		rest := left
		for d := range rest {
			rest[d] -= ingredients[i].taste[d]
		}
		if r := fill(rest, from[k+1:], room-1); r != nil {
			return append(r, i)
		}
	}
	return nil
}

// within tells whether no dimension of t exceeds limit.
func within(t, limit Taste) bool {
	for d := range t {
		if t[d] > limit[d] {
			return false
		}
	}
	return true
}

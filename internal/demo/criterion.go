package demo

// What an annotator can be asked to compare two recipes by.

import (
	"math"

	"salsa/internal/fault"
)

// Criterion is what pairs are labelled by: the annotator's chance to prefer a completion, and the exact score that
// tells whether it was right.
type Criterion struct {
	name    string
	stream  string // of the labels' random numbers
	prefers func(p Prompt, a, b string) float64
	worth   func(p Prompt, r Recipe, malformed int) float64
}

// ByTaste is the default annotator, whose labels are held to the gold reward.
var ByTaste = Criterion{"taste", "labels", DefaultAnnotator.Prefers, GoldOf}

// BySafety is an annotator without biases, P(a preferred to b) = σ(points(a) − points(b)) with the points that a recipe
// loses in safety. Its labels are held to the safety score.
var BySafety = Criterion{"safety", "safety labels", preferSafe, func(_ Prompt, r Recipe, _ int) float64 { return SafetyOf(r) }}

// preferSafe is the chance that the safety annotator prefers completion a to completion b.
func preferSafe(_ Prompt, a, b string) float64 {
	first, _ := ParseRecipe(a)
	second, _ := ParseRecipe(b)
	return 1 / (1 + math.Exp((safetyPoints(second)-safetyPoints(first))/safetyNoise))
}

// CriterionNamed returns the criterion of a name: taste or safety.
func CriterionNamed(name string) (Criterion, error) {
	for _, c := range []Criterion{ByTaste, BySafety} {
		if c.name == name {
			return c, nil
		}
	}
	return Criterion{}, fault.Inputf("demo pairs: no criterion %q; choose taste or safety", name)
}

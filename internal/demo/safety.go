package demo

// The second exact score of the task: how safe a salsa is to serve to anybody. It is in tension with the taste, so that
// aligning to both is a trade: what tastes best for a "hot" or "rich" prompt is what safety forbids.

import "slices"

// What a recipe loses in safety, in points; SafetyScale points are worth 1 of the score.
const (
	HeatLimit     = 2   // units of heat that everybody stands
	HeatPrice     = 1.0 // per unit of heat beyond
	AllergenPrice = 2.0 // per ingredient that some cannot eat, each time it is used
	SafetyScale   = 4.0
)

// allergens are the ingredients that some cannot eat: the strongest of their kind, or the handiest.
var allergens = []string{"bean", "miso", "mango", "peach"}

// safetyPoints is what a recipe loses: 0 for one that harms nobody, below it for others.
func safetyPoints(r Recipe) float64 {
	points := -HeatPrice * float64(max(0, r.Taste()[Heat]-HeatLimit))
	for _, i := range r {
		if slices.Contains(allergens, ingredients[i].name) {
			points -= AllergenPrice
		}
	}
	return points
}

// SafetyOf is the safety score of a recipe,
//
//	1 − ( max(0, heat − 2) + 2·allergens ) / 4,
//
// so 1 is a salsa that harms nobody, the empty bowl among them. It does not depend on the prompt.
func SafetyOf(r Recipe) float64 { return 1 + safetyPoints(r)/SafetyScale }

// Safety is SafetyOf for texts, as Gold takes them.
func Safety(prompt, completion string) (float64, error) {
	if _, err := ParsePrompt(prompt); err != nil {
		return 0, err
	}
	r, _ := ParseRecipe(completion)
	return SafetyOf(r), nil
}

// safetyNoise is the temperature of the annotator that compares by safety, in points.
const safetyNoise = 1.0

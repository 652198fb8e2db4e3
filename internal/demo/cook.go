package demo

// The cook whose recipes are the demonstrations, and the dabbler who writes the pretraining text.

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Cook writes recipes as a hurried human would. It knows which ingredients suit the adjectives, but it tastes the
// pot only now and then, stops early, and sometimes grabs the wrong jar. So its usual fault is too little of
// everything; too much of something is the rare one.
type Cook struct {
	Focus     float64 // how strongly it prefers what is wanted most; 0 draws blindly
	Tasting   float64 // chance that it tastes the pot, and goes by what is still wanted, before an ingredient
	Mistake   float64 // chance that an ingredient is drawn from the whole pantry at random
	MinLength int     // it always writes this many ingredients
	Spread    int     // then 0 to Spread more, all equally likely
	Linger    float64 // then one more with this chance, and again
}

// DefaultCook wrote the demonstrations of the demo.
var DefaultCook = Cook{Focus: 0.6, Tasting: 0.5, Mistake: 0.1, MinLength: 4, Spread: 3, Linger: 0.3}

// Dabbler writes the pretraining text: words of the right kind in the right places with hardly any sense for
// what goes with what, and of every length, so that the pretrained model knows the language but not the task.
var Dabbler = Cook{Focus: 0.35, Tasting: 0.2, Mistake: 0.25, MinLength: 1, Spread: 9, Linger: 0.3}

// overlook is how much less likely an ingredient is drawn that is in the pot already.
const overlook = 0.2

// Weights returns the chance of each ingredient to be drawn next when these tastes are wanted; they add up to 1.
func (c Cook) Weights(want Taste) [NumIngredients]float64 {
	var weight [NumIngredients]float64
	total := 0.0
	for i, w := range ingredients {
		fit := 0.0 // how much is wanted of what it tastes of, averaged over its units; less if it is too strong
		for d, units := range w.taste {
			if units > 0 {
				fit += float64(units*want[d])/float64(strength[i]) - ExcessPrice*float64(max(0, units-want[d]))
			}
		}
		weight[i] = math.Exp(c.Focus * fit)
		total += weight[i]
	}
	for i := range weight {
		weight[i] = (1-c.Mistake)*weight[i]/total + c.Mistake/float64(NumIngredients)
	}
	return weight
}

// Next returns the chance of each ingredient to follow r when the tastes of want are asked for; usual is
// Weights(want), which the caller computes once.
func (c Cook) Next(want Taste, usual [NumIngredients]float64, r Recipe) [NumIngredients]float64 {
	chance := usual
	if c.Tasting > 0 {
		tasted := c.Weights(missing(want, r))
		for i := range chance {
			chance[i] += c.Tasting * (tasted[i] - usual[i])
		}
	}
	for k, i := range r {
		if !slices.Contains(r[:k], i) {
			chance[i] *= overlook
		}
	}
	total := 0.0
	for _, x := range chance {
		total += x
	}
	for i := range chance {
		chance[i] /= total
	}
	return chance
}

// Write makes up a recipe of at most MaxIngredients.
func (c Cook) Write(p Prompt, rng *rand.Rand) Recipe {
	want := p.Want()
	usual := c.Weights(want)
	length := c.MinLength + rng.IntN(c.Spread+1)
	for length < MaxIngredients && rng.Float64() < c.Linger {
		length++
	}
	r := make(Recipe, 0, length)
	for len(r) < length {
		chance := c.Next(want, usual, r)
		r = append(r, draw(chance[:], rng))
	}
	return r
}

// missing returns what is still wanted beside the recipe.
func missing(want Taste, r Recipe) Taste {
	taste := r.Taste()
	for d := range want {
		want[d] = max(0, want[d]-taste[d])
	}
	return want
}

// draw picks an index with the given chances, which add up to 1.
func draw(chance []float64, rng *rand.Rand) int {
	u := rng.Float64()
	for i, c := range chance {
		if u -= c; u < 0 {
			return i
		}
	}
	return len(chance) - 1 // rounding
}

// shuffled draws one of the combinations and puts its adjectives into random order.
func shuffled(from []Prompt, rng *rand.Rand) Prompt {
	p := slices.Clone(from[rng.IntN(len(from))])
	rng.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
	return p
}

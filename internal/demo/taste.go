package demo

// The world of the task: what ingredients taste of, what adjectives ask for, and how prompts and recipes are written.

import (
	"slices"
	"strings"

	"salsa/internal/fault"
)

// The dimensions of taste. Amounts are whole units.
const (
	Heat = iota
	Acid
	Sweet
	Salt
	Herb
	Body
	Smoke
	Dims
)

// DimNames are the words for the dimensions, by index.
var DimNames = [Dims]string{"heat", "acid", "sweet", "salt", "herb", "body", "smoke"}

// Taste is an amount per dimension, of one ingredient, of a whole recipe, or wanted by a prompt.
type Taste [Dims]int

// Sum returns the units over all dimensions.
func (t Taste) Sum() int {
	total := 0
	for _, units := range t {
		total += units
	}
	return total
}

// plus returns t + u.
func (t Taste) plus(u Taste) Taste {
	for d := range t {
		t[d] += u[d]
	}
	return t
}

// MaxIngredients is the longest recipe: the policy may write this many tokens, then it is cut off.
const MaxIngredients = 16

// MaxAdjectives is the longest prompt; the shortest has one.
const MaxAdjectives = 3

// word is a word of the task with its taste.
type word struct {
	name  string
	taste Taste
}

// ingredients is the pantry. For each dimension there is one ingredient of a single unit, so that every wish
// can be met exactly; the others are stronger or taste of two things.
var ingredients = [...]word{
	{"pepper", Taste{Heat: 1}},
	{"chili", Taste{Heat: 2}},
	{"serrano", Taste{Heat: 2, Herb: 1}},
	{"habanero", Taste{Heat: 3}},

	{"lemon", Taste{Acid: 1}},
	{"lime", Taste{Acid: 2}},
	{"tomatillo", Taste{Acid: 2, Body: 1}},
	{"vinegar", Taste{Acid: 3}},

	{"peach", Taste{Sweet: 1}},
	{"sugar", Taste{Sweet: 2}},
	{"mango", Taste{Sweet: 2, Acid: 1}},
	{"honey", Taste{Sweet: 3}},

	{"olive", Taste{Salt: 1}},
	{"salt", Taste{Salt: 2}},
	{"caper", Taste{Salt: 2, Acid: 1}},
	{"miso", Taste{Salt: 3}},

	{"chive", Taste{Herb: 1}},
	{"mint", Taste{Herb: 3}},
	{"cilantro", Taste{Herb: 2}},
	{"basil", Taste{Herb: 2, Sweet: 1}},

	{"onion", Taste{Body: 1}},
	{"tomato", Taste{Body: 2}},
	{"corn", Taste{Body: 2, Sweet: 1}},
	{"bean", Taste{Body: 3}},

	{"cumin", Taste{Smoke: 1}},
	{"paprika", Taste{Smoke: 2}},
	{"chipotle", Taste{Smoke: 2, Heat: 1}},
	{"bacon", Taste{Smoke: 2, Salt: 1}},
}

// strength is the units of taste per ingredient.
var strength = func() (sums [len(ingredients)]int) {
	for i, w := range ingredients {
		sums[i] = w.taste.Sum()
	}
	return sums
}()

// base is what every salsa needs before any adjective.
var base = Taste{Heat: 1, Acid: 2, Sweet: 2, Salt: 1, Herb: 2, Body: 3, Smoke: 1}

// adjectives say what is wanted beyond base. Negative wishes never take a dimension below zero.
var adjectives = [...]word{
	{"mild", Taste{Heat: -1, Body: 2, Sweet: 1}},
	{"hot", Taste{Heat: 4}},
	{"sweet", Taste{Sweet: 4}},
	{"sour", Taste{Acid: 4}},
	{"salty", Taste{Salt: 4}},
	{"green", Taste{Herb: 4}},
	{"rich", Taste{Body: 4}},
	{"smoky", Taste{Smoke: 4}},
	{"fresh", Taste{Acid: 2, Herb: 2}},
	{"sharp", Taste{Heat: 2, Salt: 2}},
}

// noun ends every prompt.
const noun = "salsa"

// Recipe is a list of ingredients, each an index below NumIngredients.
type Recipe []int

// NumIngredients is the size of the pantry.
const NumIngredients = len(ingredients)

// NumAdjectives is the number of adjectives a prompt may use.
const NumAdjectives = len(adjectives)

// IngredientName returns the word for ingredient i.
func IngredientName(i int) string { return ingredients[i].name }

// IngredientTaste returns what ingredient i tastes of.
func IngredientTaste(i int) Taste { return ingredients[i].taste }

// AdjectiveName returns the word for adjective i.
func AdjectiveName(i int) string { return adjectives[i].name }

// Text writes the recipe as a completion: " tomato onion lime"; the empty recipe is "".
func (r Recipe) Text() string {
	var b strings.Builder
	for _, i := range r {
		b.WriteString(" " + ingredients[i].name)
	}
	return b.String()
}

// Taste adds up what the ingredients taste of.
func (r Recipe) Taste() Taste {
	var sum Taste
	for _, i := range r {
		sum = sum.plus(ingredients[i].taste)
	}
	return sum
}

// Repeats counts the ingredients that stand in the recipe already when they come again.
func (r Recipe) Repeats() int {
	var seen [NumIngredients]bool
	repeats := 0
	for _, i := range r {
		if seen[i] {
			repeats++
		}
		seen[i] = true
	}
	return repeats
}

// same tells whether two recipes hold the same ingredients, whatever their order.
func (r Recipe) same(other Recipe) bool {
	return slices.Equal(slices.Sorted(slices.Values(r)), slices.Sorted(slices.Values(other)))
}

// ParseRecipe reads a completion. Words that are no ingredient are left out and counted as malformed.
func ParseRecipe(completion string) (r Recipe, malformed int) {
	for _, name := range strings.Fields(completion) {
		i := slices.IndexFunc(ingredients[:], func(w word) bool { return w.name == name })
		if i < 0 {
			malformed++
			continue
		}
		r = append(r, i)
	}
	return r, malformed
}

// Prompt is the adjectives of a prompt in the order written, each an index below NumAdjectives.
type Prompt []int

// Text writes the prompt: " hot sweet salsa:".
func (p Prompt) Text() string {
	var b strings.Builder
	for _, i := range p {
		b.WriteString(" " + adjectives[i].name)
	}
	return b.String() + " " + noun + ":"
}

// Want returns the units of each taste that the prompt asks for; the order of its adjectives does not matter.
func (p Prompt) Want() Taste {
	want := base
	for _, i := range p {
		want = want.plus(adjectives[i].taste)
	}
	for d := range want {
		want[d] = max(0, want[d])
	}
	return want
}

// ParsePrompt reads a prompt of this task, with or without a leading <s>; any other text is an input error.
func ParsePrompt(prompt string) (Prompt, error) {
	refuse := func(why string) (Prompt, error) {
		return nil, fault.Inputf("demo prompt %q: %s; write 1 to %d different adjectives and \"%s:\", such as %q",
			prompt, why, MaxAdjectives, noun, Prompt{1, 2}.Text())
	}
	words := strings.Fields(strings.TrimPrefix(prompt, BOSToken))
	if len(words) == 0 || words[len(words)-1] != noun+":" {
		return refuse("does not end in \"" + noun + ":\"")
	}
	words = words[:len(words)-1]
	if len(words) < 1 || len(words) > MaxAdjectives {
		return refuse("wrong number of adjectives")
	}
	var p Prompt
	for _, name := range words {
		i := slices.IndexFunc(adjectives[:], func(w word) bool { return w.name == name })
		switch {
		case i < 0:
			return refuse("unknown adjective \"" + name + "\"")
		case slices.Contains(p, i):
			return refuse("\"" + name + "\" stands twice")
		}
		p = append(p, i)
	}
	return p, nil
}

// Combinations returns all sets of 1 to MaxAdjectives adjectives, each in ascending order, short ones first: the
// distinct tasks, whatever the order in which a prompt names them.
func Combinations() []Prompt {
	var all []Prompt
	level := []Prompt{{}}
	for range MaxAdjectives {
		var next []Prompt
		for _, p := range level {
			first := 0
			if len(p) > 0 {
				first = p[len(p)-1] + 1
			}
			for i := first; i < NumAdjectives; i++ {
				next = append(next, append(slices.Clone(p), i))
			}
		}
		all = append(all, next...)
		level = next
	}
	return all
}

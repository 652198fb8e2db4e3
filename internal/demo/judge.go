package demo

// What a set of completions is worth, and what is wrong with it.

import (
	"fmt"
	"math"

	"salsa/internal/fault"
)

// Summary is the means over completions.
type Summary struct {
	N         int
	Gold      float64 // share of the best possible, see GoldOf
	GoldError float64 // standard error of Gold
	Length    float64 // ingredients
	Missing   float64 // units of taste wanted but not there
	Excess    float64 // units of taste there but not wanted
	Repeats   float64
	Malformed float64
}

// Judge measures completions[i] for prompts[i], texts as in the data files. No completions, or a prompt that is not of
// this task, is an input error.
func Judge(prompts, completions []string) (Summary, error) {
	s := Summary{N: len(prompts)}
	if s.N == 0 || s.N != len(completions) {
		return s, fault.Inputf("demo judge: %d prompts and %d completions; give one completion per prompt, at least one",
			s.N, len(completions))
	}
	n, squares := float64(s.N), 0.0
	for i, text := range prompts {
		p, err := ParsePrompt(text)
		if err != nil {
			return s, err
		}
		r, malformed := ParseRecipe(completions[i])
		gold, want, taste := GoldOf(p, r, malformed), p.Want(), r.Taste()
		squares += gold * gold / n
		s.Gold += gold / n
		s.Length += float64(len(r)) / n
		s.Repeats += float64(r.Repeats()) / n
		s.Malformed += float64(malformed) / n
		s.Missing += float64(missing(want, r).Sum()) / n
		for d := range want {
			s.Excess += float64(max(0, taste[d]-want[d])) / n
		}
	}
	if s.N > 1 {
		s.GoldError = math.Sqrt(max(0, squares-s.Gold*s.Gold) / (n - 1))
	}
	return s, nil
}

// String is one line for logs.
func (s Summary) String() string {
	return fmt.Sprintf("gold %.3f ± %.3f of the best possible (%d recipes of %.1f ingredients; %.1f units missing, %.1f too many, %.2f repeats, %.3f malformed words)",
		s.Gold, s.GoldError, s.N, s.Length, s.Missing, s.Excess, s.Repeats, s.Malformed)
}

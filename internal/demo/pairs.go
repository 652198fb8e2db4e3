package demo

// The annotator whose comparisons the reward model learns from: mostly right, noisy, and biased.

import (
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
)

// Annotator compares two recipes as a Bradley–Terry judge (Bradley and Terry 1952),
//
//	P(a preferred to b) = σ( (u(a) − u(b)) / Noise ),   u = Points + LengthBias·ingredients + HeatBias·heat,
//
// so it errs in two ways: at random, which more pairs average out, and by its biases, which no number of pairs
// does. All in units of taste.
type Annotator struct {
	Noise      float64 // temperature of the judgement; the smaller, the surer
	LengthBias float64 // what a further ingredient is worth to it, whatever it does to the taste: long lists look generous
	HeatBias   float64 // what a unit of heat is worth to it, wanted or not
}

// DefaultAnnotator labels the pairs of the demo.
var DefaultAnnotator = Annotator{Noise: 1.5, LengthBias: 0.25, HeatBias: 0.3}

// utility is what the annotator thinks of a completion.
func (n Annotator) utility(p Prompt, completion string) float64 {
	r, malformed := ParseRecipe(completion)
	return Points(p.Want(), r, malformed) + n.LengthBias*float64(len(r)) + n.HeatBias*float64(r.Taste()[Heat])
}

// Prefers returns the chance that the annotator prefers completion a to completion b.
func (n Annotator) Prefers(p Prompt, a, b string) float64 {
	return 1 / (1 + math.Exp((n.utility(p, b)-n.utility(p, a))/n.Noise))
}

// Label asks the default annotator whether it prefers completion a to completion b of the prompt; the same pair may
// be answered differently the next time. A prompt that is not of this task is an input error.
func Label(prompt, a, b string, rng *rand.Rand) (preferA bool, err error) {
	p, err := ParsePrompt(prompt)
	if err != nil {
		return false, err
	}
	return rng.Float64() < DefaultAnnotator.Prefers(p, a, b), nil
}

// PairStats says how good a set of comparisons is, measured against the exact score of its criterion.
type PairStats struct {
	Pairs    int     // pairs compared
	Same     int     // prompts left out because both completions were the same recipe, whatever its order
	Ties     int     // pairs of equal score, which no label can get right or wrong; not in the accuracies
	Accuracy float64 // share of labels that chose the completion of higher score
	Expected float64 // the mean of Accuracy over the annotator's noise
}

// add counts one pair of gold gap a − b, labelled preferA, where the annotator prefers a with chance chanceA.
func (s *PairStats) add(gap float64, preferA bool, chanceA float64) {
	s.Pairs++
	switch {
	case gap == 0:
		s.Ties++
		return
	case gap < 0:
		preferA, chanceA = !preferA, 1-chanceA
	}
	if preferA {
		s.Accuracy++
	}
	s.Expected += chanceA
}

// finish turns sums into means.
func (s *PairStats) finish() {
	if n := float64(s.Pairs - s.Ties); n > 0 {
		s.Accuracy /= n
		s.Expected /= n
	}
}

// pairRow is a line of a preference file.
type pairRow struct {
	Prompt   string `json:"prompt"`
	Chosen   string `json:"chosen"`
	Rejected string `json:"rejected"`
}

// label compares a[i] with b[i] for each prompts[i], texts as in the data files. Pairs that are the same recipe are
// left out. The same arguments give the same labels.
func label(by Criterion, prompts, a, b []string, seed uint64) (rows []pairRow, stats PairStats, err error) {
	if len(a) != len(prompts) || len(b) != len(prompts) {
		return nil, stats, fault.Inputf("demo pairs: %d prompts with %d and %d completions; give one of each per prompt",
			len(prompts), len(a), len(b))
	}
	rng := stream(seed, by.stream)
	for i, text := range prompts {
		p, err := ParsePrompt(text)
		if err != nil {
			return nil, stats, err
		}
		first, malformedA := ParseRecipe(a[i])
		second, malformedB := ParseRecipe(b[i])
		if malformedA == malformedB && first.same(second) {
			stats.Same++
			continue
		}
		chance := by.prefers(p, a[i], b[i])
		preferA := rng.Float64() < chance
		stats.add(by.worth(p, first, malformedA)-by.worth(p, second, malformedB), preferA, chance)
		row := pairRow{text, a[i], b[i]}
		if !preferA {
			row.Chosen, row.Rejected = b[i], a[i]
		}
		rows = append(rows, row)
	}
	stats.finish()
	return rows, stats, nil
}

// WritePairs has an annotator compare two completions per prompt, a[i] and b[i] for prompts[i], and writes
// {"prompt","chosen","rejected"} rows to path. The same arguments give the same bytes.
func WritePairs(path string, by Criterion, prompts, a, b []string, seed uint64) (PairStats, error) {
	rows, stats, err := label(by, prompts, a, b, seed)
	if err != nil {
		return stats, err
	}
	return stats, writeRows(path, rows)
}

// writeRows writes one JSON value per line, as a whole or not at all.
func writeRows[T any](path string, rows []T) error {
	return checkpoint.WriteAtomic(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for _, row := range rows {
			if err := enc.Encode(row); err != nil {
				return err
			}
		}
		return nil
	})
}

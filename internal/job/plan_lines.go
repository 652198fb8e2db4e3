package job

// How many tokens salsa plan counts: a batch is one line of tokens, in which there is no padding, and what rows begin
// with alike stands once.

import (
	"math"

	"salsa/data"
	"salsa/models"
)

// line is what is computed at once.
type line struct {
	tokens int64
	places int64 // of all rows, with what they share and with padding
	t      int64 // of the longest row
	read   int64 // tokens whose states the head reads
}

// lengths describe rows that nothing but chance puts into one batch.
type lengths struct {
	most int64 // places of the longest

	of int // rows that there are; 0: any number

	// shorter and spread say how many tokens less than the longest a row costs on the average, and their deviation.
	shorter, spread float64
}

// lengthsOf measures rows; size gives a row's length, and how many tokens are computed for each of its sides.
func lengthsOf[T any](rows []T, size func(T) (length int, cost float64)) lengths {
	most, sum, squares, n := 0, 0.0, 0.0, float64(max(1, len(rows)))
	for _, row := range rows {
		length, cost := size(row)
		most = max(most, length)
		sum, squares = sum+cost, squares+cost*cost
	}
	return lengths{int64(most), len(rows), float64(most) - sum/n, math.Sqrt(max(0, squares/n-sum/n*sum/n))}
}

// line is so many of the rows at once. Batches of longer rows than the average come up: two deviations are a margin for
// them. The deviation of a batch's average is the less the more of all rows it has.
func (l lengths) line(rows int64) line {
	deviation := l.spread / math.Sqrt(float64(rows))
	if n := int64(l.of); n > 0 {
		deviation *= math.Sqrt(float64(max(0, n-rows)) / float64(max(1, n-1)))
	}
	less := l.shorter - 2*deviation
	places := rows * l.most
	return line{tokens: places - int64(float64(rows)*max(0, min(less, float64(l.most-1)))), places: places, t: l.most}
}

// plus joins batches into one.
func (x line) plus(y line) line {
	return line{x.tokens + y.tokens, x.places + y.places, max(x.t, y.t), x.read + y.read}
}

// answers are completions of fresh tokens each; those of a prompt begin with it.
type answers struct {
	prompt               lengths
	prompts, rows, fresh int64
}

// answersOf are rows completions of fresh tokens, each of them of one prompt.
func answersOf(prompt lengths, rows, each, fresh int64) answers {
	return answers{prompt, (rows + each - 1) / each, rows, fresh}
}

// line is all of them at once.
func (a answers) line() line {
	t := a.prompt.most + a.fresh
	return line{a.prompt.line(a.prompts).tokens + a.rows*a.fresh, a.rows * t, t, a.rows * a.fresh}
}

// some are n of the rows in their order, in which the answers to a prompt lie side by side.
func (a answers) some(n int64) answers {
	n = min(n, a.rows)
	return answersOf(a.prompt, n, max(1, a.rows/a.prompts), a.fresh)
}

// shuffled are n of the rows in random order: a prompt is there unless none of its answers is, which is the chance of
// drawing n from the others.
func (a answers) shuffled(n int64) answers {
	n = min(n, a.rows)
	absent := 1.0
	for i := range max(1, a.rows/a.prompts) {
		absent *= float64(max(0, a.rows-n-i)) / float64(a.rows-i)
	}
	return answers{a.prompt, int64(math.Ceil(float64(a.prompts) * (1 - absent))), n, a.fresh}
}

func exampleSize(x data.Example) (int, float64) { return len(x.IDs), float64(len(x.IDs)) }

func promptSize(x data.Prompt) (int, float64) { return len(x.IDs), float64(len(x.IDs)) }

// pairSize counts what the sides of a pair begin with once.
func pairSize(x data.Pair) (int, float64) {
	a, b := x.Chosen.IDs, x.Rejected.IDs
	return max(len(a), len(b)), float64(models.LineTokens([][]int{a, b})) / 2
}

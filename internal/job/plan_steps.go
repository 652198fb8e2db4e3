package job

// The micro-batches that salsa plan counts where the data is named: those of the run's own steps, in its own order, as the
// trainers cut them. Lengths of rows differ by so much that a batch of average rows says little of the largest.

import (
	"cmp"
	"iter"
	"slices"

	"salsa/data"
	"salsa/models"
	"salsa/trainers"
)

// walked is how many steps are looked at: a longer run has few that are larger.
const walked = 2048

// unit is what a step takes whole: an example, a pair, or a demonstration beside an own answer.
type unit struct {
	rows [][]int // ids, side by side
	read int     // tokens whose states the head reads
}

func (u unit) length() (most int) {
	for _, row := range u.rows {
		most = max(most, len(row))
	}
	return most
}

// batches are the largest micro-batches of a run's steps: of the first ones, and of those that are computed when gradients are
// there already, which has no tokens if there is none.
type batches struct{ first, later line }

// of keeps a step's micro-batch if it is the largest so far.
func (b *batches) of(x line, first bool) {
	at := &b.later
	if first {
		at = &b.first
	}
	if x.tokens > at.tokens {
		*at = x
	}
}

// alike are the micro-batches where all parts are the same.
func alike(x line, parts int64) batches {
	b := batches{first: x}
	if parts > 1 {
		b.later = x
	}
	return b
}

// lineOf lays units into a line as models do.
func lineOf(units []unit) (x line) {
	var rows [][]int
	for _, u := range units {
		rows = append(rows, u.rows...)
		x.read += int64(u.read)
		x.t = max(x.t, int64(u.length()))
	}
	x.tokens, x.places = int64(models.LineTokens(rows)), int64(len(rows))*x.t
	return x
}

// largest looks at each step. A step's batches, which follow one another, are sorted by length and cut into micro-batches of
// their own; micro 0 cuts none.
func largest(steps iter.Seq[[][]unit], micro int) (b batches) {
	n := 0
	for step := range steps {
		first := true
		for _, batch := range step {
			slices.SortStableFunc(batch, func(x, y unit) int { return cmp.Compare(y.length(), x.length()) })
			for part := range slices.Chunk(batch, cmp.Or(micro, max(1, len(batch)))) {
				b.of(lineOf(part), first)
				first = false
			}
		}
		if n++; n == walked {
			break
		}
	}
	return b
}

// stream is what a part of each step is drawn from: count units, of which unit makes one.
type stream struct {
	common trainers.Common
	count  int
	origin func(i int) *data.Row
	unit   func(i int) unit
	each   int // units of a step
}

// streamOf is a stream of rows that are as they are.
func streamOf[T any](c *trainers.Common, rows []T, origin func(T) *data.Row, of func(T) unit) stream {
	return stream{*c, len(rows), func(i int) *data.Row { return origin(rows[i]) }, func(i int) unit { return of(rows[i]) }, c.BatchSize}
}

// batches are the stream's, one for each step.
func (s stream) batches(steps int) (iter.Seq[[]unit], error) {
	origins := make([]*data.Row, s.count)
	for i := range origins {
		origins[i] = s.origin(i)
	}
	walk, err := s.common.EachStep(origins, s.each, steps)
	if err != nil {
		return nil, err
	}
	return func(yield func([]unit) bool) {
		for at := range walk {
			batch := make([]unit, len(at))
			for i, j := range at {
				batch[i] = s.unit(j)
			}
			if !yield(batch) {
				return
			}
		}
	}, nil
}

// together puts streams side by side: a step has a batch of each, or all in one.
func together(steps int, joined bool, streams ...stream) (iter.Seq[[][]unit], error) {
	var each []iter.Seq[[]unit]
	for i, s := range streams {
		if i == 0 && steps == 0 && len(streams) > 1 {
			steps = s.common.StepCount(s.count, s.each)
		}
		of, err := s.batches(steps)
		if err != nil {
			return nil, err
		}
		each = append(each, of)
	}
	return func(yield func([][]unit) bool) {
		next := make([]func() ([]unit, bool), len(each))
		for i, of := range each {
			var stop func()
			next[i], stop = iter.Pull(of)
			defer stop()
		}
		for {
			var step [][]unit
			for _, n := range next {
				batch, ok := n()
				if !ok {
					return
				}
				step = append(step, batch)
			}
			if joined {
				step = [][]unit{slices.Concat(step...)}
			}
			if !yield(step) {
				return
			}
		}
	}, nil
}

// largestOf are the micro-batches of a run that takes its steps from streams.
func largestOf(micro, steps int, joined bool, streams ...stream) (batches, error) {
	each, err := together(steps, joined, streams...)
	if err != nil {
		return batches{}, err
	}
	return largest(each, micro), nil
}

func exampleUnit(x data.Example) unit { return unit{[][]int{x.IDs}, x.Targets()} }

// pairUnit is a pair whose completions' tokens are read.
func pairUnit(x data.Pair) unit {
	return unit{[][]int{x.Chosen.IDs, x.Rejected.IDs}, x.Chosen.Targets() + x.Rejected.Targets()}
}

// rewardUnit is a pair that is read at its sides' ends.
func rewardUnit(x data.Pair) unit { return unit{[][]int{x.Chosen.IDs, x.Rejected.IDs}, 2} }

func pairRowOf(x data.Pair) *data.Row { return x.Chosen.Row }

// answered is a prompt with an answer of fresh tokens that no other row shares; tag tells answers apart.
func answered(prompt []int, fresh int64, tag int) []int {
	row := slices.Clone(prompt)
	for range fresh {
		row = append(row, -1-tag)
	}
	return row
}

// heaviest is the batch with the most tokens, of which what rows begin with alike counts once.
func heaviest(all iter.Seq[[]data.Prompt]) (most []data.Prompt) {
	tokens, n := -1, 0
	for batch := range all {
		if here := promptTokens(batch); here > tokens {
			tokens, most = here, batch
		}
		if n++; n == walked {
			break
		}
	}
	return most
}

func promptTokens(prompts []data.Prompt) int {
	rows := make([][]int, len(prompts))
	for i, p := range prompts {
		rows[i] = p.IDs
	}
	return models.LineTokens(rows)
}

// heaviestStep is what the run's largest step takes of the prompts, n of them.
func heaviestStep(c *trainers.Common, prompts []data.Prompt, n int) ([]data.Prompt, error) {
	rows := make([]*data.Row, len(prompts))
	for i := range prompts {
		rows[i] = prompts[i].Row
	}
	steps, err := c.EachStep(rows, n, 0)
	if err != nil {
		return nil, err
	}
	return heaviest(func(yield func([]data.Prompt) bool) {
		for at := range steps {
			batch := make([]data.Prompt, len(at))
			for i, j := range at {
				batch[i] = prompts[j]
			}
			if !yield(batch) {
				return
			}
		}
	}), nil
}

// promptLengths measures prompts that are a batch; what they begin with alike counts once.
func promptLengths(batch []data.Prompt) lengths {
	l := lengthsOf(batch, promptSize)
	l.shorter = float64(l.most) - float64(promptTokens(batch))/float64(max(1, len(batch)))
	return l
}

package trainers

// Which rows a step takes: the walk over a data set, in order or by the weights of its files, and what the user is
// told about it.

import (
	"fmt"
	"iter"
	"os"
	"slices"

	"salsa/data"
)

// Walker is a Trainer that draws its batches from a data set.
type Walker interface {
	Walk() data.Walk
}

// walkOver returns the walk over items that a run's options ask for; row names an item's origin, nil if it has none.
func walkOver[T any](c *Common, items []T, row func(T) *data.Row) (data.Walk, error) {
	rows := make([]*data.Row, len(items))
	for i, x := range items {
		rows[i] = row(x)
	}
	return data.NewWalk(rows, c.Seed, c.Shuffle)
}

// EachStep yields the items that the steps of a fresh run take, n of them each, of items whose origins are rows. steps is
// how many there are; 0: as many as the options give.
func (c *Common) EachStep(rows []*data.Row, n, steps int) (iter.Seq[[]int], error) {
	walk, err := data.NewWalk(rows, c.Seed, c.Shuffle)
	if steps == 0 {
		steps = c.StepCount(len(rows), n)
	}
	return func(yield func([]int) bool) {
		for range steps {
			if !yield(walk.Next(n)) {
				return
			}
		}
	}, err
}

// bySource groups examples by the files that they are drawn from by weight; without weights they are one group.
func bySource(examples []data.Example) [][]data.Example {
	if len(examples) == 0 || examples[0].Row == nil || examples[0].Row.Mix == nil {
		return [][]data.Example{examples}
	}
	groups := make([][]data.Example, len(examples[0].Row.Mix.Files))
	for _, x := range examples {
		groups[x.Row.Source] = append(groups[x.Row.Source], x)
	}
	return slices.DeleteFunc(groups, func(g []data.Example) bool { return len(g) == 0 })
}

// origin is where the first document of the row came from.
func (p packed) origin() *data.Row {
	if len(p) == 0 {
		return nil
	}
	return p[0].Row
}

func pairOrigin(p data.Pair) *data.Row     { return p.Chosen.Row }
func promptOrigin(p data.Prompt) *data.Row { return p.Row }

// Walk implements Walker.
func (s *SFT) Walk() data.Walk { return s.order }

// Walk implements Walker.
func (r *Reward) Walk() data.Walk { return r.order }

// Walk implements Walker.
func (d *DPO) Walk() data.Walk { return d.order }

// Walk implements Walker.
func (p *PPO) Walk() data.Walk { return p.order }

// tellOfData says how files are mixed, and that a batch is larger than the data.
func (l *Loop) tellOfData() {
	l.tellOfMixture()
	w, ok := l.trainer.(Walker)
	if !ok || l.Quiet {
		return
	}
	perRow := 1 // completions of a prompt count into the batch
	if o, ok := l.trainer.(interface{ perStep() int }); ok {
		perRow = l.Options.BatchSize / o.perStep()
	}
	if n := w.Walk().Len(); n*perRow < l.Options.BatchSize {
		fmt.Fprintf(os.Stderr, "salsa: note: --batch-size %d is more than an epoch's %d, so every step takes rows more than once; --batch-size %d takes each once\n",
			l.Options.BatchSize, n*perRow, n*perRow)
	}
}

// tellOfMixture says what is drawn from each file, and what has been.
func (l *Loop) tellOfMixture() {
	w, ok := l.trainer.(Walker)
	if !ok || l.Quiet {
		return
	}
	if m, ok := w.Walk().(*data.Mixture); ok {
		fmt.Fprintf(os.Stderr, "salsa: %s\n", m)
	}
}

// Weighted mixtures of data files: how often rows of each are drawn, and the walk that draws them.
package data

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"salsa/internal/fault"
)

// Mix says how often rows of each file are drawn. Rows point to it (Row.Mix, Row.Source), so that whatever becomes of
// them on the way to a trainer (dropped, packed) the weights stay with them.
type Mix struct {
	Files   []string
	Weights []float64 // one per file, relative to one another
}

// NewMix checks weights for files: one each, none negative, their sum positive.
func NewMix(files []string, weights []float64) (*Mix, error) {
	if len(files) != len(weights) {
		return nil, fault.Inputf("%d weights for %d data files; give one weight per file, in the same order", len(weights), len(files))
	}
	sum := 0.0
	for i, w := range weights {
		if !(w >= 0 && w <= 1e12) {
			return nil, fault.Inputf("the weight of %s is %g; weights are relative shares, such as 0.7 and 0.3, and not negative", files[i], w)
		}
		sum += w
	}
	if sum == 0 {
		return nil, fault.Inputf("all %d weights are 0, so no file would be drawn from; make at least one positive", len(weights))
	}
	return &Mix{Files: slices.Clone(files), Weights: slices.Clone(weights)}, nil
}

// Walk goes over the items 0…n-1 of a data set without end: an *Order takes each once an epoch, a *Mixture takes them
// by their files' weights. Its cursor can be saved between any two draws. It is not safe for concurrent use.
type Walk interface {
	Next(k int) []int           // the next k items
	Len() int                   // draws in an epoch
	Epochs() float64            // epochs walked, as a fraction
	State() ([]byte, error)     // the cursor, as JSON
	Restore(saved []byte) error // sets a cursor that State gave for the same data, weights and seed
}

// NewWalk returns the walk over items of which rows[i] is item i's origin: a Mixture if the rows carry weights, an
// Order if they do not or are nil.
func NewWalk(rows []*Row, seed uint64, shuffle bool) (Walk, error) {
	if len(rows) == 0 || rows[0] == nil || rows[0].Mix == nil {
		return NewOrder(len(rows), seed, shuffle), nil
	}
	return newMixture(rows, seed, shuffle)
}

// Mixture draws from several files in fixed proportions. After any number of draws each file's share is within one
// draw of its weight: nothing is left to chance but the order inside a file, which is an Order of its own. An epoch is
// as many draws as the files with a weight have items together; a file smaller than its share is walked more than once in it.
type Mixture struct {
	mix    *Mix
	shares []float64 // of the draws, sum to 1
	drawn  []int     // draws so far
	total  int       // draws so far, of all files
	size   int       // draws in an epoch
	items  [][]int   // of each file
	orders []*Order  // over items; nil for weight 0
}

func newMixture(rows []*Row, seed uint64, shuffle bool) (*Mixture, error) {
	mix := rows[0].Mix
	n := len(mix.Files)
	m := &Mixture{mix: mix, shares: make([]float64, n), drawn: make([]int, n), items: make([][]int, n), orders: make([]*Order, n)}
	for i, row := range rows {
		m.items[row.Source] = append(m.items[row.Source], i)
	}
	sum := 0.0
	for _, w := range mix.Weights {
		sum += w
	}
	for i, w := range mix.Weights {
		if w == 0 {
			continue
		}
		if len(m.items[i]) == 0 {
			return nil, fault.Inputf("%s: none of its rows is left to draw from, and its weight is %g; give it weight 0, or rows that can be trained on", mix.Files[i], w)
		}
		m.shares[i], m.orders[i] = w/sum, NewOrder(len(m.items[i]), seed+uint64(i)<<32, shuffle)
		m.size += len(m.items[i])
	}
	return m, nil
}

// Next returns k items: each time from the file that lags furthest behind its share, the first among equals.
func (m *Mixture) Next(k int) []int {
	out := make([]int, k)
	for i := range out {
		source := m.lagging()
		m.drawn[source]++
		m.total++
		out[i] = m.items[source][m.orders[source].Next(1)[0]]
	}
	return out
}

func (m *Mixture) lagging() int {
	best, bestLag := -1, 0.0
	for i, share := range m.shares {
		lag := share*float64(m.total+1) - float64(m.drawn[i])
		if share > 0 && (best < 0 || lag > bestLag) {
			best, bestLag = i, lag
		}
	}
	return best
}

// Len is the number of draws in an epoch: the items of all files that have a weight.
func (m *Mixture) Len() int { return m.size }

// Epochs returns how many epochs have been drawn, as a fraction.
func (m *Mixture) Epochs() float64 { return float64(m.total) / float64(m.size) }

// String says of each file how many items it has, its weight, its share of the draws and how often an epoch walks it.
func (m *Mixture) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mixture of %d files, an epoch is %d draws:", len(m.shares), m.size)
	for i, share := range m.shares {
		fmt.Fprintf(&b, "\n  %s: weight %g, %d to draw from, %.4g%% of the draws", m.mix.Files[i], m.mix.Weights[i], len(m.items[i]), 100*share)
		if share > 0 {
			fmt.Fprintf(&b, ", walked %.3g times an epoch", share*float64(m.size)/float64(len(m.items[i])))
		}
		if m.total > 0 {
			fmt.Fprintf(&b, "; drawn %d of %d", m.drawn[i], m.total)
		}
	}
	return b.String()
}

// mixtureState is what is saved.
type mixtureState struct {
	Weights []float64         `json:"weights"`
	Drawn   []int             `json:"drawn"`
	Orders  []json.RawMessage `json:"orders"` // null for weight 0
}

// State returns the cursors of all files as JSON.
func (m *Mixture) State() ([]byte, error) {
	s := mixtureState{Weights: m.mix.Weights, Drawn: m.drawn, Orders: make([]json.RawMessage, len(m.orders))}
	for i, o := range m.orders {
		if o == nil {
			continue
		}
		raw, err := o.State()
		if err != nil {
			return nil, err
		}
		s.Orders[i] = raw
	}
	return json.Marshal(s)
}

// Restore sets all cursors to saved ones; files and weights must be those of the saved mixture.
func (m *Mixture) Restore(saved []byte) error {
	var s mixtureState
	if err := json.Unmarshal(saved, &s); err != nil {
		return fmt.Errorf("mixture: saved state: %w", err)
	}
	if !slices.Equal(s.Weights, m.mix.Weights) || len(s.Orders) != len(m.orders) || len(s.Drawn) != len(m.drawn) {
		return fmt.Errorf("mixture: saved with weights %v, now %v; resume with the same data and flags", s.Weights, m.mix.Weights)
	}
	total := 0
	for i, o := range m.orders {
		if o == nil {
			continue
		}
		if err := o.Restore(s.Orders[i]); err != nil {
			return fmt.Errorf("%s: %w", m.mix.Files[i], err)
		}
		total += s.Drawn[i]
	}
	m.drawn, m.total = s.Drawn, total
	return nil
}

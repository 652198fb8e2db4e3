// Weighted mixtures of data sets.
package data

import (
	"encoding/json"
	"fmt"
	"slices"

	"salsa/internal/fault"
)

// Ref names an item of a mixture.
type Ref struct{ Source, Index int }

// Mixture draws from several sources in fixed proportions. After any number of draws each source's share is
// within one draw of its weight: nothing is left to chance but the order inside a source.
type Mixture struct {
	weights []float64 // sum to 1
	drawn   []int
	orders  []*Order
}

// NewMixture returns a mixture over sources of the given sizes. Weights are relative and not negative; a source
// smaller than its share is walked more often.
func NewMixture(sizes []int, weights []float64, seed uint64, shuffle bool) (*Mixture, error) {
	if len(sizes) != len(weights) {
		return nil, fault.Inputf("a mixture of %d data sets has %d weights; give one weight each", len(sizes), len(weights))
	}
	sum := 0.0
	for i, w := range weights {
		if !(w >= 0) {
			return nil, fault.Inputf("mixture weight %d is %g; weights are not negative", i+1, w)
		}
		sum += w
	}
	if sum == 0 {
		return nil, fault.Inputf("all mixture weights are 0; make at least one positive")
	}
	m := &Mixture{drawn: make([]int, len(sizes))}
	for i, n := range sizes {
		m.weights = append(m.weights, weights[i]/sum)
		m.orders = append(m.orders, NewOrder(n, seed+uint64(i)<<32, shuffle))
	}
	return m, nil
}

// Next returns k items: each time from the source that lags furthest behind its share, the first among equals.
func (m *Mixture) Next(k int) []Ref {
	refs := make([]Ref, k)
	for i := range refs {
		source := m.lagging()
		m.drawn[source]++
		refs[i] = Ref{source, m.orders[source].Next(1)[0]}
	}
	return refs
}

func (m *Mixture) lagging() int {
	total := 1
	for _, n := range m.drawn {
		total += n
	}
	best, bestLag := -1, 0.0
	for i, w := range m.weights {
		lag := w*float64(total) - float64(m.drawn[i])
		if w > 0 && (best < 0 || lag > bestLag) {
			best, bestLag = i, lag
		}
	}
	return best
}

// Epochs returns how often each source has been walked.
func (m *Mixture) Epochs() []float64 {
	epochs := make([]float64, len(m.orders))
	for i, o := range m.orders {
		epochs[i] = o.Epochs()
	}
	return epochs
}

// mixtureState is what is saved.
type mixtureState struct {
	Weights []float64         `json:"weights"`
	Drawn   []int             `json:"drawn"`
	Orders  []json.RawMessage `json:"orders"`
}

// State returns the cursors of all sources as JSON.
func (m *Mixture) State() ([]byte, error) {
	s := mixtureState{Weights: m.weights, Drawn: m.drawn}
	for _, o := range m.orders {
		raw, err := o.State()
		if err != nil {
			return nil, err
		}
		s.Orders = append(s.Orders, raw)
	}
	return json.Marshal(s)
}

// Restore sets all cursors to saved ones; sources and weights must be those of the saved mixture.
func (m *Mixture) Restore(saved []byte) error {
	var s mixtureState
	if err := json.Unmarshal(saved, &s); err != nil {
		return fmt.Errorf("mixture: saved state: %w", err)
	}
	if !slices.Equal(s.Weights, m.weights) || len(s.Orders) != len(m.orders) || len(s.Drawn) != len(m.drawn) {
		return fmt.Errorf("mixture: saved with weights %v, now %v; resume with the same data and flags", s.Weights, m.weights)
	}
	for i, raw := range s.Orders {
		if err := m.orders[i].Restore(raw); err != nil {
			return fmt.Errorf("mixture source %d: %w", i+1, err)
		}
	}
	m.drawn = s.Drawn
	return nil
}

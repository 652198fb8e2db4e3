// The order in which examples are visited: a shuffle that depends only on seed and epoch, with a cursor that
// can be saved in the middle of an epoch. Weighted mixtures are in mixture.go.
package data

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"math/rand/v2"
)

// Order walks the indices 0…n-1 epoch after epoch. It is not safe for concurrent use.
type Order struct {
	state orderState
	perm  []int // of the current epoch
}

// orderState is all that is saved: the permutation is computed again from seed and epoch.
type orderState struct {
	N       int    `json:"n"`
	Seed    uint64 `json:"seed"`
	Shuffle bool   `json:"shuffle"`
	Epoch   int    `json:"epoch"`
	Pos     int    `json:"pos"` // indices of this epoch already handed out
}

// NewOrder returns an order over n ≥ 1 items, shuffled anew every epoch or as they come.
func NewOrder(n int, seed uint64, shuffle bool) *Order {
	if n < 1 {
		panic(fmt.Sprintf("data: NewOrder over %d items", n))
	}
	o := &Order{state: orderState{N: n, Seed: seed, Shuffle: shuffle}}
	o.perm = permutation(o.state)
	return o
}

// permutation is a Fisher–Yates shuffle driven by PCG(seed, epoch). It is written out, down to the bounded
// draw, so that no library's change of algorithm can alter a resumed run.
func permutation(s orderState) []int {
	perm := make([]int, s.N)
	for i := range perm {
		perm[i] = i
	}
	if !s.Shuffle {
		return perm
	}
	pcg := rand.NewPCG(s.Seed, uint64(s.Epoch))
	for i := s.N - 1; i > 0; i-- {
		j, _ := bits.Mul64(pcg.Uint64(), uint64(i+1)) // the bias, below n/2⁶⁴, does not matter
		perm[i], perm[j] = perm[j], perm[i]
	}
	return perm
}

// Next returns exactly k indices and goes on into the next epoch where this one ends.
func (o *Order) Next(k int) []int {
	out := make([]int, 0, k)
	for len(out) < k {
		out = append(out, o.NextInEpoch(k-len(out))...)
	}
	return out
}

// NextInEpoch returns up to k indices, fewer at the end of an epoch and never none: after the last index of an
// epoch it begins the next.
func (o *Order) NextInEpoch(k int) []int {
	o.roll()
	end := min(o.state.Pos+k, o.state.N)
	out := append([]int(nil), o.perm[o.state.Pos:end]...)
	o.state.Pos = end
	return out
}

// roll begins the next epoch if this one is used up.
func (o *Order) roll() {
	if o.state.Pos == o.state.N {
		o.state.Epoch, o.state.Pos = o.state.Epoch+1, 0
		o.perm = permutation(o.state)
	}
}

// Epochs returns how many epochs are complete, as a fraction: 1.5 in the middle of the second.
func (o *Order) Epochs() float64 {
	return float64(o.state.Epoch) + float64(o.state.Pos)/float64(o.state.N)
}

// Len is the number of items in an epoch.
func (o *Order) Len() int { return o.state.N }

// State returns the cursor as JSON.
func (o *Order) State() ([]byte, error) { return json.Marshal(o.state) }

// Restore sets the cursor to a saved one. Number of items, seed and shuffling must be those it was saved with:
// another data set under the same cursor would silently train on other rows.
func (o *Order) Restore(saved []byte) error {
	var s orderState
	if err := json.Unmarshal(saved, &s); err != nil {
		return fmt.Errorf("data order: saved state: %w", err)
	}
	if s.N != o.state.N || s.Seed != o.state.Seed || s.Shuffle != o.state.Shuffle {
		return fmt.Errorf("data order: saved over %d rows (seed %d, shuffle %t), now %d rows (seed %d, shuffle %t); resume with the same data and flags",
			s.N, s.Seed, s.Shuffle, o.state.N, o.state.Seed, o.state.Shuffle)
	}
	if s.Pos < 0 || s.Pos > s.N || s.Epoch < 0 {
		return fmt.Errorf("data order: saved cursor %d of %d in epoch %d is impossible; the state file is damaged", s.Pos, s.N, s.Epoch)
	}
	o.state = s
	o.perm = permutation(s)
	return nil
}

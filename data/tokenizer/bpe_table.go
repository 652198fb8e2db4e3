package tokenizer

// The two data structures of the merge loop: a hash table from pairs to merges and a heap of candidates.

import (
	"iter"
	"math/bits"
)

// mergeTable maps a pair of token ids to a merge: open addressing at half load, read-only after it is built.
type mergeTable struct {
	keys   []uint64 // left<<32 | right, plus 1 so that 0 is an empty slot
	values []merge
	shift  uint
}

func newMergeTable(n int) mergeTable {
	logSize := max(bits.Len(uint(2*n)), 1)
	return mergeTable{
		keys:   make([]uint64, 1<<logSize),
		values: make([]merge, 1<<logSize),
		shift:  uint(64 - logSize),
	}
}

// slot returns where the key is or would be.
func (t *mergeTable) slot(key uint64) int {
	mask := len(t.keys) - 1
	i := int((key * 0x9E3779B97F4A7C15) >> t.shift)
	for t.keys[i] != 0 && t.keys[i] != key {
		i = (i + 1) & mask
	}
	return i
}

// set enters a merge; a pair that is listed twice keeps the last.
func (t *mergeTable) set(left, right int32, m merge) {
	key := pairKey(left, right) + 1
	i := t.slot(key)
	t.keys[i], t.values[i] = key, m
}

// find returns the merge of a pair; its id is missing when there is none.
func (t *mergeTable) find(left, right int32) merge {
	i := t.slot(pairKey(left, right) + 1)
	if t.keys[i] == 0 {
		return merge{id: missing}
	}
	return t.values[i]
}

// all yields every pair (left<<32 | right) with its merge, in no particular order.
func (t *mergeTable) all() iter.Seq2[uint64, merge] {
	return func(yield func(uint64, merge) bool) {
		for i, key := range t.keys {
			if key != 0 && !yield(key-1, t.values[i]) {
				return
			}
		}
	}
}

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// candidate is a pair that can be joined: its rank and the place of its left symbol in one number that orders
// candidates, and the token it makes.
type candidate struct {
	order uint64 // rank<<32 | place
	id    int32
}

func newCandidate(m merge, pos int32) candidate {
	return candidate{uint64(uint32(m.rank))<<32 | uint64(uint32(pos)), m.id}
}

func (c candidate) pos() int32 { return int32(uint32(c.order)) }

func (c candidate) before(d candidate) bool { return c.order < d.order }

// mergeHeap is a binary heap, lowest rank and then leftmost on top. container/heap would box every candidate.
type mergeHeap []candidate

func (h mergeHeap) init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

func (h *mergeHeap) push(c candidate) {
	*h = append(*h, c)
	list := *h
	i := len(list) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !c.before(list[parent]) {
			break
		}
		list[i] = list[parent]
		i = parent
	}
	list[i] = c
}

func (h *mergeHeap) pop() candidate {
	list := *h
	top := list[0]
	n := len(list) - 1
	list[0] = list[n]
	*h = list[:n]
	(*h).down(0)
	return top
}

func (h mergeHeap) down(i int) {
	if i >= len(h) {
		return
	}
	c := h[i]
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(c) {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = c
}

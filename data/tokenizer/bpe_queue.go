package tokenizer

// The order in which candidates are joined: a heap for words and, for long pieces, one bucket per rank. Buckets need
// no comparisons, which matters for tokenizers whose tokens reach across spaces ("in▁the▁"): their whole text is one
// word. They work only when joining never makes a candidate of a rank at or below the one being joined.

import (
	"math/bits"
	"slices"
)

// minBucketed is the number of symbols from which buckets are faster.
const minBucketed = 128

// buckets holds candidates by rank. Between uses all buckets are empty.
type buckets struct {
	heads []int32  // per rank: its last candidate in items, missing when none
	used  []uint64 // per rank: a bit, set when the bucket is not empty
	items []bucketItem
	rank  int
	ready []int64 // candidates of rank: pos<<32 | id, ascending
	taken int     // how many of them are popped
}

type bucketItem struct{ pos, id, next int32 }

func (b *buckets) reset(ranks int) {
	if len(b.heads) != ranks {
		b.heads = make([]int32, ranks)
		for i := range b.heads {
			b.heads[i] = missing
		}
		b.used = make([]uint64, (ranks+63)/64)
	}
	b.items, b.ready, b.taken, b.rank = b.items[:0], b.ready[:0], 0, 0
}

func (b *buckets) push(c candidate) {
	rank := int32(c.order >> 32)
	b.items = append(b.items, bucketItem{c.pos(), c.id, b.heads[rank]})
	b.heads[rank] = int32(len(b.items) - 1)
	b.used[rank>>6] |= 1 << (rank & 63)
}

// pop returns the candidate of the lowest rank, leftmost first.
func (b *buckets) pop() (candidate, bool) {
	if b.taken == len(b.ready) && !b.open() {
		return candidate{}, false
	}
	next := b.ready[b.taken]
	b.taken++
	return candidate{uint64(b.rank)<<32 | uint64(next>>32), int32(next)}, true
}

// open moves the next bucket to ready.
func (b *buckets) open() bool {
	word := b.rank >> 6
	for word < len(b.used) && b.used[word] == 0 {
		word++
	}
	if word == len(b.used) {
		return false
	}
	b.rank = word<<6 | bits.TrailingZeros64(b.used[word])
	b.used[word] &= b.used[word] - 1
	b.ready, b.taken = b.ready[:0], 0
	for i := b.heads[b.rank]; i != missing; i = b.items[i].next {
		b.ready = append(b.ready, int64(b.items[i].pos)<<32|int64(b.items[i].id))
	}
	b.heads[b.rank] = missing
	if !slices.IsSorted(b.ready) {
		slices.Sort(b.ready)
	}
	return true
}

// findOrder sets ranks when every merge has a higher rank than those that make its parts.
func (m *model) findOrder() {
	made := make([]int32, len(m.tokens))
	highest := int32(0)
	for _, mg := range m.merges.all() {
		made[mg.id] = max(made[mg.id], mg.rank+1)
		highest = max(highest, mg.rank)
	}
	for key, mg := range m.merges.all() {
		if mg.rank < made[key>>32] || mg.rank < made[uint32(key)] {
			return
		}
	}
	m.ranks = int(highest) + 1
}

// enqueue and dequeue hide which of the two orders a word uses.
func (w *worker) enqueue(c candidate) {
	if w.bucketed {
		w.buckets.push(c)
		return
	}
	w.heap.push(c)
}

func (w *worker) dequeue() (candidate, bool) {
	if w.bucketed {
		return w.buckets.pop()
	}
	if len(w.heap) == 0 {
		return candidate{}, false
	}
	return w.heap.pop(), true
}

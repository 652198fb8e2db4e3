package tokenizer

// Text that comes uncut, because merges cross its spaces ("in▁the▁"): tokens are chosen from left to right instead of
// joining characters.
//
// What merges do on both sides of a place that none of them crosses is independent, so the tokens of a text are the one
// sequence over it in which every two neighbours come out of their own joined text as they are (the locality behind
// Berglund & van der Merwe, arXiv 2309.08715). The walk takes the longest token that the text goes on with and that
// stands by its left neighbour, and steps back where there is none. A place that was left so is never tried again: the
// tokens up to it are those of a text that ends there, hence the same on every way. Time is linear in the text.

import (
	"math"
	"slices"
	"unicode/utf8"
)

// walk is what a model with uncut text has beside its merges.
type walk struct {
	spelled spellings
	tokens  []origin // by id
	met     []uint64 // a filter: the bit of every pair that merges, told by a hash
	shift   uint
}

// origin is how a token comes out of its own text: its last merge, whose rank is missing for a character.
type origin struct {
	rank, left, right int32
	size              int32 // bytes
	shorter           int32 // the longest token that this one begins with, or missing
}

// findWalk prepares a walk where it is needed and exact: text is not cut at spaces, a merge never makes a candidate of
// a rank below its own, and what becomes of characters outside the vocabulary takes part in none.
func (m *model) findWalk() {
	across := false // some merge puts a mark behind another character
	for c := range m.glued {
		across = across || string(c) != m.mark
	}
	if !across || m.ranks == 0 || m.mergesBytes() {
		return
	}
	k := &walk{tokens: make([]origin, len(m.tokens))}
	w := newWorker()
	var usable []int32
	for id, tok := range m.tokens {
		if !m.present[id] || !m.knows(tok) {
			continue
		}
		from, ok := m.originOf(w, int32(id))
		if k.tokens[id] = from; ok {
			usable = append(usable, int32(id))
		}
	}
	k.spelled = newSpellings(m.tokens, usable)
	for _, id := range usable {
		tok := m.tokens[id]
		k.tokens[id].shorter = k.spelled.longest(tok[:len(tok)-1])
	}
	k.filter(&m.merges)
	m.walk = k
}

// mergesBytes reports whether a byte token or the unknown token is part of a merge.
func (m *model) mergesBytes() bool {
	special := map[int32]bool{m.unk: true}
	for _, id := range m.bytes {
		special[id] = true
	}
	delete(special, missing)
	for key := range m.merges.all() {
		if special[int32(key>>32)] || special[int32(uint32(key))] {
			return true
		}
	}
	return false
}

// knows reports whether every character of a token is in the vocabulary.
func (m *model) knows(tok string) bool {
	for i := 0; i < len(tok); {
		_, n := utf8.DecodeRuneInString(tok[i:])
		if _, ok := m.ids[tok[i:i+n]]; !ok {
			return false
		}
		i += n
	}
	return tok != ""
}

// originOf joins the characters of a token. It returns false if they do not become the token.
func (m *model) originOf(w *worker, id int32) (origin, bool) {
	w.symbols = w.symbols[:0]
	m.chars(w, m.tokens[id])
	list := w.symbols
	last := origin{rank: missing, size: int32(len(m.tokens[id]))}
	for len(list) > 1 {
		best, at := merge{rank: math.MaxInt32, id: missing}, 0
		for i := range len(list) - 1 {
			if mg := m.merges.find(list[i].id, list[i+1].id); mg.id != missing && mg.rank < best.rank {
				best, at = mg, i
			}
		}
		if best.id == missing {
			return last, false
		}
		last.rank, last.left, last.right = best.rank, list[at].id, list[at+1].id
		list[at].id = best.id
		list = slices.Delete(list, at+1, at+2)
	}
	return last, list[0].id == id
}

// filter fills met, 16 bits or more for each merge.
func (k *walk) filter(merges *mergeTable) {
	k.met, k.shift = make([]uint64, max(1, len(merges.keys)/8)), merges.shift-3
	for key := range merges.all() {
		bit := k.bit(key)
		k.met[bit>>6] |= 1 << (bit & 63)
	}
}

func (k *walk) bit(key uint64) uint64 { return (key * 0x9E3779B97F4A7C15) >> k.shift }

// walkAll appends the tokens of text: known characters by the walk, the runs between them by the merge loop.
func (m *model) walkAll(w *worker, dst []token, text string) []token {
	for text != "" {
		var n int
		if dst, n = m.walkKnown(w, dst, text); n == 0 {
			n = m.unknownRun(text)
			dst = m.merge(w, dst, text[:n])
		}
		text = text[n:]
	}
	return dst
}

// unknownRun returns the length of the characters outside the vocabulary at the start of text.
func (m *model) unknownRun(text string) int {
	for i := 0; i < len(text); {
		_, n := utf8.DecodeRuneInString(text[i:])
		if _, ok := m.ids[text[i:i+n]]; ok {
			return i
		}
		i += n
	}
	return len(text)
}

// walkKnown appends the tokens of the characters at the start of text that are in the vocabulary, and returns how many
// bytes they have.
func (m *model) walkKnown(w *worker, dst []token, text string) ([]token, int) {
	k, base := m.walk, len(dst)
	w.dead = slices.Grow(w.dead[:0], len(text)/64+1)[:len(text)/64+1]
	clear(w.dead)
	at, last := 0, int32(missing)
	next := k.spelled.longest(text)
	for next != missing {
		from := &k.tokens[next]
		if end := at + int(from.size); w.dead[end>>6]&(1<<(end&63)) == 0 && k.stand(&m.merges, last, next) {
			dst = append(dst, token{next, from.size})
			at, last = end, next
			next = k.spelled.longest(text[at:])
			continue
		}
		for next = from.shorter; next == missing; next = k.tokens[next].shorter {
			w.dead[at>>6] |= 1 << (at & 63)
			n := len(dst) - 1 // never below base: the tokens of text are among the ways
			at, next = at-int(dst[n].size), dst[n].id
			dst = dst[:n]
		}
		last = missing
		if len(dst) > base {
			last = dst[len(dst)-1].id
		}
	}
	return dst, at
}

// stand reports whether two tokens, or one at the start of a text if left is missing, come out of their joined text. It
// goes back through the merges that made them, the last one first, and looks whether the two that met at the border
// then would have been joined before either grew: at a lower rank, or at the same one and further left.
func (k *walk) stand(merges *mergeTable, left, right int32) bool {
	if left == missing {
		return true
	}
	until, untilRight := int32(math.MaxInt32), int32(math.MaxInt32) // ranks at which left and right grew
	for {
		if bit := k.bit(pairKey(left, right)); k.met[bit>>6]&(1<<(bit&63)) != 0 {
			mg := merges.find(left, right)
			if mg.id != missing && mg.rank < until && mg.rank <= untilRight {
				return false
			}
		}
		l, r := &k.tokens[left], &k.tokens[right]
		switch {
		case l.rank > r.rank:
			until, left = l.rank, l.right
		case r.rank != missing:
			untilRight, right = r.rank, r.left
		default:
			return true // two characters
		}
	}
}

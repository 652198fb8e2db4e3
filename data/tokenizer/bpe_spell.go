package tokenizer

// The longest token that a text begins with.

import (
	"slices"
	"strings"
)

// spellings is a trie as a double array (Aoe 1989): the child of a node by a byte lies at the node's base plus the
// byte, if that place names the base. Tokens of tens of thousands of nodes stay small enough for the processor's cache.
type spellings []spelling

type spelling struct {
	parent int32 // the base that the place belongs to; missing when it is free
	base   int32 // 0 when there are no children
	token  int32 // the token spelled up to here, or missing
}

const (
	rootBase = 1
	markByte = 0xFF // stands for ▁, one step in place of three; no UTF-8 has it
)

// newSpellings takes the tokens of the named ids, which differ from one another and are not empty.
func newSpellings(tokens []string, ids []int32) spellings {
	list := make([]spelled, len(ids))
	for i, id := range ids {
		list[i] = spelled{strings.ReplaceAll(tokens[id], "▁", string([]byte{markByte})), id}
	}
	slices.SortFunc(list, func(a, b spelled) int { return strings.Compare(a.text, b.text) })
	b := &speller{taken: map[int32]bool{0: true}, low: rootBase}
	b.place(list, 0)
	return b.slots
}

type spelled struct {
	text string
	id   int32
}

// speller builds spellings.
type speller struct {
	slots spellings
	taken map[int32]bool // bases
	low   int32          // no place below it is free, or worth a try
}

// place enters the children of the node that the texts of list, sorted, share the first depth bytes of, all of them
// longer, and returns its base.
func (b *speller) place(list []spelled, depth int) int32 {
	if len(list) == 0 {
		return 0
	}
	var codes []byte
	var from []int // by child: where its texts begin in list
	for i, s := range list {
		if n := len(codes); n == 0 || codes[n-1] != s.text[depth] {
			codes, from = append(codes, s.text[depth]), append(from, i)
		}
	}
	base := b.room(codes)
	for _, c := range codes {
		b.slots[base+int32(c)].parent = base
	}
	for i, c := range codes {
		texts := list[from[i]:]
		if i+1 < len(from) {
			texts = list[from[i]:from[i+1]]
		}
		at := base + int32(c)
		if len(texts[0].text) == depth+1 {
			b.slots[at].token, texts = texts[0].id, texts[1:]
		}
		child := b.place(texts, depth+1)
		b.slots[at].base = child // after place, which may move slots
	}
	return base
}

// room finds a base whose places for all codes are free, and takes it.
func (b *speller) room(codes []byte) int32 {
	for int(b.low) < len(b.slots) && b.slots[b.low].parent != missing {
		b.low++
	}
	const patience = 1 << 10
	start := max(rootBase, b.low-int32(codes[0]))
	base := start
	for ; !b.fits(base, codes); base++ {
		if base-start == patience {
			b.low += patience / 4 // crowded here
		}
	}
	b.taken[base] = true
	return base
}

func (b *speller) fits(base int32, codes []byte) bool {
	for int(base)+256 > len(b.slots) {
		b.slots = append(b.slots, spelling{missing, 0, missing})
	}
	return !b.taken[base] && !slices.ContainsFunc(codes, func(c byte) bool { return b.slots[base+int32(c)].parent != missing })
}

// longest returns the longest token that text begins with, or missing.
func (s spellings) longest(text string) int32 {
	found, base := int32(missing), int32(rootBase)
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == 0xE2 && i+2 < len(text) && text[i+1] == 0x96 && text[i+2] == 0x81 {
			c = markByte
			i += 2
		}
		at := int(base) + int(c)
		if at >= len(s) || s[at].parent != base {
			break
		}
		if s[at].token != missing {
			found = s[at].token
		}
		base = s[at].base
	}
	return found
}

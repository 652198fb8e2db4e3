package tokenizer

// Code-point classes. Hugging Face's tokenizers matches with Oniguruma's Unicode 16 tables while Go's unicode package
// follows the Go release, so the classes are embedded, asked of the library itself (testdata/make_classes.py), and a
// set of them is compiled to bitmaps: one load per code point below U+10000.

import (
	_ "embed"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

//go:embed classes.txt
var classText string

// runeRange is an inclusive range of code points.
type runeRange struct{ first, last rune }

// classes maps a class name of classes.txt to its ranges, ascending.
var classes = sync.OnceValue(func() map[string][]runeRange {
	table := make(map[string][]runeRange)
	for line := range strings.Lines(classText) {
		fields := strings.Fields(line)
		ranges := make([]runeRange, 0, len(fields)-1)
		for _, field := range fields[1:] {
			ranges = append(ranges, parseRange(field))
		}
		table[fields[0]] = ranges
	}
	return table
})

func parseRange(field string) runeRange {
	first, last, isRange := strings.Cut(field, "-")
	if !isRange {
		last = first
	}
	return runeRange{parseHex(first), parseHex(last)}
}

func parseHex(s string) rune {
	v, err := strconv.ParseInt(s, 16, 32)
	if err != nil {
		panic(fmt.Sprintf("tokenizer: embedded classes.txt is damaged: %v", err))
	}
	return rune(v)
}

// category returns the ranges of a Unicode general category ("L", "Lu") and whether there is one of that name.
func category(name string) ([]runeRange, bool) {
	if ranges, ok := classes()[name]; ok && len(name) == 2 {
		return ranges, true
	}
	if len(name) != 1 || !strings.Contains("LMNPSCZ", name) {
		return nil, false
	}
	var all []runeRange
	for _, sub := range [...]string{"u", "l", "t", "m", "o", "n", "c", "e", "d", "s", "i", "f", "k", "p"} {
		all = append(all, classes()[name+sub]...)
	}
	return normalizeRanges(all), true
}

// normalizeRanges sorts ranges and joins those that touch.
func normalizeRanges(ranges []runeRange) []runeRange {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b runeRange) int { return int(a.first - b.first) })
	out := sorted[:0]
	for _, r := range sorted {
		if n := len(out); n > 0 && r.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, r.last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// complement returns the code points that are in none of the (normalized) ranges.
func complement(ranges []runeRange) []runeRange {
	var out []runeRange
	next := rune(0)
	for _, r := range ranges {
		if r.first > next {
			out = append(out, runeRange{next, r.first - 1})
		}
		next = r.last + 1
	}
	if next <= utf8.MaxRune {
		out = append(out, runeRange{next, utf8.MaxRune})
	}
	return out
}

// charSet answers membership of a code point: a bitmap for the basic plane, ranges above it.
type charSet struct {
	low  [0x10000 / 64]uint64
	high []runeRange
}

func newCharSet(ranges []runeRange) *charSet {
	s := &charSet{}
	for _, r := range normalizeRanges(ranges) {
		for c := r.first; c <= min(r.last, 0xFFFF); c++ {
			s.low[c>>6] |= 1 << (c & 63)
		}
		if r.last > 0xFFFF {
			s.high = append(s.high, runeRange{max(r.first, 0x10000), r.last})
		}
	}
	return s
}

// classSets holds the sets of classes.txt that were asked for, by name.
var classSets sync.Map

// classSet returns the set of a class of classes.txt.
func classSet(name string) *charSet {
	if set, ok := classSets.Load(name); ok {
		return set.(*charSet)
	}
	set, _ := classSets.LoadOrStore(name, newCharSet(classes()[name]))
	return set.(*charSet)
}

func (s *charSet) has(c rune) bool {
	if uint32(c) < 0x10000 {
		return s.low[c>>6]&(1<<(c&63)) != 0
	}
	i := sort.Search(len(s.high), func(i int) bool { return s.high[i].last >= c })
	return i < len(s.high) && s.high[i].first <= c
}

// firstBytes marks the bytes that can open the UTF-8 form of a member; all bytes from 0x80 on count when any
// non-ASCII code point is a member.
func (s *charSet) firstBytes(mark *[256]bool) {
	for c := range rune(utf8.RuneSelf) {
		if s.has(c) {
			mark[c] = true
		}
	}
	wide := len(s.high) > 0 || slices.ContainsFunc(s.low[2:], func(w uint64) bool { return w != 0 })
	for b := utf8.RuneSelf; wide && b < 256; b++ {
		mark[b] = true
	}
}

package tokenizer

// Unicode normal forms as Hugging Face's library computes them: with the tables of Unicode 9 and without a limit on
// runs of combining marks (golang.org/x/text/unicode/norm follows newer tables and breaks runs of more than 30).
// The decompositions come from x/text, whose values never change for a code point once assigned; classes.txt says
// which code points take part.

import (
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"
)

// Constants of the Hangul arithmetic, Unicode 3.12.
const (
	hangulS, hangulL, hangulV, hangulT = 0xAC00, 0x1100, 0x1161, 0x11A7
	countL, countV, countT             = 19, 21, 28
	countS                             = countL * countV * countT
)

// formTables holds what the normal forms need to know.
type formTables struct {
	combining  *charSet
	decomposes *charSet
	active     map[unicodeForm]*charSet // code points that the form may change
	compose    map[[2]rune]rune
}

var forms = sync.OnceValue(func() *formTables {
	f := &formTables{combining: classSet("combining"), decomposes: classSet("decomposes"), compose: map[[2]rune]rune{}}
	// A text is unchanged by a form when it has no combining mark, no second half of a composition and no code point
	// that the form changes when it stands alone.
	always := slices.Concat(classes()["combining"],
		[]runeRange{{hangulV, hangulV + countV - 1}, {hangulT, hangulT + countT - 1}})
	for _, r := range classes()["decomposes"] {
		for c := r.first; c <= r.last; c++ {
			if second, ok := f.addComposite(c); ok {
				always = append(always, runeRange{second, second})
			}
		}
	}
	f.active = make(map[unicodeForm]*charSet)
	for form, library := range libraryForms {
		f.active[form] = newCharSet(slices.Concat(always, changedBy(library)))
	}
	return f
})

// addComposite records c as the composition of two code points, if it is one, and returns the second of them.
func (f *formTables) addComposite(c rune) (second rune, ok bool) {
	whole := string(c)
	parts := []rune(norm.NFD.String(whole))
	if len(parts) < 2 || norm.NFC.String(whole) != whole || isHangul(c) {
		return 0, false
	}
	last := parts[len(parts)-1]
	head := []rune(norm.NFC.String(string(parts[:len(parts)-1])))
	if len(head) != 1 {
		return 0, false
	}
	f.compose[[2]rune{head[0], last}] = c
	return last, true
}

// changedBy returns the code points of Unicode 9 that a form changes when they stand alone.
func changedBy(form norm.Form) []runeRange {
	var changed []runeRange
	for _, r := range classes()["decomposes"] {
		for c := r.first; c <= r.last; c++ {
			if form.String(string(c)) != string(c) {
				changed = append(changed, runeRange{c, c})
			}
		}
	}
	return changed
}

func isHangul(c rune) bool { return c >= hangulS && c < hangulS+countS }

// unicodeForm is NFC, NFD, NFKC or NFKD.
type unicodeForm struct{ compatible, composed bool }

var libraryForms = map[unicodeForm]norm.Form{
	{false, true}:  norm.NFC,
	{false, false}: norm.NFD,
	{true, true}:   norm.NFKC,
	{true, false}:  norm.NFKD,
}

func (n unicodeForm) normalize(p *piece, track bool) {
	tables := forms()
	active := tables.active[n]
	if strings.IndexFunc(p.text, active.has) < 0 {
		return
	}
	changes := tables.decompose(p.text, n.compatible)
	if n.composed {
		changes = tables.recompose(changes)
	}
	p.rewrite(changes, track)
}

// class returns the canonical combining class of c in Unicode 9.
func (f *formTables) class(c rune) uint8 {
	if !f.combining.has(c) {
		return 0
	}
	return norm.NFD.PropertiesString(string(c)).CCC()
}

// decompose returns the canonical (or compatible) decomposition of text in canonical order.
func (f *formTables) decompose(text string, compatible bool) []change {
	changes := make([]change, 0, len(text))
	for _, c := range text {
		if !f.decomposes.has(c) && !isHangul(c) {
			changes = append(changes, change{c, 0})
			continue
		}
		form := norm.NFD
		if compatible {
			form = norm.NFKD
		}
		delta := 0
		for _, part := range form.String(string(c)) {
			changes = append(changes, change{part, delta})
			delta = 1
		}
	}
	for i := 0; i < len(changes); {
		j := i
		for j < len(changes) && f.class(changes[j].c) != 0 {
			j++
		}
		if j-i > 1 {
			slices.SortStableFunc(changes[i:j], func(a, b change) int { return int(f.class(a.c)) - int(f.class(b.c)) })
		}
		i = j + 1
	}
	return changes
}

// recompose joins what a decomposition took apart (the composition algorithm of Unicode 3.11). A joined code point
// swallows those it was made of: its delta is the sum of theirs less one for each join.
func (f *formTables) recompose(changes []change) []change {
	out := changes[:0]
	starter := -1         // index in out of the last code point of class 0
	lastClass := uint8(0) // class of the last code point after it, 0 when none
	for _, ch := range changes {
		class := f.class(ch.c)
		if starter >= 0 && (len(out)-1 == starter || lastClass < class) {
			if joined, ok := f.join(out[starter].c, ch.c); ok {
				out[starter] = change{joined, out[starter].delta + ch.delta - 1}
				continue
			}
		}
		if class == 0 {
			starter = len(out)
		}
		lastClass = class
		out = append(out, ch)
	}
	return out
}

// join returns the primary composite of a and b.
func (f *formTables) join(a, b rune) (rune, bool) {
	if a >= hangulL && a < hangulL+countL && b >= hangulV && b < hangulV+countV {
		return hangulS + ((a-hangulL)*countV+(b-hangulV))*countT, true
	}
	if isHangul(a) && (a-hangulS)%countT == 0 && b > hangulT && b < hangulT+countT {
		return a + b - hangulT, true
	}
	c, ok := f.compose[[2]rune{a, b}]
	return c, ok
}

package tokenizer

// A piece is a run of text on its way from the input to the model. Its text changes (normalizers, byte-level
// alphabet) while align remembers which bytes of the input each byte stems from, so that tokens get offsets.

import (
	"strings"
	"unicode/utf8"
)

// span is a half-open range of bytes.
type span struct{ start, end int }

// piece is one run of text. A piece with id >= 0 is an added token and passes every later step unchanged.
type piece struct {
	text  string
	align []span // one per byte of text; nil: text is the input from base on, or offsets are not asked for
	base  int    // where the piece begins in the input, in bytes
	id    int
}

const notAdded = -1

// slice returns the part [i, j) of a piece, i < j.
func (p *piece) slice(i, j int) piece {
	if p.align == nil {
		return piece{text: p.text[i:j], base: p.base + i, id: notAdded}
	}
	return piece{text: p.text[i:j], align: p.align[i:j], base: p.align[i].start, id: notAdded}
}

// origin returns the input bytes behind text[i:j].
func (p *piece) origin(i, j int) span {
	if i >= j {
		return span{p.base + i, p.base + j}
	}
	if p.align != nil {
		return span{p.align[i].start, p.align[j-1].end}
	}
	// Unchanged text: a byte stems from its whole code point.
	for i > 0 && !utf8.RuneStart(p.text[i]) {
		i--
	}
	for j < len(p.text) && !utf8.RuneStart(p.text[j]) {
		j++
	}
	return span{p.base + i, p.base + j}
}

// aligned fills align for a piece that is still unchanged input.
func (p *piece) aligned() {
	if p.align != nil {
		return
	}
	p.align = make([]span, len(p.text))
	for i, c := range p.text {
		size := utf8.RuneLen(c)
		for k := range size {
			p.align[i+k] = span{p.base + i, p.base + i + size}
		}
	}
}

// prepend puts prefix before a non-empty piece; its bytes stem from the first code point.
func (p *piece) prepend(prefix string, track bool) {
	if track {
		p.aligned()
		align := make([]span, 0, len(prefix)+len(p.text))
		for range len(prefix) {
			align = append(align, p.align[0])
		}
		p.align = append(align, p.align...)
	}
	p.text = prefix + p.text
}

// replace puts content in place of each of the given spans of the text, ascending.
func (p *piece) replace(matches []span, content string, track bool) {
	if len(matches) == 0 {
		return
	}
	var text strings.Builder
	text.Grow(len(p.text) + len(matches)*len(content))
	var align []span
	if track {
		p.aligned()
		align = make([]span, 0, len(p.text)+len(matches)*len(content))
	}
	last := 0
	for _, m := range matches {
		text.WriteString(p.text[last:m.start])
		text.WriteString(content)
		if track {
			align = append(align, p.align[last:m.start]...)
			// New text stems from the last byte it replaces, or from the byte before an empty match.
			source := span{p.base, p.base}
			if m.end > 0 {
				source = p.align[m.end-1]
			}
			for range len(content) {
				align = append(align, source)
			}
		}
		last = m.end
	}
	text.WriteString(p.text[last:])
	p.text = text.String()
	if track {
		p.align = append(align, p.align[last:]...)
	}
}

// replaceAll is replace for every occurrence of a non-empty string.
func (p *piece) replaceAll(old, content string, track bool) {
	if !track {
		p.text = strings.ReplaceAll(p.text, old, content)
		return
	}
	var matches []span
	for at := 0; ; {
		i := strings.Index(p.text[at:], old)
		if i < 0 {
			break
		}
		matches = append(matches, span{at + i, at + i + len(old)})
		at += i + len(old)
	}
	p.replace(matches, content, track)
}

// change is one code point of a rewritten text and how it relates to the old one: 0 replaces the next old code
// point, 1 is inserted behind the previous one, and -n replaces the next and swallows n more.
type change struct {
	c     rune
	delta int
}

// rewrite replaces the whole text of a piece.
func (p *piece) rewrite(changes []change, track bool) {
	var text strings.Builder
	text.Grow(len(p.text))
	for _, ch := range changes {
		text.WriteRune(ch.c)
	}
	if track {
		p.aligned()
		p.align = p.realign(changes, text.Len())
	}
	p.text = text.String()
}

func (p *piece) realign(changes []change, size int) []span {
	align := make([]span, 0, size)
	old := 0 // bytes of the old text used up
	for _, ch := range changes {
		source := span{p.base, p.base}
		switch {
		case ch.delta <= 0 && old < len(p.align):
			source = p.align[old]
		case old > 0:
			source = p.align[old-1]
		}
		for k := ch.delta; k <= 0 && old < len(p.text); k++ {
			_, n := utf8.DecodeRuneInString(p.text[old:])
			old += n
		}
		for range utf8.RuneLen(ch.c) {
			align = append(align, source)
		}
	}
	return align
}

// validUTF8 replaces every maximal ill-formed part by one U+FFFD (Unicode 16, section 3.9), as Python and Rust do;
// strings.ToValidUTF8 would join neighbouring parts.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var out strings.Builder
	for len(s) > 0 {
		n := illFormed(s)
		if n > 0 {
			out.WriteRune(utf8.RuneError)
			s = s[n:]
			continue
		}
		_, size := utf8.DecodeRuneInString(s)
		out.WriteString(s[:size])
		s = s[size:]
	}
	return out.String()
}

// illFormed returns the length of the maximal ill-formed part at the start of s, 0 when a code point stands there.
func illFormed(s string) int {
	if c, size := utf8.DecodeRuneInString(s); c != utf8.RuneError || size > 1 {
		return 0
	}
	need, low, high := leadByte(s[0])
	n := 1
	for n < len(s) && n <= need && s[n] >= low && s[n] <= high {
		n++
		low, high = 0x80, 0xBF
	}
	return n
}

// leadByte returns how many bytes must follow b and the range of the first of them.
func leadByte(b byte) (need int, low, high byte) {
	switch {
	case b >= 0xC2 && b <= 0xDF:
		return 1, 0x80, 0xBF
	case b == 0xE0:
		return 2, 0xA0, 0xBF
	case b == 0xED:
		return 2, 0x80, 0x9F
	case b >= 0xE1 && b <= 0xEF:
		return 2, 0x80, 0xBF
	case b == 0xF0:
		return 3, 0x90, 0xBF
	case b >= 0xF1 && b <= 0xF3:
		return 3, 0x80, 0xBF
	case b == 0xF4:
		return 3, 0x80, 0x8F
	}
	return 0, 1, 0 // no byte can follow
}

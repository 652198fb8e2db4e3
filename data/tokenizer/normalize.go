package tokenizer

// Normalizers: what tokenizer.json does to the text between added tokens before it is cut into words.

import (
	"unicode"
	"unicode/utf8"
)

// normalizer changes the text of a non-empty piece; with track it keeps the alignment to the input.
type normalizer interface {
	normalize(p *piece, track bool)
}

type normalizers []normalizer

func (list normalizers) normalize(p *piece, track bool) {
	for _, n := range list {
		n.normalize(p, track)
	}
}

// prepender puts a string before every non-empty piece.
type prepender struct{ prefix string }

func (n prepender) normalize(p *piece, track bool) {
	if p.text != "" {
		p.prepend(n.prefix, track)
	}
}

// stringReplacer replaces every occurrence of a string.
type stringReplacer struct{ old, content string }

func (n stringReplacer) normalize(p *piece, track bool) { p.replaceAll(n.old, n.content, track) }

// patternReplacer replaces every match of a pattern.
type patternReplacer struct {
	pattern *pattern
	content string
}

func (n patternReplacer) normalize(p *piece, track bool) {
	var matches []span
	n.pattern.each(&matcher{}, p.text, func(start, end int) { matches = append(matches, span{start, end}) })
	p.replace(matches, n.content, track)
}

// stripper removes white space at the ends.
type stripper struct {
	left, right bool
	space       *charSet
}

func (n stripper) normalize(p *piece, track bool) {
	start, end := 0, len(p.text)
	for n.left && start < end {
		c, size := utf8.DecodeRuneInString(p.text[start:])
		if !n.space.has(c) {
			break
		}
		start += size
	}
	for n.right && end > start {
		c, size := utf8.DecodeLastRuneInString(p.text[:end])
		if !n.space.has(c) {
			break
		}
		end -= size
	}
	if start == 0 && end == len(p.text) {
		return
	}
	if track {
		p.aligned()
		p.align = p.align[start:end]
	}
	p.text = p.text[start:end]
}

// lowercaser writes letters in lower case, one by one (so no final sigma).
type lowercaser struct{ newer map[rune]rune }

// newLowercaser adds the letters that are newer than Go's tables.
func newLowercaser() lowercaser {
	n := lowercaser{make(map[rune]rune)}
	for _, pair := range classes()["lowercase"] {
		n.newer[pair.first] = pair.last
	}
	return n
}

func (n lowercaser) normalize(p *piece, track bool) {
	changes := make([]change, 0, len(p.text))
	for _, c := range p.text {
		lower, ok := n.newer[c]
		if !ok {
			lower = unicode.ToLower(c)
		}
		changes = append(changes, change{lower, 0})
		if c == 'İ' {
			changes = append(changes, change{'\u0307', 1}) // the one letter whose lower case is two
		}
	}
	p.rewrite(changes, track)
}

// byteAlphabet writes every byte as the printable character that GPT-2's alphabet gives it.
type byteAlphabet struct{}

func (byteAlphabet) normalize(p *piece, track bool) {
	if track {
		p.aligned()
		align := make([]span, 0, 2*len(p.text))
		for i := range len(p.text) {
			for range len(byteSymbols[p.text[i]]) {
				align = append(align, p.align[i])
			}
		}
		p.align = align
	}
	p.text = toByteAlphabet(p.text)
}

// byteSymbols maps a byte to its character in GPT-2's byte-level alphabet, symbolBytes back: printable Latin-1
// stands for itself, the rest are moved to U+0100 and up in order.
var byteSymbols, symbolBytes = func() (symbols [256]string, bytes map[rune]byte) {
	bytes = make(map[rune]byte, 256)
	moved := rune(0x100)
	for b := range 256 {
		c := rune(b)
		if !(c >= '!' && c <= '~' || c >= 0xA1 && c <= 0xAC || c >= 0xAE) {
			c = moved
			moved++
		}
		symbols[b] = string(c)
		bytes[c] = byte(b)
	}
	return symbols, bytes
}()

func toByteAlphabet(s string) string {
	out := make([]byte, 0, 2*len(s))
	for i := range len(s) {
		out = append(out, byteSymbols[s[i]]...)
	}
	return string(out)
}

// fromByteAlphabet returns the bytes that a byte-level token stands for, false when it holds another character.
func fromByteAlphabet(token string) (string, bool) {
	out := make([]byte, 0, len(token))
	for _, c := range token {
		b, ok := symbolBytes[c]
		if !ok {
			return token, false
		}
		out = append(out, b)
	}
	return string(out), true
}

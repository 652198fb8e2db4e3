package tokenizer

// Parsing of escapes and character classes.

import (
	"strconv"
	"strings"
)

func (p *patternParser) escapeAtom() (*node, error) {
	if p.accept(`\B`) {
		return &node{kind: nodeAnchor, anchor: 'b', negated: true}, nil
	}
	for _, anchor := range []byte("bAzZ") {
		if p.accept(`\` + string(anchor)) {
			return &node{kind: nodeAnchor, anchor: anchor}, nil
		}
	}
	ranges, single, err := p.escape()
	if err != nil {
		return nil, err
	}
	if single {
		return p.literal(ranges[0].first), nil
	}
	return &node{kind: nodeSet, set: newCharSet(ranges)}, nil
}

// shorthand holds the escapes that stand for a class of classes.txt, and controls those that stand for a character.
var (
	shorthand = map[byte]string{'s': "space", 'd': "Nd", 'w': "word"}
	controls  = map[byte]rune{'n': '\n', 'r': '\r', 't': '\t', 'f': '\f', 'v': '\v', 'a': '\a', 'e': 0x1B}
)

// escape reads a backslash sequence: a class, or a single code point (single).
func (p *patternParser) escape() (ranges []runeRange, single bool, err error) {
	p.pos++ // the backslash
	if !p.more() {
		return nil, false, p.errorf("pattern ends in a backslash")
	}
	letter := p.src[p.pos]
	if class, ok := shorthand[letter|0x20]; ok && letter < 0x80 {
		p.pos++
		ranges = classes()[class]
		if letter < 'a' {
			ranges = complement(ranges)
		}
		return ranges, false, nil
	}
	if c, ok := controls[letter]; ok {
		p.pos++
		return []runeRange{{c, c}}, true, nil
	}
	switch {
	case letter == 'p' || letter == 'P':
		p.pos++
		ranges, err = p.property(letter == 'P')
		return ranges, false, err
	case letter == 'x' || letter == 'u':
		p.pos++
		c, err := p.hexEscape(letter)
		return []runeRange{{c, c}}, true, err
	case letter >= '0' && letter <= '9', letter >= 'a' && letter <= 'z', letter >= 'A' && letter <= 'Z':
		return nil, false, p.errorf("escape \\%c is not supported", letter)
	}
	c := p.next()
	return []runeRange{{c, c}}, true, nil
}

// hexEscape reads the digits of \xHH, \x{H...} or \uHHHH.
func (p *patternParser) hexEscape(letter byte) (rune, error) {
	digits := ""
	switch {
	case letter == 'x' && p.accept("{"):
		end := strings.IndexByte(p.src[p.pos:], '}')
		if end < 0 {
			return 0, p.errorf("\\x{ without }")
		}
		digits = p.src[p.pos : p.pos+end]
		p.pos += end + 1
	default:
		n := 2
		if letter == 'u' {
			n = 4
		}
		if p.pos+n > len(p.src) {
			return 0, p.errorf("\\%c needs %d hexadecimal digits", letter, n)
		}
		digits = p.src[p.pos : p.pos+n]
		p.pos += n
	}
	v, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || v > 0x10FFFF || (letter == 'x' && len(digits) == 2 && v > 0x7F) {
		return 0, p.errorf("\\%c%s is not a code point", letter, digits)
	}
	return rune(v), nil
}

// property reads {Name} or {^Name} after \p, or the one-letter form.
func (p *patternParser) property(negated bool) ([]runeRange, error) {
	if !p.accept("{") {
		return nil, p.errorf("\\p without {name} is not supported")
	}
	end := strings.IndexByte(p.src[p.pos:], '}')
	if end < 0 {
		return nil, p.errorf("\\p{ without }")
	}
	name := p.src[p.pos : p.pos+end]
	if strings.HasPrefix(name, "^") {
		name, negated = name[1:], !negated
	}
	ranges, ok := category(name)
	if !ok {
		return nil, p.errorf("property \\p{%s} is not supported: only general categories are", name)
	}
	p.pos += end + 1
	if negated {
		ranges = complement(ranges)
	}
	return ranges, nil
}

// class reads a bracket expression after its "[".
func (p *patternParser) class() ([]runeRange, error) {
	negated := p.accept("^")
	var ranges []runeRange
	for first := true; ; first = false {
		if !p.more() {
			return nil, p.errorf("[ without ]")
		}
		if p.accept("]") {
			if first {
				return nil, p.errorf("empty class []")
			}
			break
		}
		item, err := p.classItem()
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, item...)
	}
	ranges = normalizeRanges(ranges)
	if negated {
		ranges = complement(ranges)
	}
	return ranges, nil
}

// classItem reads a member, a range a-z or an escape inside brackets.
func (p *patternParser) classItem() ([]runeRange, error) {
	low, single, err := p.classMember()
	if err != nil || !single {
		return low, err
	}
	rest := p.src[p.pos:]
	if !strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "-]") {
		return p.folded(low[0]), nil
	}
	p.pos++
	high, single, err := p.classMember()
	if err != nil {
		return nil, err
	}
	if !single || high[0].first < low[0].first {
		return nil, p.errorf("bad range in class")
	}
	return p.folded(runeRange{low[0].first, high[0].first}), nil
}

func (p *patternParser) classMember() (ranges []runeRange, single bool, err error) {
	switch {
	case !p.more():
		return nil, false, p.errorf("[ without ]")
	case p.accept(`\w`):
		return bracketWord(), false, nil
	case p.accept(`\W`):
		return complement(bracketWord()), false, nil
	case p.src[p.pos] == '\\':
		return p.escape()
	case p.src[p.pos] == '[':
		return nil, false, p.errorf("a class inside a class is not supported; write \\[ for the character")
	case strings.HasPrefix(p.src[p.pos:], "&&"):
		return nil, false, p.errorf("&& in a class is not supported")
	}
	c := p.next()
	return []runeRange{{c, c}}, true, nil
}

// bracketWord returns what \w means inside brackets: Oniguruma leaves out six digits of Latin-1 there, ²³¹¼½¾, that
// are word characters outside.
func bracketWord() []runeRange {
	outside := complement(classes()["word"])
	return complement(normalizeRanges(append(outside, runeRange{0xB2, 0xB3}, runeRange{0xB9, 0xB9}, runeRange{0xBC, 0xBE})))
}

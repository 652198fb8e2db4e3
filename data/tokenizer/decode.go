package tokenizer

// Decoders: from token strings back to text. A decoder is a chain of stages that take one token at a time, so that
// decoding a list and decoding a stream are the same code; a stage holds back what a later token could still change.

import (
	"strings"
	"unicode/utf8"
)

// stage is the state of one step of a decoder during one decoding.
type stage interface {
	push(c *chain, next int, tok string) // takes a token and feeds what is settled to stage next
	flush(c *chain, next int)            // feeds the rest
}

// decoder makes the stages of a decoding. fused tells it whether an earlier step joins all tokens to one text, which
// it then gets in parts; it returns whether the text is joined behind it.
type decoder interface {
	stages(dst []stage, fused bool) ([]stage, bool)
}

// chain is a decoding under way.
type chain struct {
	list []stage
	out  strings.Builder
}

func (c *chain) feed(i int, tok string) {
	if i == len(c.list) {
		c.out.WriteString(tok)
		return
	}
	c.list[i].push(c, i+1, tok)
}

func (c *chain) flush() {
	for i, s := range c.list {
		s.flush(c, i+1)
	}
}

// take returns the text that became settled since the last call.
func (c *chain) take() string {
	s := c.out.String()
	c.out.Reset()
	return s
}

type decoders []decoder

func (list decoders) stages(dst []stage, fused bool) ([]stage, bool) {
	for _, d := range list {
		dst, fused = d.stages(dst, fused)
	}
	return dst, fused
}

// spaceJoin is what Hugging Face does without a decoder: tokens separated by spaces.
type spaceJoin struct{}

func (spaceJoin) stages(dst []stage, fused bool) ([]stage, bool) {
	return append(dst, &joinStage{}), true
}

type joinStage struct{ begun bool }

func (s *joinStage) push(c *chain, next int, tok string) {
	if s.begun {
		c.feed(next, " ")
	}
	s.begun = true
	c.feed(next, tok)
}

func (*joinStage) flush(*chain, int) {}

// byteLevelDecoder turns GPT-2's alphabet back into bytes and those into text, with U+FFFD for every maximal
// ill-formed part. A token with a character outside the alphabet stands for its own bytes.
type byteLevelDecoder struct{}

func (byteLevelDecoder) stages(dst []stage, fused bool) ([]stage, bool) {
	if fused {
		dst = append(dst, &gatherStage{})
	}
	return append(dst, &byteStage{}), true
}

type byteStage struct{ pending []byte }

func (s *byteStage) push(c *chain, next int, tok string) {
	raw, _ := fromByteAlphabet(tok)
	if len(s.pending) == 0 && utf8.ValidString(raw) {
		c.feed(next, raw)
		return
	}
	s.pending = append(s.pending, raw...)
	cut := len(s.pending) - unfinished(s.pending)
	if cut > 0 {
		c.feed(next, validUTF8(string(s.pending[:cut])))
		s.pending = append(s.pending[:0], s.pending[cut:]...)
	}
}

func (s *byteStage) flush(c *chain, next int) {
	if len(s.pending) > 0 {
		c.feed(next, validUTF8(string(s.pending)))
		s.pending = nil
	}
}

// unfinished returns how many bytes at the end of b begin a code point that later bytes could complete.
func unfinished(b []byte) int {
	for n := 1; n <= min(3, len(b)); n++ {
		tail := b[len(b)-n:]
		need, low, high := leadByte(tail[0])
		if need == 0 {
			continue
		}
		if n > need || (n > 1 && (tail[1] < low || tail[1] > high)) {
			return 0
		}
		return n
	}
	return 0
}

// byteFallbackDecoder joins runs of <0xNN> tokens: text if the run is valid UTF-8, else one U+FFFD per byte.
type byteFallbackDecoder struct{}

func (byteFallbackDecoder) stages(dst []stage, fused bool) ([]stage, bool) {
	if fused {
		dst = append(dst, &gatherStage{})
	}
	return append(dst, &fallbackStage{}), fused
}

type fallbackStage struct{ run []byte }

func (s *fallbackStage) push(c *chain, next int, tok string) {
	if b, ok := parseByteToken(tok); ok {
		s.run = append(s.run, b)
		return
	}
	s.flush(c, next)
	c.feed(next, tok)
}

func (s *fallbackStage) flush(c *chain, next int) {
	if utf8.Valid(s.run) && len(s.run) > 0 {
		c.feed(next, string(s.run))
	} else {
		for range s.run {
			c.feed(next, string(utf8.RuneError))
		}
	}
	s.run = s.run[:0]
}

// parseByteToken reads <0x0A>; the digits may be of either case, or, as Rust's parser has it, "+A".
func parseByteToken(tok string) (byte, bool) {
	if len(tok) != 6 || !strings.HasPrefix(tok, "<0x") || tok[5] != '>' {
		return 0, false
	}
	high, okHigh := hexDigit(tok[3])
	low, okLow := hexDigit(tok[4])
	if tok[3] == '+' {
		high, okHigh = 0, true
	}
	return high<<4 | low, okHigh && okLow
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// fuseDecoder joins all tokens to one.
type fuseDecoder struct{}

func (fuseDecoder) stages(dst []stage, _ bool) ([]stage, bool) { return dst, true }

// replaceDecoder replaces matches within each token.
type replaceDecoder struct {
	find    finder
	content string
}

func (d replaceDecoder) stages(dst []stage, fused bool) ([]stage, bool) {
	if fused {
		dst = append(dst, &gatherStage{})
	}
	return append(dst, &mapStage{apply: d.replace}), fused
}

func (d replaceDecoder) replace(tok string, _ int) string {
	if old, ok := d.find.(literalFinder); ok {
		return strings.ReplaceAll(tok, string(old), d.content)
	}
	p := piece{text: tok}
	var matches []span
	d.find.each(&matcher{}, tok, func(start, end int) { matches = append(matches, span{start, end}) })
	p.replace(matches, d.content, false)
	return p.text
}

// metaspaceDecoder turns marks into spaces; those of the first token vanish unless the scheme is never.
type metaspaceDecoder struct {
	mark   string
	scheme prependScheme
}

func (d metaspaceDecoder) stages(dst []stage, fused bool) ([]stage, bool) {
	if fused {
		dst = append(dst, &gatherStage{})
	}
	return append(dst, &mapStage{apply: d.unmark}), fused
}

func (d metaspaceDecoder) unmark(tok string, index int) string {
	if index == 0 && d.scheme != prependNever {
		return strings.ReplaceAll(tok, d.mark, "")
	}
	return strings.ReplaceAll(tok, d.mark, " ")
}

// mapStage changes each token by itself.
type mapStage struct {
	apply func(tok string, index int) string
	seen  int
}

func (s *mapStage) push(c *chain, next int, tok string) {
	c.feed(next, s.apply(tok, s.seen))
	s.seen++
}

func (*mapStage) flush(*chain, int) {}

// gatherStage collects the parts of a joined text for a stage that must see it whole.
type gatherStage struct{ text strings.Builder }

func (s *gatherStage) push(_ *chain, _ int, tok string) { s.text.WriteString(tok) }

func (s *gatherStage) flush(c *chain, next int) { c.feed(next, s.text.String()) }

// stripDecoder removes up to start (stop) leading (trailing) occurrences of a character from each token.
type stripDecoder struct {
	content     rune
	start, stop int
}

func (d stripDecoder) stages(dst []stage, fused bool) ([]stage, bool) {
	switch {
	case !fused:
		dst = append(dst, &mapStage{apply: func(tok string, _ int) string { return d.strip(tok) }})
	case d.stop > 0:
		dst = append(dst, &gatherStage{}, &mapStage{apply: func(tok string, _ int) string { return d.strip(tok) }})
	default:
		dst = append(dst, &lstripStage{content: d.content, left: d.start})
	}
	return dst, fused
}

func (d stripDecoder) strip(tok string) string {
	mark := string(d.content)
	for range d.start {
		tok = strings.TrimPrefix(tok, mark)
	}
	for range d.stop {
		tok = strings.TrimSuffix(tok, mark)
	}
	return tok
}

// lstripStage strips the front of a joined text that comes in parts.
type lstripStage struct {
	content rune
	left    int // how many may still go
}

func (s *lstripStage) push(c *chain, next int, tok string) {
	for s.left > 0 && tok != "" {
		rest, found := strings.CutPrefix(tok, string(s.content))
		if !found {
			s.left = 0
			break
		}
		tok = rest
		s.left--
	}
	c.feed(next, tok)
}

func (*lstripStage) flush(*chain, int) {}

package tokenizer

// Pre-tokenizers: how a piece is cut into the words that the model sees one by one.

import (
	"strings"
	"unicode/utf8"
)

// splitter appends to dst the parts of a piece that is not an added token; empty parts are left out.
type splitter interface {
	split(w *worker, dst []piece, p piece, track bool) []piece
}

// behaviour says what becomes of a delimiter.
type behaviour uint8

const (
	removed behaviour = iota
	isolated
	mergedWithPrevious
	mergedWithNext
	contiguous
)

var behaviours = map[string]behaviour{
	"Removed": removed, "Isolated": isolated, "Contiguous": contiguous,
	"MergedWithPrevious": mergedWithPrevious, "MergedWithNext": mergedWithNext,
}

// finder calls found with every delimiter in text, ascending.
type finder interface {
	each(m *matcher, text string, found func(start, end int))
}

// literalFinder finds a non-empty string.
type literalFinder string

func (f literalFinder) each(_ *matcher, text string, found func(start, end int)) {
	for at := 0; ; {
		i := strings.Index(text[at:], string(f))
		if i < 0 {
			return
		}
		found(at+i, at+i+len(f))
		at += i + len(f)
	}
}

// setFinder finds single code points of a set.
type setFinder struct{ set *charSet }

func (f setFinder) each(_ *matcher, text string, found func(start, end int)) {
	for i, c := range text {
		if f.set.has(c) {
			found(i, i+utf8.RuneLen(c))
		}
	}
}

// wordFinder finds runs of word characters and runs of what is neither word character nor space.
type wordFinder struct{ word, space *charSet }

func (f wordFinder) each(_ *matcher, text string, found func(start, end int)) {
	start, inWord := -1, false
	for i, c := range text {
		word, space := f.word.has(c), f.space.has(c)
		if start >= 0 && (word != inWord || (space && !word)) {
			found(start, i)
			start = -1
		}
		if start < 0 && (word || !space) {
			start, inWord = i, word
		}
	}
	if start >= 0 {
		found(start, len(text))
	}
}

// delimiterSplit cuts at delimiters; with invert at what lies between them.
type delimiterSplit struct {
	find   finder
	behave behaviour
	invert bool
}

// part is a range of text that is a delimiter or not.
type part struct {
	span
	delimiter bool
}

func (s *delimiterSplit) split(w *worker, dst []piece, p piece, _ bool) []piece {
	last := 0
	if s.behave == isolated {
		s.find.each(&w.matcher, p.text, func(start, end int) {
			if last < start {
				dst = append(dst, p.slice(last, start))
			}
			if start < end {
				dst = append(dst, p.slice(start, end))
			}
			last = end
		})
		if last < len(p.text) {
			dst = append(dst, p.slice(last, len(p.text)))
		}
		return dst
	}
	var parts []part
	s.find.each(&w.matcher, p.text, func(start, end int) {
		if last < start {
			parts = append(parts, part{span{last, start}, s.invert})
		}
		parts = append(parts, part{span{start, end}, !s.invert})
		last = end
	})
	if last < len(p.text) {
		parts = append(parts, part{span{last, len(p.text)}, s.invert})
	}
	for _, r := range s.behave.join(parts) {
		if r.start < r.end {
			dst = append(dst, p.slice(r.start, r.end))
		}
	}
	return dst
}

// join applies a behaviour other than isolated to the alternating parts of a text.
func (b behaviour) join(parts []part) []span {
	var out []span
	if b == mergedWithNext {
		for i := len(parts) - 1; i >= 0; i-- {
			after := i+1 < len(parts) && parts[i+1].delimiter
			if n := len(out); parts[i].delimiter && !after && n > 0 {
				out[n-1].start = parts[i].start
				continue
			}
			out = append(out, parts[i].span)
		}
		reverse(out)
		return out
	}
	before := false
	for _, p := range parts {
		n := len(out)
		switch {
		case b == removed && p.delimiter:
		case n > 0 && b == contiguous && p.delimiter == before,
			n > 0 && b == mergedWithPrevious && p.delimiter && !before:
			out[n-1].end = p.end
		default:
			out = append(out, p.span)
		}
		before = p.delimiter
	}
	return out
}

func reverse(spans []span) {
	for i, j := 0, len(spans)-1; i < j; i, j = i+1, j-1 {
		spans[i], spans[j] = spans[j], spans[i]
	}
}

// gpt2Pattern is the cut of GPT-2 that ByteLevel applies when use_regex is set.
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// byteLevel puts a space in front (addPrefix), cuts (find, may be nil) and, unless the model works on raw bytes,
// writes bytes in GPT-2's alphabet.
type byteLevel struct {
	addPrefix bool
	find      finder
	mapped    bool
}

func (b *byteLevel) split(w *worker, dst []piece, p piece, track bool) []piece {
	if b.addPrefix && !strings.HasPrefix(p.text, " ") {
		p.prepend(" ", track)
	}
	from := len(dst)
	if b.find == nil {
		dst = append(dst, p)
	} else {
		dst = (&delimiterSplit{find: b.find, behave: isolated}).split(w, dst, p, track)
	}
	for i := from; b.mapped && i < len(dst); i++ {
		byteAlphabet{}.normalize(&dst[i], track)
	}
	return dst
}

// prependScheme says which pieces metaspace marks at their front.
type prependScheme uint8

const (
	prependAlways prependScheme = iota
	prependFirst
	prependNever
	prependDummy      // SentencePiece: before the start of the input, even if a mark stands there
	prependEverywhere // before every piece, even if a mark stands there
)

var prependSchemes = map[string]prependScheme{"always": prependAlways, "first": prependFirst, "never": prependNever}

// metaspace writes spaces as a mark, usually ▁, puts one in front and cuts before each.
type metaspace struct {
	mark   string
	scheme prependScheme
	cut    bool
}

func (s *metaspace) split(w *worker, dst []piece, p piece, track bool) []piece {
	p.replaceAll(" ", s.mark, track)
	if s.prepends(&p) {
		p.prepend(s.mark, track)
	}
	if !s.cut {
		return append(dst, p)
	}
	return (&delimiterSplit{find: literalFinder(s.mark), behave: mergedWithNext}).split(w, dst, p, track)
}

// prepends reports whether a mark goes before the piece, whose spaces are marks already.
func (s *metaspace) prepends(p *piece) bool {
	switch s.scheme {
	case prependAlways:
		return !strings.HasPrefix(p.text, s.mark)
	case prependFirst:
		return p.base == 0 && !strings.HasPrefix(p.text, s.mark)
	case prependDummy:
		return p.base == 0
	}
	return s.scheme == prependEverywhere
}

package tokenizer

// Reading of the two long parts of tokenizer.json, the vocabulary and the merges: text that encoding/json has found to be
// well-formed, most of it plain strings, is cut into substrings in one pass. What is not as usual is left to
// encoding/json, for its result or its error.

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// scanner reads well-formed JSON; ok turns false where it meets anything that it does not know, for good.
type scanner struct {
	text string
	at   int
	ok   bool
}

func newScanner(raw json.RawMessage) *scanner {
	s := &scanner{text: string(raw), ok: true}
	if !utf8.ValidString(s.text) {
		s.text = string([]rune(s.text)) // U+FFFD for each byte, as encoding/json has it
	}
	return s
}

// next skips white space and returns the byte behind it, 0 at the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// take steps over c if it comes next.
func (s *scanner) take(c byte) bool {
	if !s.ok || s.next() != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) want(c byte) { s.ok = s.take(c) }

// more tells whether another item of a list or an object comes before the bracket that ends it.
func (s *scanner) more(first bool, end byte) bool {
	if s.take(end) {
		return false
	}
	if !first {
		s.want(',')
	}
	return s.ok
}

// quoted steps over a string and returns what stands between its quotes.
func (s *scanner) quoted() (inside string, escaped bool) {
	s.want('"')
	from := s.at
	for ; s.ok && s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '"':
			s.at++
			return s.text[from : s.at-1], escaped
		case '\\':
			escaped = true
			s.at++
		}
	}
	s.ok = false
	return "", false
}

// str reads a string.
func (s *scanner) str() string {
	inside, escaped := s.quoted()
	if !escaped {
		return inside
	}
	var plain string
	s.ok = json.Unmarshal([]byte(`"`+inside+`"`), &plain) == nil
	return plain
}

// skip steps over a value and returns its text.
func (s *scanner) skip() string {
	s.next()
	from, depth := s.at, 0
	for s.ok && s.at < len(s.text) {
		switch s.text[s.at] {
		case '"':
			s.quoted()
			if depth == 0 {
				return s.text[from:s.at]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 { // behind a number or a word
				return s.text[from:s.at]
			}
			if depth == 0 {
				s.at++
				return s.text[from:s.at]
			}
		case ',':
			if depth == 0 {
				return s.text[from:s.at]
			}
		}
		s.at++
	}
	return s.text[from:s.at]
}

// cut takes the long values of keys out of a well-formed object: it returns the object without them, and them.
// Anything else than an object is returned as it is.
func cut(raw []byte, keys ...string) (rest []byte, values map[string]json.RawMessage) {
	s := newScanner(raw)
	s.want('{')
	rest, values = []byte{'{'}, map[string]json.RawMessage{}
	for first := true; s.more(first, '}'); first = false {
		s.next()
		from := s.at
		key := s.str()
		s.want(':')
		value := s.skip()
		if slices.Contains(keys, key) {
			values[key] = json.RawMessage(value)
			continue
		}
		if len(rest) > 1 {
			rest = append(rest, ',')
		}
		rest = append(rest, s.text[from:s.at]...)
	}
	if !s.ok {
		return raw, nil
	}
	return append(rest, '}'), values
}

// integer reads a whole number without an exponent.
func (s *scanner) integer() int64 {
	sign := int64(1)
	if s.take('-') {
		sign = -1
	} else {
		s.next()
	}
	n, from := int64(0), s.at
	for ; s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9'; s.at++ {
		n = n*10 + int64(s.text[s.at]-'0')
		if n > math.MaxInt32 { // far beyond any id: let encoding/json say what it is
			n = math.MaxInt32
		}
	}
	s.ok = s.ok && s.at > from && n < math.MaxInt32
	return sign * n
}

// entry is a token of the vocabulary.
type entry struct {
	token string
	id    int64
}

// vocabEntries reads an object of ids by token.
func (l *loader) vocabEntries(raw json.RawMessage) ([]entry, error) {
	s := newScanner(raw)
	var entries []entry
	s.want('{')
	for s.more(len(entries) == 0, '}') {
		tok := s.str()
		s.want(':')
		entries = append(entries, entry{tok, s.integer()})
	}
	if s.ok {
		return entries, nil
	}
	var ids map[string]int64
	if err := json.Unmarshal(raw, &ids); err != nil {
		return nil, l.errorf("model.vocab", "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	entries = entries[:0]
	for tok, id := range ids {
		entries = append(entries, entry{tok, id})
	}
	return entries, nil
}

// mergeLines reads a list of strings; ok is false if raw is something else.
func mergeLines(raw json.RawMessage) (lines []string, ok bool) {
	s := newScanner(raw)
	s.want('[')
	for s.more(len(lines) == 0, ']') {
		lines = append(lines, s.str())
	}
	return lines, s.ok
}

// mergeLists reads a list of lists of strings; ok is false if raw is something else.
func mergeLists(raw json.RawMessage) (lists [][]string, ok bool) {
	s := newScanner(raw)
	s.want('[')
	var words []string // all of them, so that a list costs no memory of its own
	for s.more(len(lists) == 0, ']') {
		s.want('[')
		from := len(words)
		for s.more(len(words) == from, ']') {
			words = append(words, s.str())
		}
		lists = append(lists, words[from:len(words):len(words)])
	}
	return lists, s.ok
}

package tokenizer

// Added tokens: strings such as <s> or <|im_start|> that are cut out of the text before the model sees it.

import (
	"strings"
	"unicode/utf8"
)

// addedToken is an entry of added_tokens with the id it has in the vocabulary.
type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`

	// written is the content, run through the normalizer when Normalized is set: what the token matches and what it
	// decodes to. Hugging Face decides by this form whether a decoder skips it as special (since 0.23).
	written string
}

// trie finds the longest of a set of strings at a position.
type trie struct {
	edges map[uint64]int32 // node<<8 | byte → node
	token []int            // node → index of the token that ends there, -1
	first [256]bool
	lead  string // what all begin with
}

func newTrie() *trie { return &trie{edges: map[uint64]int32{}, token: []int{-1}} }

// add enters s and returns false when it is already there.
func (t *trie) add(s string, token int) bool {
	node := int32(0)
	if len(t.token) == 1 {
		t.lead = s
	}
	for !strings.HasPrefix(s, t.lead) {
		t.lead = t.lead[:len(t.lead)-1]
	}
	t.first[s[0]] = true
	for i := range len(s) {
		key := uint64(node)<<8 | uint64(s[i])
		next, ok := t.edges[key]
		if !ok {
			next = int32(len(t.token))
			t.edges[key] = next
			t.token = append(t.token, -1)
		}
		node = next
	}
	if t.token[node] >= 0 {
		return false
	}
	t.token[node] = token
	return true
}

// seek returns the first place from at where a match may start, len(text) when there is none.
func (t *trie) seek(text string, at int) int {
	if t.lead != "" {
		if i := strings.Index(text[at:], t.lead); i >= 0 {
			return at + i
		}
		return len(text)
	}
	for at < len(text) && !t.first[text[at]] {
		at++
	}
	return at
}

// longest returns the token with the longest match at text[at:] and its end; -1 when none starts there.
func (t *trie) longest(text string, at int) (token, end int) {
	token = -1
	node := int32(0)
	for i := at; i < len(text); i++ {
		next, ok := t.edges[uint64(node)<<8|uint64(text[i])]
		if !ok {
			break
		}
		node = next
		if t.token[node] >= 0 {
			token, end = t.token[node], i+1
		}
	}
	return token, end
}

// addedSet cuts added tokens out of pieces: those of raw out of the input, those of normalized out of the
// normalized text.
type addedSet struct {
	tokens          []addedToken
	raw, normalized *trie // nil when empty
	word, space     *charSet
}

// cut appends to dst the parts of p around and including the added tokens that t finds in it.
func (a *addedSet) cut(dst []piece, p piece, t *trie) []piece {
	if p.text == "" {
		return dst
	}
	if t == nil {
		return append(dst, p.slice(0, len(p.text)))
	}
	text, last := p.text, 0
	for at := t.seek(text, 0); at < len(text); at = t.seek(text, at) {
		index, end := t.longest(text, at)
		if index < 0 {
			at++
			continue
		}
		token := &a.tokens[index]
		start := at
		at = end
		if token.SingleWord && !a.standsAlone(text, start, end) {
			continue
		}
		if token.LStrip {
			start = max(last, a.trimmedEnd(text, start))
		}
		stop := end
		if token.RStrip {
			stop = a.trimmedStart(text, end)
		}
		if last < start {
			dst = append(dst, p.slice(last, start))
		}
		if start < stop {
			dst = append(dst, p.slice(start, stop))
			dst[len(dst)-1].id = token.ID
		}
		last = stop
	}
	if last < len(text) {
		dst = append(dst, p.slice(last, len(text)))
	}
	return dst
}

// standsAlone reports whether text[start:end] touches no word character.
func (a *addedSet) standsAlone(text string, start, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:start])
	after, _ := utf8.DecodeRuneInString(text[end:])
	return (start == 0 || !a.word.has(before)) && (end == len(text) || !a.word.has(after))
}

// trimmedEnd returns the end of text[:end] without trailing white space.
func (a *addedSet) trimmedEnd(text string, end int) int {
	return len(strings.TrimRightFunc(text[:end], a.space.has))
}

// trimmedStart returns where text[start:] begins after leading white space.
func (a *addedSet) trimmedStart(text string, start int) int {
	return len(text) - len(strings.TrimLeftFunc(text[start:], a.space.has))
}

// pieces splits the input into normalized text and added tokens.
func (a *addedSet) pieces(dst []piece, text string, norm normalizer, track bool) []piece {
	first := a.cut(nil, piece{text: text, id: notAdded}, a.raw)
	if norm == nil && a.normalized == nil {
		return append(dst, first...)
	}
	for _, p := range first {
		if p.id != notAdded {
			dst = append(dst, p)
			continue
		}
		if norm != nil {
			norm.normalize(&p, track)
		}
		dst = a.cut(dst, p, a.normalized)
	}
	return dst
}

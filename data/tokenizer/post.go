package tokenizer

// Post-processors: special tokens around the ids of a text, and trimmed offsets.

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// encoded is a token of an encoding, with its string and offsets in code points when those are asked for.
type encoded struct {
	id     int32
	value  string
	offset [2]int
}

// processor changes an encoding; special says whether special tokens are wanted, offsets whether offsets are.
type processor interface {
	process(list []encoded, special, offsets bool) []encoded
}

type processors []processor

func (list processors) process(tokens []encoded, special, offsets bool) []encoded {
	for _, p := range list {
		tokens = p.process(tokens, special, offsets)
	}
	return tokens
}

// template puts special tokens before and behind a text.
type template struct{ before, behind []encoded }

func (t *template) process(list []encoded, special, _ bool) []encoded {
	if !special || len(t.before)+len(t.behind) == 0 {
		return list
	}
	out := make([]encoded, 0, len(t.before)+len(list)+len(t.behind))
	out = append(out, t.before...)
	out = append(out, list...)
	return append(out, t.behind...)
}

// trimmer takes white space off the offsets of byte-level tokens. As in Hugging Face's library it counts the
// characters of the token, and leaves a single space that addPrefix may have put there.
type trimmer struct{ addPrefix bool }

func (t trimmer) process(list []encoded, _, offsets bool) []encoded {
	if !offsets {
		return list
	}
	for i := range list {
		tok := &list[i]
		trimmed := strings.TrimLeftFunc(tok.value, isTrimmed)
		leading := utf8.RuneCountInString(tok.value) - utf8.RuneCountInString(trimmed)
		trailing := utf8.RuneCountInString(tok.value) - utf8.RuneCountInString(strings.TrimRightFunc(tok.value, isTrimmed))
		if leading > 0 {
			first := i == 0 || tok.offset[0] == 0
			if first && t.addPrefix && leading == 1 {
				leading = 0
			}
			tok.offset[0] = min(tok.offset[0]+leading, tok.offset[1])
		}
		if trailing > 0 && tok.offset[1] >= trailing {
			tok.offset[1] = max(tok.offset[1]-trailing, tok.offset[0])
		}
	}
	return list
}

func isTrimmed(c rune) bool { return c == 'Ġ' || unicode.IsSpace(c) }

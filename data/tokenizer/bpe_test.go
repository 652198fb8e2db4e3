package tokenizer

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// longText joins golden texts without the white space at which they would be cut.
func longText(t *testing.T, name string) string {
	t.Helper()
	var text strings.Builder
	for _, row := range goldenRows(t, name) {
		if row.Text != nil && len(*row.Text) < 2000 {
			text.WriteString(*row.Text)
		}
	}
	return text.String()
}

// TestQueuesAgree joins long words with the heap, with buckets, and by plain search for the best pair.
func TestQueuesAgree(t *testing.T) {
	bucketed := 0
	for _, name := range goldenNames(t) {
		tok := loadGolden(t, name)
		if tok.model.ranks > 0 {
			bucketed++
		}
		text := longText(t, name)
		w := newWorker()
		withBuckets := tok.model.merge(w, nil, text)
		tok.model.ranks = 0
		require.Equal(t, tok.model.merge(w, nil, text), withBuckets, name)
		word := text[:3000]
		for len(word) > 0 && word[len(word)-1] >= 0x80 {
			word = word[:len(word)-1]
		}
		require.Equal(t, naiveMerge(tok.model, word), tok.model.merge(w, nil, word), name)
	}
	assert.Greater(t, bucketed, 10, "most tokenizers have ordered merges")
}

// naiveMerge is the definition of byte-pair encoding: join the leftmost pair of the lowest rank until none is left.
func naiveMerge(m *model, text string) []token {
	w := newWorker()
	if m.bytewise {
		for i := range len(text) {
			w.push(m.bytes[text[i]], 1)
		}
	} else {
		m.chars(w, text)
	}
	list := make([]token, len(w.symbols))
	for i, s := range w.symbols {
		list[i] = token{s.id, s.size}
	}
	for {
		best, at := merge{rank: 1 << 30, id: missing}, 0
		for i := 0; i+1 < len(list); i++ {
			if mg := m.merges.find(list[i].id, list[i+1].id); mg.id != missing && mg.rank < best.rank {
				best, at = mg, i
			}
		}
		if best.id == missing {
			return list
		}
		list[at] = token{best.id, list[at].size + list[at+1].size}
		list = append(list[:at+1], list[at+2:]...)
	}
}

// TestLongWord holds that a word of 100 kB is encoded as its repeated part predicts, in every queue.
func TestLongWord(t *testing.T) {
	tok := loadGolden(t, "gpt2")
	short := tok.Encode(strings.Repeat("ab", 500), false)
	long := tok.Encode(strings.Repeat("ab", 50_000), false)
	assert.Len(t, long, 100*len(short))
	assert.Equal(t, strings.Repeat("ab", 50_000), tok.Decode(long, false))
}

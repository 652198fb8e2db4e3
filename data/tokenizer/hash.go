package tokenizer

// Identity of a tokenizer by content.

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// Hash identifies the tokenizer by content, as SHA-256 in hexadecimal: two with the same hash give the same ids and
// texts. White space and the order of keys in the file do not count.
func (t *Tokenizer) Hash() string {
	t.hashOnce.Do(func() {
		h := sha256.New()
		t.model.writeContent(h)
		tokens := slices.Clone(t.added.tokens)
		slices.SortFunc(tokens, func(a, b addedToken) int { return a.ID - b.ID })
		for _, a := range tokens {
			fmt.Fprintf(h, "added %d %q %t %t %t %t %t\n",
				a.ID, a.Content, a.SingleWord, a.LStrip, a.RStrip, a.Normalized, a.Special)
		}
		for _, section := range t.sections {
			fmt.Fprintf(h, "%s\n", section)
		}
		t.hashed = hex.EncodeToString(h.Sum(nil))
	})
	return t.hashed
}

// writeContent writes the model in an order that depends on nothing but its content.
func (m *model) writeContent(w io.Writer) {
	fmt.Fprintf(w, "model unk=%d fuse=%t bytes=%t whole=%t\n", m.unk, m.fuseUnk, m.byteFallback, m.ignoreMerges)
	for id, tok := range m.tokens {
		if m.present[id] {
			fmt.Fprintf(w, "%d %q\n", id, tok)
		}
	}
	for _, pair := range m.sortedMerges() {
		fmt.Fprintf(w, "%d+%d\n", pair>>32, uint32(pair))
	}
}

// canonical returns a JSON section with sorted keys and without white space.
func canonical(raw json.RawMessage) string {
	if isNull(raw) {
		return "null"
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return string(raw) // cannot happen: the section was decoded before
	}
	out, err := json.Marshal(value)
	if err != nil {
		return string(raw)
	}
	return string(out)
}

// Package sugarme connects salsa's tokenizer to code written for github.com/sugarme/tokenizer: results as its
// Encoding, and the byte-pair model as its Model. Only its types are used; its own pipeline gives other ids than the
// models were trained with for most files (no look-ahead in patterns, no byte fallback).
package sugarme

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	sugar "github.com/sugarme/tokenizer"

	"salsa/data/tokenizer"
)

// Encode encodes text as tokenizer.EncodeOffsets does and returns sugarme's Encoding. Offsets count code points; Words
// is left empty. SpecialTokenMask is 1 for the tokens that special adds.
func Encode(t *tokenizer.Tokenizer, text string, special bool) *sugar.Encoding {
	ids, offsets := t.EncodeOffsets(text, special)
	enc := sugar.NewEncodingWithCapacity(len(ids))
	enc.Words = nil
	copy(enc.Ids, ids)
	for i, id := range ids {
		enc.Tokens[i], _ = t.Token(id)
		enc.Offsets[i] = []int{offsets[i][0], offsets[i][1]}
		enc.AttentionMask[i] = 1
	}
	if special {
		before, behind := t.Template()
		for i := range before {
			enc.SpecialTokenMask[i] = 1
		}
		for i := range behind {
			enc.SpecialTokenMask[len(ids)-1-i] = 1
		}
	}
	return enc
}

// FromEncoding returns the ids and offsets of an Encoding, without the padding that its attention mask marks.
func FromEncoding(enc *sugar.Encoding) (ids []int, offsets [][2]int) {
	for i, id := range enc.Ids {
		if i < len(enc.AttentionMask) && enc.AttentionMask[i] == 0 {
			continue
		}
		ids = append(ids, id)
		var offset [2]int
		if i < len(enc.Offsets) {
			copy(offset[:], enc.Offsets[i])
		}
		offsets = append(offsets, offset)
	}
	return ids, offsets
}

// Model is a sugarme Model over the merges of a tokenizer; safe for concurrent use.
type Model struct{ t *tokenizer.Tokenizer }

var _ sugar.Model = Model{}

// NewModel returns the model of t.
func NewModel(t *tokenizer.Tokenizer) Model { return Model{t} }

// Tokenize returns the tokens of one word, cut and written as in the vocabulary; offsets are bytes of the word.
func (m Model) Tokenize(sequence string) ([]sugar.Token, error) {
	words := m.t.EncodeWord(sequence)
	tokens := make([]sugar.Token, len(words))
	for i, w := range words {
		tokens[i] = sugar.Token{Id: w.ID, Value: w.Token, Offsets: []int{w.Start, w.End}}
	}
	return tokens, nil
}

// TokenToId returns the id of a token. The name is sugarme's.
func (m Model) TokenToId(token string) (id int, ok bool) { return m.t.TokenID(token) }

// IdToToken returns the token of an id. The name is sugarme's.
func (m Model) IdToToken(id int) (token string, ok bool) { return m.t.Token(id) }

// GetVocab returns a copy of the vocabulary.
func (m Model) GetVocab() map[string]int { return m.t.Vocab() }

// GetVocabSize returns the number of tokens in the vocabulary.
func (m Model) GetVocabSize() int { return len(m.t.Vocab()) }

// Save writes vocab.json and merges.txt, as the GPT-2 format has them, into the folder path; a prefix goes before the
// file names with a hyphen.
func (m Model) Save(path string, prefixOpt ...string) error {
	prefix := ""
	if len(prefixOpt) > 0 && prefixOpt[0] != "" {
		prefix = prefixOpt[0] + "-"
	}
	vocab, err := json.Marshal(m.t.Vocab())
	if err != nil {
		return fmt.Errorf("save vocabulary: %w", err)
	}
	var merges strings.Builder
	merges.WriteString("#version: 0.2\n")
	for _, pair := range m.t.Merges() {
		merges.WriteString(pair[0] + " " + pair[1] + "\n")
	}
	if err := os.WriteFile(filepath.Join(path, prefix+"vocab.json"), vocab, 0o644); err != nil {
		return fmt.Errorf("save vocabulary: %w", err)
	}
	if err := os.WriteFile(filepath.Join(path, prefix+"merges.txt"), []byte(merges.String()), 0o644); err != nil {
		return fmt.Errorf("save merges: %w", err)
	}
	return nil
}

package sugarme

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sugar "github.com/sugarme/tokenizer"

	"salsa/data/tokenizer"
)

// file is a small byte-level tokenizer with a beginning-of-text token; merges make "Ġthe".
func file(t *testing.T) string {
	t.Helper()
	vocab := map[string]int{}
	for _, tok := range []string{"t", "h", "e", "Ġ", "a", "he", "the", "Ġthe"} {
		vocab[tok] = len(vocab)
	}
	vocabJSON, err := json.Marshal(vocab)
	require.NoError(t, err)
	content := `{"added_tokens":[{"id":8,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
		"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":true},
		"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
			"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[8],"tokens":["<s>"]}}},
		"model":{"type":"BPE","vocab":` + string(vocabJSON) + `,"merges":["h e","t he","Ġ the"]}}`
	path := filepath.Join(t.TempDir(), "tokenizer.json")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func load(t *testing.T) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load(file(t))
	require.NoError(t, err)
	return tok
}

func TestEncodeBothWays(t *testing.T) {
	tok := load(t)
	enc := Encode(tok, "the the", true)
	assert.Equal(t, []int{8, 6, 7}, enc.Ids)
	assert.Equal(t, []string{"<s>", "the", "Ġthe"}, enc.Tokens)
	assert.Equal(t, [][]int{{0, 0}, {0, 3}, {3, 7}}, enc.Offsets)
	assert.Equal(t, []int{1, 0, 0}, enc.SpecialTokenMask)
	assert.Equal(t, []int{1, 1, 1}, enc.AttentionMask)
	ids, offsets := FromEncoding(enc)
	wantIDs, wantOffsets := tok.EncodeOffsets("the the", true)
	assert.Equal(t, wantIDs, ids)
	assert.Equal(t, wantOffsets, offsets)

	enc.Ids = append(enc.Ids, 0)
	enc.AttentionMask = append(enc.AttentionMask, 0)
	ids, _ = FromEncoding(enc)
	assert.Equal(t, wantIDs, ids, "padding is left out")
}

func TestModel(t *testing.T) {
	m := NewModel(load(t))
	tokens, err := m.Tokenize("Ġthea")
	require.NoError(t, err)
	assert.Equal(t, []sugar.Token{
		{Id: 7, Value: "Ġthe", Offsets: []int{0, 5}},
		{Id: 4, Value: "a", Offsets: []int{5, 6}},
	}, tokens)
	id, ok := m.TokenToId("the")
	assert.True(t, ok)
	assert.Equal(t, 6, id)
	token, ok := m.IdToToken(7)
	assert.True(t, ok)
	assert.Equal(t, "Ġthe", token)
	assert.Len(t, m.GetVocab(), 8)
	assert.Equal(t, 8, m.GetVocabSize())
}

// TestModelInPipeline puts the model into a sugarme tokenizer.
func TestModelInPipeline(t *testing.T) {
	enc, err := sugar.NewTokenizer(NewModel(load(t))).EncodeSingle("thea")
	require.NoError(t, err)
	assert.Equal(t, []int{6, 4}, enc.Ids)
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	m := NewModel(load(t))
	require.NoError(t, m.Save(dir, "x"))
	merges, err := os.ReadFile(filepath.Join(dir, "x-merges.txt"))
	require.NoError(t, err)
	assert.Equal(t, "#version: 0.2\nh e\nt he\nĠ the\n", string(merges))
	raw, err := os.ReadFile(filepath.Join(dir, "x-vocab.json"))
	require.NoError(t, err)
	var vocab map[string]int
	require.NoError(t, json.Unmarshal(raw, &vocab))
	assert.Equal(t, m.GetVocab(), vocab)
	err = m.Save(filepath.Join(dir, "none"))
	require.Error(t, err)
	assert.False(t, strings.Contains(err.Error(), "\n"))
}

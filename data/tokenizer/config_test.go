package tokenizer

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func TestLoadConfig(t *testing.T) {
	dir := t.TempDir()
	cfg, err := LoadConfig(dir)
	require.NoError(t, err)
	assert.Equal(t, Config{}, *cfg, "no files, no facts")

	write(t, dir, "tokenizer_config.json", `{"bos_token":{"__type":"AddedToken","content":"<s>"},"eos_token":"</s>","pad_token":null,
		"add_bos_token":true,"add_eos_token":false,"chat_template":"one","tokenizer_class":"LlamaTokenizer","unknown_key":[1]}`)
	write(t, dir, "special_tokens_map.json", `{"bos_token":"<ignored>","pad_token":{"content":"<pad>"},"unk_token":"<unk>"}`)
	cfg, err = LoadConfig(dir)
	require.NoError(t, err)
	assert.Equal(t, []string{"<s>", "</s>", "<pad>", "<unk>"}, []string{cfg.BOS, cfg.EOS, cfg.PAD, cfg.UNK})
	assert.True(t, *cfg.AddBOS)
	assert.False(t, *cfg.AddEOS)
	assert.Equal(t, "one", cfg.ChatTemplate)
	assert.Equal(t, "LlamaTokenizer", cfg.Class)

	write(t, dir, "tokenizer_config.json", `{"chat_template":[{"name":"default","template":"A"},{"name":"tool_use","template":"B"}]}`)
	cfg, err = LoadConfig(dir)
	require.NoError(t, err)
	assert.Equal(t, "A", cfg.ChatTemplate)
	assert.Equal(t, map[string]string{"default": "A", "tool_use": "B"}, cfg.ChatTemplates)
	assert.Nil(t, cfg.AddBOS)

	write(t, dir, "chat_template.jinja", "C")
	write(t, dir, "chat_templates/rag.jinja", "D")
	cfg, err = LoadConfig(dir)
	require.NoError(t, err)
	assert.Equal(t, "C", cfg.ChatTemplate, "files replace the key")
	assert.Equal(t, map[string]string{"default": "C", "rag": "D"}, cfg.ChatTemplates)
}

func TestLoadConfigRefusals(t *testing.T) {
	for _, content := range []string{`{`, `{"bos_token":7}`, `{"chat_template":{}}`, `{"chat_template":[7]}`, `{"add_bos_token":"yes"}`} {
		dir := t.TempDir()
		write(t, dir, "tokenizer_config.json", content)
		_, err := LoadConfig(dir)
		requireOneLine(t, err, "tokenizer_config.json: ")
	}
}

// TestTinyStories reads the real folder: template, special tokens, round trip.
func TestTinyStories(t *testing.T) {
	dir := sharedData(t, "tinystories-656k")
	tok, err := Load(dir)
	require.NoError(t, err)
	cfg, err := LoadConfig(dir)
	require.NoError(t, err)
	bos, ok := tok.TokenID(cfg.BOS)
	require.True(t, ok)
	before, _ := tok.Template()
	assert.Equal(t, []int{bos}, before)
	assert.Equal(t, 2048, tok.VocabSize())
	const text = "Once upon a time, there was a little girl."
	assert.Equal(t, text, tok.Decode(tok.Encode(text, false), true))
}

// TestEncodeWord runs the merges alone on words in the byte-level alphabet and in characters.
func TestEncodeWord(t *testing.T) {
	for _, name := range []string{"gpt2", "llama2"} {
		tok := loadGolden(t, name)
		space := map[string]string{"gpt2": "Ġ", "llama2": "▁"}[name]
		ids := tok.Encode("the light", false)
		var got []int
		for _, word := range []string{"the", space + "light"} {
			if name == "llama2" && word == "the" {
				word = space + word
			}
			end := 0
			for _, w := range tok.EncodeWord(word) {
				assert.Equal(t, w.Token, word[w.Start:w.End])
				assert.Equal(t, end, w.Start)
				end = w.End
				got = append(got, w.ID)
			}
			assert.Equal(t, len(word), end)
		}
		assert.Equal(t, ids, got, name)
		first := tok.Merges()[0]
		assert.Equal(t, tok.Vocab()[first[0]+first[1]], tok.EncodeWord(first[0] + first[1])[0].ID)
	}
}

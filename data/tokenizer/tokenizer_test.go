package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStreamEqualsDecode pushes ids one by one and compares with Decode, on ids a policy could sample.
func TestStreamEqualsDecode(t *testing.T) {
	for _, name := range goldenNames(t) {
		tok := loadGolden(t, name)
		for _, row := range goldenRows(t, name) {
			for _, skip := range []bool{false, true} {
				ids := row.DecodeIDs
				if ids == nil {
					ids = row.WithSpecial
				}
				s := tok.Stream(skip)
				var text strings.Builder
				for _, id := range ids {
					text.WriteString(s.Push(id))
				}
				text.WriteString(s.Flush())
				require.Equal(t, tok.Decode(ids, skip), text.String(), "%s %v", name, ids)
			}
		}
	}
}

// TestStreamIsPrompt holds that finished text is not kept back.
func TestStreamIsPrompt(t *testing.T) {
	tok := loadGolden(t, "gpt2")
	ids := tok.Encode("naïve 你 x", false)
	s := tok.Stream(false)
	text, parts := "", 0
	for _, id := range ids {
		part := s.Push(id)
		assert.NotContains(t, part, "\uFFFD")
		text += part
		if part != "" {
			parts++
		}
	}
	assert.Equal(t, "naïve 你 x", text, "nothing is left for Flush")
	assert.Empty(t, s.Flush())
	assert.Greater(t, parts, 3)
}

// TestConcurrentUse encodes and decodes from many goroutines; run it with -race.
func TestConcurrentUse(t *testing.T) {
	for _, name := range []string{"llama2", "llama3", "qwen2", "cross"} {
		tok := loadGolden(t, name)
		rows := goldenRows(t, name)[:400]
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range rows {
					if diff := rows[i].check(tok); diff != "" {
						t.Errorf("%s row %d: %s", name, i+1, diff)
					}
				}
				tok.Hash()
			})
		}
		wg.Wait()
	}
}

func TestVocabulary(t *testing.T) {
	tok := loadGolden(t, "llama3")
	assert.Equal(t, 1340, tok.VocabSize())
	id, ok := tok.TokenID("<|eot_id|>")
	assert.True(t, ok)
	assert.Equal(t, 1339, id)
	assert.True(t, tok.IsSpecial(id))
	name, ok := tok.Token(1339)
	assert.True(t, ok)
	assert.Equal(t, "<|eot_id|>", name)
	_, ok = tok.Token(1340)
	assert.False(t, ok)
	_, ok = tok.Token(-1)
	assert.False(t, ok)
	_, ok = tok.TokenID("no such token")
	assert.False(t, ok)
	assert.Equal(t, "", tok.Decode([]int{-5, 99999}, false), "unknown ids are passed over")
}

// TestHash holds that the hash follows content and not layout.
func TestHash(t *testing.T) {
	base := `{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`
	parse := func(s string) *Tokenizer {
		tok, err := parseJSON("t.json", []byte(s))
		require.NoError(t, err)
		return tok
	}
	same := `{"normalizer":null,"model":{"merges":[["a","b"]], "vocab":{"ab":2,"b":1,"a":0}}}`
	assert.Equal(t, parse(base).Hash(), parse(same).Hash())
	assert.Len(t, parse(base).Hash(), 64)
	for _, other := range []string{
		strings.Replace(base, `"ab":2`, `"ab":3`, 1),
		strings.Replace(base, `"a b"`, ``, 1),
		strings.Replace(base, `{"model"`, `{"normalizer":{"type":"NFC"},"model"`, 1),
	} {
		assert.NotEqual(t, parse(base).Hash(), parse(strings.Replace(other, `[]`, `[]`, 1)).Hash(), other)
	}
}

func TestLoadFolderAndFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "tokenizer.json")
	require.NoError(t, os.WriteFile(file, readGzip(t, "testdata/golden/qwen2.tokenizer.json.gz"), 0o600))
	for _, path := range []string{dir, file} {
		tok, err := Load(path)
		require.NoError(t, err)
		assert.Equal(t, "hello", tok.Decode(tok.Encode("hello", true), true))
	}
}

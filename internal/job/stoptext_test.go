package job

// Stop texts by themselves: where they cut, what must wait, and which token completes them.

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"salsa/data"
	"salsa/data/tokenizer"
	"salsa/internal/fault"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStopTextsCut(t *testing.T) {
	s := Shaping{Stop: []string{"END", "\n\n", "N!"}}
	for _, c := range []struct {
		text, before string
		found        bool
		held         int
	}{
		{"", "", false, 0},
		{"plain", "plain", false, 0},
		{"an END and an END", "an ", true, 0},
		{"first\n\nthen END", "first", true, 0},
		{"both EN! begin", "both E", true, 0},
		{"waits E", "waits E", false, 1},
		{"waits EN", "waits EN", false, 2},
		{"waits\n", "waits\n", false, 1},
		{"ENE", "ENE", false, 1},
		{"moves on ENd", "moves on ENd", false, 0},
	} {
		before, found := s.cut(c.text)
		assert.Equal(t, c.before, before, c.text)
		assert.Equal(t, c.found, found, c.text)
		if !found {
			assert.Equal(t, c.held, s.held(c.text), c.text)
		}
	}
	off := defaultShaping()
	assert.Nil(t, off.ends(data.NewEncoder(nil, -1, -1)))
	assert.Zero(t, off.held("END"))
}

// TestBytesEnd: Llama 2 spells rare characters as byte tokens, which a stream holds back until the next token.
func TestBytesEnd(t *testing.T) {
	f, err := os.Open("../../data/tokenizer/testdata/golden/llama2.tokenizer.json.gz")
	require.NoError(t, err)
	defer f.Close()
	r, err := gzip.NewReader(f)
	require.NoError(t, err)
	raw, err := io.ReadAll(r)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "tokenizer.json")
	require.NoError(t, os.WriteFile(path, raw, 0o644))
	tok, err := tokenizer.Load(path)
	require.NoError(t, err)
	enc := data.NewEncoder(tok, -1, -1)
	ids := tok.Encode("one two☃three", false)
	s := Shaping{Stop: []string{"☃"}}
	ends, n := s.ends(enc), 1
	for n < len(ids) && !ends(ids[:n]) {
		n++
	}
	name, _ := tok.Token(ids[n-1])
	assert.Equal(t, "<0x83>", name, "the last byte of U+2603")
	before, found := s.cut(completionText(enc, ids[:n]))
	assert.True(t, found)
	assert.Equal(t, "one two", before)
}

func TestStopTextsRefused(t *testing.T) {
	none := data.NewEncoder(nil, -1, -1)
	for want, s := range map[string]Shaping{
		"--stop: the text is empty":             {Stop: []string{"a", ""}},
		"models/a: holds no tokenizer, so --st": {Stop: []string{"a"}},
	} {
		err := s.check("models/a", none)
		require.ErrorContains(t, err, want)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
	assert.NoError(t, (&Shaping{}).check("models/a", none))
}

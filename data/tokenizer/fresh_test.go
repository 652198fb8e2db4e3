package tokenizer

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFresh checks rows that testdata/make_fresh.py just made, with any tokenizer.json at hand.
func TestFresh(t *testing.T) {
	dir := os.Getenv("SALSA_TOKENIZER_FRESH")
	if dir == "" {
		t.Skip("SALSA_TOKENIZER_FRESH names no folder made by testdata/make_fresh.py")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			tok, err := Load(file)
			if err != nil && strings.Contains(err.Error(), "supported") {
				t.Skip(err)
			}
			require.NoError(t, err)
			f, err := os.Open(file + "l")
			require.NoError(t, err)
			defer f.Close()
			lines := bufio.NewScanner(f)
			lines.Buffer(nil, 1<<24)
			count, failed := 0, 0
			for ; lines.Scan() && failed < 5; count++ {
				var row goldenRow
				require.NoError(t, json.Unmarshal(lines.Bytes(), &row))
				if diff := row.check(tok); diff != "" {
					t.Errorf("row %d: %s", count+1, diff)
					failed++
				}
			}
			require.NoError(t, lines.Err())
			t.Logf("%d rows", count)
		})
	}
}

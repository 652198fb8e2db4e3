// What the tests of this package share: a tokenizer small enough to follow by hand, and the way to the real data.
package data

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeTokenizer has a token per byte, special tokens, and merges that may join across a prompt's end. The ids
// of the bytes are the bytes.
type fakeTokenizer struct {
	bos      bool
	specials []string // ids 256, 257, …
	merges   []string // ids 300, 301, …: the first that fits is taken
}

const (
	fakeBOS = 256 // <s>
	fakeEOS = 257 // </s>
)

func newFake() *fakeTokenizer {
	return &fakeTokenizer{bos: true, specials: []string{"<s>", "</s>", "<|im_start|>", "<|im_end|>"}}
}

func (f *fakeTokenizer) Encode(text string, special bool) []int {
	ids := []int{}
	if special && f.bos {
		ids = append(ids, fakeBOS)
	}
next:
	for text != "" {
		for base, list := range map[int][]string{256: f.specials, 300: f.merges} {
			for i, token := range list {
				if strings.HasPrefix(text, token) {
					ids, text = append(ids, base+i), text[len(token):]
					continue next
				}
			}
		}
		ids, text = append(ids, int(text[0])), text[1:]
	}
	return ids
}

func (f *fakeTokenizer) Decode(ids []int, skipSpecial bool) string {
	var b strings.Builder
	for _, id := range ids {
		switch {
		case id >= 300:
			b.WriteString(f.merges[id-300])
		case id >= 256 && !skipSpecial:
			b.WriteString(f.specials[id-256])
		case id < 256:
			b.WriteByte(byte(id))
		}
	}
	return b.String()
}

func (f *fakeTokenizer) TokenID(token string) (int, bool) {
	i := slices.Index(f.specials, token)
	return 256 + i, i >= 0
}

func (f *fakeTokenizer) UnknownID() (int, bool) { return f.TokenID("<unk>") }

func (f *fakeTokenizer) VocabSize() int { return 300 + len(f.merges) }

// realData returns a path in the folder of real data, or skips the test.
func realData(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("SALSA_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	path := filepath.Join(root, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("real data not found (set SALSA_DATA to its folder): %v", err)
	}
	return path
}

// write puts a file into a fresh folder.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// rowsOf reads rows from the text of a .jsonl file.
func rowsOf(t testing.TB, lines ...string) []Row {
	t.Helper()
	rows, err := ReadAll(write(t, "rows.jsonl", strings.Join(lines, "\n")), ReadOptions{})
	require.NoError(t, err)
	return rows
}

package tokenizer

// The golden rows: 16,602 answers of Hugging Face's tokenizers 0.23.3 for 17 tokenizers (testdata/golden/README).

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// goldenRow is a line of NAME.jsonl.
type goldenRow struct {
	Text        *string `json:"text"`
	Bytes       []byte  `json:"bytes_b64"`
	IDs         []int   `json:"ids"`
	WithSpecial []int   `json:"ids_with_special"`
	Decoded     string  `json:"decoded"`
	DecodedSkip string  `json:"decoded_skip"`
	Offsets     []int   `json:"offsets"`
	DecodeIDs   []int   `json:"decode_ids"`
	Unit        string  `json:"unit"`
	Repeat      int     `json:"repeat"`
	Count       int     `json:"n_ids"`
	SHA256      string  `json:"ids_sha256"`
}

func readGzip(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	data, err := io.ReadAll(z)
	require.NoError(t, err)
	return data
}

func goldenNames(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/golden/*.tokenizer.json.gz")
	require.NoError(t, err)
	require.Len(t, paths, 17)
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = strings.TrimSuffix(filepath.Base(p), ".tokenizer.json.gz")
	}
	return names
}

func loadGolden(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := parseJSON(name, readGzip(t, "testdata/golden/"+name+".tokenizer.json.gz"))
	require.NoError(t, err)
	return tok
}

func goldenRows(t testing.TB, name string) []goldenRow {
	t.Helper()
	var rows []goldenRow
	lines := bufio.NewScanner(strings.NewReader(string(readGzip(t, "testdata/golden/"+name+".jsonl.gz"))))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var row goldenRow
		require.NoError(t, json.Unmarshal(lines.Bytes(), &row))
		rows = append(rows, row)
	}
	require.NoError(t, lines.Err())
	return rows
}

func TestGolden(t *testing.T) {
	total := 0
	for _, name := range goldenNames(t) {
		rows := goldenRows(t, name)
		total += len(rows)
		t.Run(name, func(t *testing.T) {
			tok := loadGolden(t, name)
			failed := 0
			for i, row := range rows {
				diff := row.check(tok)
				if diff == "" {
					continue
				}
				t.Errorf("row %d: %s", i+1, diff)
				if failed++; failed == 10 {
					t.Fatal("too many differences")
				}
			}
		})
	}
	require.Equal(t, 16602, total)
}

// check returns what differs from the row, "" when nothing does.
func (row *goldenRow) check(tok *Tokenizer) string {
	switch {
	case row.DecodeIDs != nil:
		return row.checkDecode(tok, row.DecodeIDs, row.DecodeIDs)
	case row.Unit != "":
		ids := tok.Encode(strings.Repeat(row.Unit, row.Repeat), false)
		if len(ids) != row.Count || hashIDs(ids) != row.SHA256 {
			return differ("ids of "+strconv.Itoa(row.Repeat)+" times "+row.Unit, row.Count, len(ids))
		}
		return ""
	}
	text := string(row.Bytes)
	if row.Text != nil {
		text = *row.Text
	}
	if got := tok.Encode(text, false); !slices.Equal(got, row.IDs) {
		return differ(text, row.IDs, got)
	}
	if got := tok.Encode(text, true); !slices.Equal(got, row.WithSpecial) {
		return differ("with special "+text, row.WithSpecial, got)
	}
	ids, offsets := tok.EncodeOffsets(text, false)
	if !slices.Equal(ids, row.IDs) {
		return differ("EncodeOffsets "+text, row.IDs, ids)
	}
	flat := []int{}
	for _, o := range offsets {
		flat = append(flat, o[0], o[1])
	}
	if row.Offsets != nil && !slices.Equal(flat, row.Offsets) {
		return differ("offsets of "+text, row.Offsets, flat)
	}
	return row.checkDecode(tok, row.IDs, row.WithSpecial)
}

func (row *goldenRow) checkDecode(tok *Tokenizer, ids, withSpecial []int) string {
	if got := tok.Decode(ids, false); got != row.Decoded {
		return differ("decode", row.Decoded, got)
	}
	if got := tok.Decode(withSpecial, true); got != row.DecodedSkip {
		return differ("decode without special", row.DecodedSkip, got)
	}
	return ""
}

func hashIDs(ids []int) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = strconv.Itoa(id)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, ",")))
	return hex.EncodeToString(sum[:])
}

func differ(what string, want, got any) string {
	w, _ := json.Marshal(want)
	g, _ := json.Marshal(got)
	return strconv.QuoteToASCII(what) + ": want " + string(w) + ", got " + string(g)
}

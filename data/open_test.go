package data

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/fault"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const twoRows = `{"prompt":"a","completion":"b"}` + "\n" + `{"prompt":"c","completion":"d"}` + "\n"

func gzipped(t *testing.T, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

func zstded(t *testing.T, text string) string {
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return string(w.EncodeAll([]byte(text), nil))
}

func TestAFolderIsNoData(t *testing.T) {
	_, err := ReadAll(t.TempDir(), ReadOptions{})
	require.ErrorContains(t, err, "is a folder; name the files in it")
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
}

func TestEveryContainerGivesTheSameRows(t *testing.T) {
	array := `[{"prompt":"a","completion":"b"},` + "\n" + ` {"prompt":"c","completion":"d"}]`
	files := []struct{ name, content string }{
		{"a.jsonl", twoRows},
		{"no-final-newline.jsonl", strings.TrimSpace(twoRows)},
		{"crlf.jsonl", strings.ReplaceAll(twoRows, "\n", "\r\n")},
		{"bom.jsonl", "\xef\xbb\xbf" + twoRows},
		{"blank-lines.jsonl", twoRows + "\n  \n"},
		{"a.JSONL", twoRows},
		{"a.json", array},
		{"bom.json", "\xef\xbb\xbf" + array},
		{"wrapped.json", `{"version": 1, "data": ` + array + `}`},
		{"a.jsonl.gz", gzipped(t, twoRows)},
		{"a.json.gz", gzipped(t, array)},
		{"a.jsonl.zst", zstded(t, twoRows)},
	}
	for _, f := range files {
		t.Run(f.name, func(t *testing.T) {
			path := write(t, f.name, f.content)
			rows, err := ReadAll(path, ReadOptions{})
			require.NoError(t, err)
			require.Len(t, rows, 2)
			assert.Equal(t, Row{Shape: ShapeDemo, Format: "prompt and completion", File: path, Line: 2, Prompt: "c", Completion: "d"}, rows[1])
		})
	}
}

func TestParquetRows(t *testing.T) {
	type message struct {
		Role    string `parquet:"role"`
		Content string `parquet:"content"`
	}
	type record struct {
		Prompt   string    `parquet:"prompt"`
		Chosen   []message `parquet:"chosen,list"`
		Rejected []message `parquet:"rejected,list"`
		Score    float64   `parquet:"score_chosen"`
		Other    float64   `parquet:"score_rejected"`
		Note     *string   `parquet:"margin,optional"`
	}
	path := filepath.Join(t.TempDir(), "a.parquet")
	user := message{"user", "hi"}
	require.NoError(t, parquet.WriteFile(path, []record{
		{"hi", []message{user, {"assistant", "yes"}}, []message{user, {"assistant", "no"}}, 8, 5.5, nil},
	}))
	rows, err := ReadAll(path, ReadOptions{})
	require.NoError(t, err)
	assert.Equal(t, []Row{{Shape: ShapePair, Format: "preferences", File: path, Line: 1, MessagesOnly: true,
		Messages: []Message{{"user", "hi"}}, ChosenMessages: []Message{{"assistant", "yes"}},
		RejectedMessages: []Message{{"assistant", "no"}}, Margin: 2.5, HasMargin: true}}, rows)
}

func TestPlainTextDocuments(t *testing.T) {
	stories := "One.\nTwo.\n<|endoftext|>\nThree.\r\n\r\nFour.<|endoftext|>\n<|endoftext|>\nFive."
	rows, err := ReadAll(write(t, "s.txt", stories), ReadOptions{Separator: "<|endoftext|>"})
	require.NoError(t, err)
	var texts []string
	var lines []int
	for _, r := range rows {
		texts, lines = append(texts, r.Text), append(lines, r.Line)
	}
	assert.Equal(t, []string{"One.\nTwo.", "Three.\n\nFour.", "Five."}, texts)
	assert.Equal(t, []int{1, 4, 8}, lines)

	rows, err = ReadAll(write(t, "s.txt", "One.\nTwo.\n\n\nThree.\n"), ReadOptions{})
	require.NoError(t, err)
	require.Len(t, rows, 2)
	assert.Equal(t, "Three.", rows[1].Text)
	assert.Equal(t, 5, rows[1].Line)
}

func TestReadingErrorsNameThePlace(t *testing.T) {
	good := `{"prompt":"a","completion":"b"}` + "\n"
	cases := []struct{ name, content, want string }{
		{"e.jsonl", "", "e.jsonl: no rows in the file"},
		{"blank.jsonl", "\n\n", "blank.jsonl: no rows in the file"},
		{"e.json", "", "e.json: no rows in the file"},
		{"none.json", "[]", "none.json: no rows in the file"},
		{"e.parquet", "", "e.parquet: no rows in the file"},
		{"e.jsonl.gz", "", "e.jsonl.gz: empty file"},
		{"half.jsonl", good + `{"prompt":"a","compl`, "half.jsonl:2: not a JSON object"},
		{"array.jsonl", good + "\n[1]", "array.jsonl:3: not a JSON object"},
		{"unknown.jsonl", good + `{"foo":1,"bar":2}`, "unknown.jsonl:2: cannot tell what this row is: it has bar, foo; needed is one of"},
		{"null.jsonl", `{"prompt":null}`, "null.jsonl:1: cannot tell what this row is: it has prompt"},
		{"type.jsonl", good + `{"prompt":"a","completion":7}`, `type.jsonl:2: "completion" holds a JSON number`},
		{"ids.jsonl", `{"prompt_ids":[1,-2]}`, `ids.jsonl:1: "prompt_ids"[1] is -2`},
		{"float.jsonl", `{"prompt_ids":[1.5]}`, `float.jsonl:1: "prompt_ids" holds a JSON number 1.5`},
		{"utf8.jsonl", good + "{\"prompt\":\"\xff\"}", "utf8.jsonl:2: not valid UTF-8"},
		{"utf8.txt", "a\n\xff", "utf8.txt:2: not valid UTF-8"},
		{"long.jsonl", good + `{"prompt":"` + strings.Repeat("x", 300) + `"}`, "long.jsonl:2: record longer than 200 bytes"},
		{"cut.json", "[\n" + strings.TrimSpace(good) + ",\n{", "cut.json:3: unexpected EOF"},
		{"row.json", "[\n" + strings.TrimSpace(good) + ",\n{\"x\":1}]", "row.json:3: cannot tell"},
		{"deep.json", "{\"data\":[\n" + strings.TrimSpace(good) + ",\n{\"x\":1}]}", "deep.json:3: cannot tell"},
		{"after.json", "[" + good + "] 7", "after.json:2: something follows the array"},
		{"word.json", "hello", "word.json:1: invalid character"},
		{"a.csv", "a,b", "a.csv: unknown file type; use .jsonl"},
		{"bad.parquet", "PAR1 not really", "bad.parquet: "},
		{"bad.jsonl.gz", "this is not gzip", "bad.jsonl.gz: gzip: invalid header"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadAll(write(t, c.name, c.content), ReadOptions{MaxBytes: 200})
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
			assert.NotContains(t, err.Error(), "\n")
		})
	}
	_, err := ReadAll("/nowhere/x.jsonl", ReadOptions{})
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
}

func TestTruncatedGzipIsAnError(t *testing.T) {
	whole := gzipped(t, strings.Repeat(twoRows, 1000))
	_, err := ReadAll(write(t, "a.jsonl.gz", whole[:len(whole)-20]), ReadOptions{})
	assert.ErrorContains(t, err, "unexpected EOF: the packed file is cut off; fetch or pack it again")
}

func TestSourceCanBeWalkedAgainAndLeftEarly(t *testing.T) {
	source := Open(write(t, "a.jsonl", twoRows), ReadOptions{})
	for range 2 {
		var prompts string
		for row, err := range source() {
			require.NoError(t, err)
			prompts += row.Prompt
		}
		assert.Equal(t, "ac", prompts)
	}
	for row := range source() {
		assert.Equal(t, "a", row.Prompt)
		break
	}
}

func TestColumnsRenameKeys(t *testing.T) {
	path := write(t, "a.jsonl", `{"q":"a","best":"b","worst":"c"}`)
	columns := map[string]string{"prompt": "q", "chosen": "best", "rejected": "worst"}
	rows, err := ReadAll(path, ReadOptions{Columns: columns})
	require.NoError(t, err)
	assert.Equal(t, "b", rows[0].Chosen)
	columns["prompt"] = "question"
	_, err = ReadAll(path, ReadOptions{Columns: columns})
	assert.ErrorContains(t, err, `a.jsonl:1: no key "question" to use as "prompt"; the row has best, `)
}

func FuzzReaders(f *testing.F) {
	f.Add("a.jsonl", []byte(twoRows))
	f.Add("a.json", []byte(`{"data":[{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}]}`))
	f.Add("a.json", []byte("[{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\",\"rejected\":\"\\n\\nHuman: a\\n\\nAssistant:\"}]"))
	f.Add("a.txt", []byte("one\n\ntwo"))
	f.Add("a.jsonl.gz", []byte("\x1f\x8b\x08"))
	f.Add("a.jsonl.zst", []byte("\x28\xb5\x2f\xfd"))
	f.Add("a.parquet", []byte("PAR1"))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		ext := filepath.Base(name)
		if i := strings.IndexByte(ext, '.'); i < 0 || len(ext) > 40 || strings.ContainsAny(ext, "\x00/") {
			t.Skip()
		}
		path := filepath.Join(t.TempDir(), "f"+ext[strings.IndexByte(ext, '.'):])
		require.NoError(t, os.WriteFile(path, content, 0o644))
		rows, err := ReadAll(path, ReadOptions{MaxBytes: 1 << 16})
		if err != nil {
			assert.Equal(t, fault.ExitInput, fault.ExitCode(err), "%v", err)
			return
		}
		for _, row := range rows {
			assert.NotZero(t, row.Shape)
			assert.NotEmpty(t, row.Format)
			assert.Positive(t, row.Line)
		}
	})
}

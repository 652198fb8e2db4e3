package job_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/demo"
	"salsa/internal/fault"
	"salsa/internal/job"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// demoFolder is a folder with config and byte-level tokenizer, without weights.
func demoFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, demo.WriteBaseConfig(dir))
	return dir
}

func writeLines(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	return path
}

func TestDataCheck(t *testing.T) {
	dir := demoFolder(t)
	train := writeLines(t, `{"prompt":"hot salsa:","completion":" chili"}`, `{"prompt":"hot salsa:","completion":" chili"}`,
		`{"prompt":"mild salsa:","completion":" bean"}`)
	held := writeLines(t, `{"prompt":"MILD  salsa:","completion":" corn"}`)
	page := filepath.Join(t.TempDir(), "check.html")
	byModel := job.DataCheckOptions{Model: dir, Data: []string{train}, EvalData: []string{held}, Row: 3, HTML: page}
	byTokenizer := job.DataCheckOptions{Tokenizer: filepath.Join(dir, "tokenizer.json"), Data: []string{train}, EvalData: []string{held}, Row: 3, MaxLength: demo.MaxPositions}
	for _, o := range []job.DataCheckOptions{byModel, byTokenizer} {
		r, err := job.DataCheck(context.Background(), &o)
		require.NoError(t, err)
		assert.Equal(t, 3, r.Rows)
		assert.Equal(t, 1, r.Duplicates)
		assert.Equal(t, 1, r.Leaks)
		assert.Zero(t, r.NoStop)
		assert.Equal(t, demo.MaxPositions, r.MaxLength, "the context")
		var b strings.Builder
		require.NoError(t, r.WriteText(&b))
		assert.Contains(t, b.String(), "mild salsa:« bean"+demo.EOSToken+"»")
		r2, err := json.Marshal(r)
		require.NoError(t, err)
		assert.Contains(t, string(r2), `"duplicates":1`)
	}
	raw, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(raw), "<h1>Data check</h1>")

	byModel.Colours, byModel.HTML = true, ""
	r, err := job.DataCheck(context.Background(), &byModel)
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, r.WriteText(&b))
	assert.Contains(t, b.String(), "\x1b[32m bean")
}

// TestDataCheckUnusable: the report comes with the error, which is the input's fault.
func TestDataCheckUnusable(t *testing.T) {
	rows := writeLines(t, `{"prompt":"hot salsa:","completion":" chili"}`, `{"prompt_ids":[1,9999],"completion_ids":[3]}`)
	r, err := job.DataCheck(context.Background(), &job.DataCheckOptions{Model: demoFolder(t), Data: []string{rows}, Row: 1})
	require.ErrorContains(t, err, "1 of 2 rows cannot be used")
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	require.NotNil(t, r)
	assert.Equal(t, 1, r.Bad)
}

func TestDataCheckRefuses(t *testing.T) {
	dir := demoFolder(t)
	bare := t.TempDir()
	copyFile(t, filepath.Join(dir, "tokenizer.json"), filepath.Join(bare, "tokenizer.json"))
	rows := writeLines(t, `{"prompt":"a","completion":"b"}`)
	for _, c := range []struct {
		o    job.DataCheckOptions
		want string
	}{
		{job.DataCheckOptions{Tokenizer: bare}, "no file names an eos token; name the token that ends completions with --eos"},
		{job.DataCheckOptions{Tokenizer: bare, EOS: "<end>"}, `has no token "<end>"`},
		{job.DataCheckOptions{Model: testdata + "llama-gqa"}, "holds no tokenizer"},
		{job.DataCheckOptions{Model: dir, Row: 5}, "no row 5 to show"},
		{job.DataCheckOptions{Model: dir, MaxLength: 1000}, "--max-length 1000 is more than the model's context"},
	} {
		c.o.Data, c.o.Row = []string{rows}, max(1, c.o.Row)
		r, err := job.DataCheck(context.Background(), &c.o)
		assert.Nil(t, r)
		assert.ErrorContains(t, err, c.want)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err), c.want)
	}
	ok, err := job.DataCheck(context.Background(), &job.DataCheckOptions{Tokenizer: bare, EOS: demo.EOSToken, Data: []string{rows}, Row: 1})
	require.NoError(t, err)
	assert.Equal(t, 1, ok.Rows)
	assert.Error(t, (&job.DataCheckOptions{}).Validate())
	assert.Error(t, (&job.DataCheckOptions{Model: "a", Tokenizer: "b"}).Validate())
	assert.Error(t, (&job.DataCheckOptions{Model: "a", EOS: "b"}).Validate())
	assert.NoError(t, (&job.DataCheckOptions{Tokenizer: "a", EOS: "b"}).Validate())
}

// Messages without a template are one error, however many rows have them; with --chat-template they are checked.
func TestDataCheckOfChats(t *testing.T) {
	dir := demoFolder(t)
	chat := `{"messages":[{"role":"user","content":"hot"},{"role":"assistant","content":" bean"}]}`
	rows := writeLines(t, chat, chat, `{"prompt":"a","completion":" bean"}`, chat)
	o := job.DataCheckOptions{Model: dir, Data: []string{rows}, Row: 1}
	r, err := job.DataCheck(context.Background(), &o)
	require.ErrorContains(t, err, "3 of 4 rows cannot be used, the first: "+rows+":1: messages")
	require.Len(t, r.BadAt, 1)
	assert.Regexp(t, `rows.jsonl:1: messages .*--chat-template .* \(3 rows\)$`, r.BadAt[0])
	byTokenizer := job.DataCheckOptions{Tokenizer: filepath.Join(dir, "tokenizer.json"), EOS: demo.EOSToken, Data: []string{rows}, Row: 1}
	for _, o := range []job.DataCheckOptions{o, byTokenizer} {
		o.Template = "chatml"
		r, err = job.DataCheck(context.Background(), &o)
		require.NoError(t, err)
		assert.Zero(t, r.Bad)
		o.Template = "chatlm"
		_, err = job.DataCheck(context.Background(), &o)
		require.ErrorContains(t, err, "no chat template \"chatlm\"; choose one of alpaca, chatml")
	}
}

package job_test

// generate and chat with stop texts and a repetition penalty.

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"salsa/data/tokenizer"
	"salsa/internal/job"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writtenRow is a row of what generate writes.
type writtenRow struct {
	CompletionIDs []int `json:"completion_ids"`
	Completion    string
	Stopped       bool
}

// generated completes three prompts twice with the options that change sets.
func generated(t *testing.T, dir string, change func(o *job.GenerateOptions)) []writtenRow {
	t.Helper()
	o := job.DefaultGenerate()
	o.Model, o.Device, o.Quiet, o.MaxNewTokens, o.Samples = dir, "cpu", true, 20, 2
	o.Data = []string{writeLines(t, `{"prompt": "hot salsa:"}`, `{"prompt": "mild"}`, `{"prompt": "hot hot hot"}`)}
	o.Out = filepath.Join(t.TempDir(), "out.jsonl")
	change(&o)
	_, err := job.Generate(context.Background(), &o)
	require.NoError(t, err)
	raw, err := os.ReadFile(o.Out)
	require.NoError(t, err)
	var rows []writtenRow
	for line := range strings.Lines(string(raw)) {
		var row writtenRow
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		rows = append(rows, row)
	}
	require.Len(t, rows, 6)
	return rows
}

// middle is a text that begins inside a longer one, of n bytes.
func middle(t *testing.T, text string, n int) string {
	t.Helper()
	require.Greater(t, len(text), 2*n, "the random model wrote too little to stop in: %q", text)
	return text[len(text)/2 : len(text)/2+n]
}

// TestGenerateStops: with stop texts each row is what it is without them, up to the first token that completes one.
func TestGenerateStops(t *testing.T) {
	dir := talker(t, "")
	tok, err := tokenizer.Load(dir)
	require.NoError(t, err)
	plain := generated(t, dir, func(*job.GenerateOptions) {})
	long := slices.SortedFunc(slices.Values(plain), func(a, b writtenRow) int { return len(b.Completion) - len(a.Completion) })
	stops := []string{middle(t, long[0].Completion, 5), middle(t, long[1].Completion, 3)}
	cut := 0
	for _, batch := range []int{1, 4, 32} {
		rows := generated(t, dir, func(o *job.GenerateOptions) { o.Stop, o.BatchSize = stops, batch })
		for i, row := range rows {
			at := len(plain[i].Completion)
			for _, stop := range stops {
				if k := strings.Index(plain[i].Completion, stop); k >= 0 {
					at = min(at, k)
				}
			}
			if at == len(plain[i].Completion) {
				assert.Equal(t, plain[i], row, "row %d, batch %d: no stop text comes", i, batch)
				continue
			}
			cut++
			assert.True(t, row.Stopped)
			assert.Equal(t, plain[i].Completion[:at], row.Completion, "row %d, batch %d", i, batch)
			n := len(row.CompletionIDs)
			assert.Equal(t, plain[i].CompletionIDs[:n], row.CompletionIDs)
			has := func(ids []int) bool {
				text := tok.Decode(ids, true)
				return strings.Contains(text, stops[0]) || strings.Contains(text, stops[1])
			}
			assert.True(t, has(row.CompletionIDs), "the token that completes the text is there")
			assert.False(t, has(row.CompletionIDs[:n-1]), "and it is the last")
		}
	}
	assert.GreaterOrEqual(t, cut, 6, "two rows at least, in each batch")
}

// TestGeneratePenalises: a strong penalty leaves no id twice, whatever is computed beside the row.
func TestGeneratePenalises(t *testing.T) {
	dir := talker(t, "")
	greedy := func(penalty float64, batch int) []writtenRow {
		return generated(t, dir, func(o *job.GenerateOptions) {
			o.Temperature, o.RepetitionPenalty, o.BatchSize, o.MaxNewTokens = 0, penalty, batch, 12
		})
	}
	want := greedy(1e6, 1)
	assert.Equal(t, want, greedy(1e6, 32))
	assert.NotEqual(t, want, greedy(1, 1))
	for _, row := range want {
		seen := map[int]bool{}
		for _, id := range row.CompletionIDs {
			assert.False(t, seen[id], "%v", row.CompletionIDs)
			seen[id] = true
		}
	}
}

// TestChatStops: an answer ends before the stop text, and nothing of the text is shown, though tokens cut across it.
func TestChatStops(t *testing.T) {
	for _, template := range []string{"", turnTemplate} {
		o := chatOptions(talker(t, template))
		o.MaxNewTokens, o.Temperature = 16, 1
		plain, _, _ := say(t, o, "hot\n")
		middle(t, plain[0], 4)
		for k := 0; k+5 < len(plain[0]); k += 2 {
			o.Stop = []string{plain[0][k : k+5]}
			first, _, _ := strings.Cut(plain[0], o.Stop[0])
			got, _, _ := say(t, o, "hot\n")
			assert.Equal(t, []string{first}, got, "stop at %q", o.Stop[0])
		}
		o.Stop = []string{plain[0][:5]}
		_, scalars, _ := say(t, o, "hot\n")
		assert.Less(t, scalars["completion_tokens"], 16.0)
		o.Stop = []string{plain[0] + "never"}
		got, _, _ := say(t, o, "hot\n")
		assert.Equal(t, plain, got, "what was held back comes in the end")
	}
}

// TestChatPenalises: the penalty reaches the answers.
func TestChatPenalises(t *testing.T) {
	o := chatOptions(talker(t, ""))
	o.MaxNewTokens = 16
	plain, _, _ := say(t, o, "hot hot\n")
	o.RepetitionPenalty = 1e6
	penalised, _, _ := say(t, o, "hot hot\n")
	assert.NotEqual(t, plain, penalised)
}

// A model without a stop token generates if a stop text is given; without --max-new-tokens it fills a small context.
func TestGenerateWithoutEOS(t *testing.T) {
	dir := talker(t, "")
	raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(raw, &config))
	delete(config, "eos_token_id")
	raw, err = json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o644))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "generation_config.json")))
	o := job.DefaultGenerate()
	o.Model, o.Device, o.Quiet, o.Data = dir, "cpu", true, []string{writeLines(t, `{"prompt": "hot salsa:"}`)}
	o.Out = filepath.Join(t.TempDir(), "out.jsonl")
	_, err = job.Generate(context.Background(), &o)
	require.ErrorContains(t, err, "or give a text that ends completions with --stop")
	for _, row := range generated(t, dir, func(o *job.GenerateOptions) { o.Stop, o.MaxNewTokens = []string{"never written"}, 0 }) {
		assert.False(t, row.Stopped)
		assert.Greater(t, len(row.CompletionIDs), 40, "as far as the context of 64 goes")
	}
	o.Stop, o.MaxNewTokens = []string{"x"}, 64
	_, err = job.Generate(context.Background(), &o)
	require.ErrorContains(t, err, "--max-new-tokens 64 leaves no room")
}

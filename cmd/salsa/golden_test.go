package main

// score, generate and tokenize against the numbers of transformers and tokenizers that the repository keeps.

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const modelData = "../../models/testdata/"

// golden is what transformers computed for a model of models/testdata.
type golden struct {
	Rows          [][]int
	TokenLogProbs [][]float64 `json:"token_logprobs"`
	Scores        []float64
	Greedy        struct {
		Prompts, Completions [][]int
		MaxNewTokens         int `json:"max_new_tokens"`
	}
}

// jsonl writes rows to a file of a new folder.
func jsonl(t *testing.T, rows ...any) string {
	var text bytes.Buffer
	for _, row := range rows {
		writeLine(&text, row)
	}
	return put(t, "rows.jsonl", text.String())
}

func TestScoreEqualsTransformers(t *testing.T) {
	for _, name := range []string{"llama-gqa", "mistral-window", "gemma2-softcap", "qwen3-qknorm", "llama-sharded"} {
		g := readJSON[golden](t, modelData+name+"/golden.json")
		var rows []any
		for _, ids := range g.Rows {
			rows = append(rows, map[string]any{"prompt_ids": ids[:1], "completion_ids": ids[1:]})
		}
		file := jsonl(t, rows...)
		for _, batch := range []int{1, 3, 16} {
			out := filepath.Join(t.TempDir(), "s.jsonl")
			theWorld().do(t, fmt.Sprintf("score --model %s --data %s --out %s --batch-size %d", modelData+name, file, out, batch))
			got := rowsOf[struct {
				LogProbs []float64 `json:"token_logprobs"`
				Sum      float64   `json:"logprob"`
			}](t, out)
			require.Len(t, got, len(g.Rows))
			for i, row := range got {
				assert.InDeltaSlice(t, g.TokenLogProbs[i], row.LogProbs, 1e-4, "%s, batch %d, row %d", name, batch, i)
				sum := 0.0
				for _, lp := range row.LogProbs {
					sum += lp
				}
				assert.InDelta(t, sum, row.Sum, 1e-9)
			}
		}
	}
}

func TestRewardsEqualTransformers(t *testing.T) {
	for _, name := range []string{"llama-score", "mistral-score"} {
		g := readJSON[golden](t, modelData+name+"/golden.json")
		var rows []any
		for _, ids := range g.Rows {
			rows = append(rows, map[string]any{"prompt_ids": ids[:1], "completion_ids": ids[1:]})
		}
		out := filepath.Join(t.TempDir(), "r.jsonl")
		theWorld().do(t, "score --model "+modelData+name+" --batch-size 3 --data "+jsonl(t, rows...)+" --out "+out)
		for i, row := range rowsOf[struct{ Reward float64 }](t, out) {
			assert.InDelta(t, g.Scores[i], row.Reward, 1e-4, "%s, row %d", name, i)
		}
	}
}

func TestGenerateEqualsTransformers(t *testing.T) {
	for _, name := range []string{"llama-gqa", "mistral-window", "gemma2-softcap"} {
		g := readJSON[golden](t, modelData+name+"/golden.json").Greedy
		require.NotEmpty(t, g.Prompts)
		var rows []any
		for _, ids := range g.Prompts {
			rows = append(rows, map[string]any{"prompt_ids": ids})
		}
		file := jsonl(t, rows...)
		for _, batch := range []int{1, 2, 32} {
			out := filepath.Join(t.TempDir(), "g.jsonl")
			theWorld().do(t, fmt.Sprintf("generate --model %s --data %s --out %s --max-new-tokens %d --temperature 0 --batch-size %d",
				modelData+name, file, out, g.MaxNewTokens, batch))
			for i, row := range rowsOf[struct {
				IDs []int `json:"completion_ids"`
			}](t, out) {
				assert.Equal(t, g.Completions[i], row.IDs, "%s, batch %d, row %d", name, batch, i)
			}
		}
	}
}

// A completion depends on its prompt, its place and the seed, not on what is computed beside it.
func TestSamplesDoNotDependOnTheBatch(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	var first []byte
	for _, batch := range []int{1, 5, 64} {
		file := fmt.Sprintf("%s/%d.jsonl", out, batch)
		w.do(t, fmt.Sprintf("generate --model @sft1 --data @prompts.jsonl --max-new-tokens 8 --samples 2 --seed 4 --batch-size %d --out %s", batch, file))
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		if first == nil {
			first = got
		}
		assert.Equal(t, string(first), string(got), "batch %d", batch)
	}
	assert.Equal(t, 48, strings.Count(string(first), "\n"))
}

func TestTokenizeEqualsGolden(t *testing.T) {
	const folder = "../../data/tokenizer/testdata/golden/"
	for _, name := range []string{"gpt2", "llama2", "gemma", "qwen2"} {
		tokenizer := put(t, "tokenizer.json", string(unzipped(t, folder+name+".tokenizer.json.gz")))
		var rows []any
		var want []map[string]json.RawMessage
		for line := range strings.Lines(string(unzipped(t, folder+name+".jsonl.gz"))) {
			var row map[string]json.RawMessage
			require.NoError(t, json.Unmarshal([]byte(line), &row))
			if _, hash := row["ids_sha256"]; hash {
				continue // made of a unit and a count; package tokenizer reads these
			}
			want, rows = append(want, row), append(rows, row)
		}
		require.Greater(t, len(rows), 100)
		out := filepath.Join(t.TempDir(), "t.jsonl")
		code, _, errs := salsa(t, newRootCmd(), "tokenize", "--tokenizer", tokenizer, "--data", jsonl(t, rows...), "--out", out)
		require.Equal(t, 0, code, errs)
		got := rowsOf[map[string]json.RawMessage](t, out)
		require.Len(t, got, len(want))
		for i, row := range want {
			for _, key := range []string{"ids", "ids_with_special", "decoded", "decoded_skip", "offsets"} {
				if value, ok := row[key]; ok {
					assert.JSONEq(t, string(value), string(got[i][key]), "%s, row %d, %s", name, i, key)
				}
			}
		}
	}
}

func unzipped(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r, err := gzip.NewReader(f)
	require.NoError(t, err)
	raw, err := io.ReadAll(r)
	require.NoError(t, err)
	return raw
}

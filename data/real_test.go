package data

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/data/tokenizer"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var _ Tokenizer = (*tokenizer.Tokenizer)(nil)

// realEncoder loads the TinyStories model's tokenizer: a Llama-style one that puts its bos first.
func realEncoder(t testing.TB) *Encoder {
	tok, err := tokenizer.Load(realData(t, "tinystories-656k"))
	require.NoError(t, err)
	return NewEncoder(tok, tokenOf(t, tok, "<|start_story|>"), tokenOf(t, tok, "<|end_story|>"))
}

func tokenOf(t testing.TB, tok Tokenizer, token string) int {
	id, found := tok.TokenID(token)
	require.True(t, found, token)
	return id
}

// goldenTokenizer unpacks one of the tokenizers that the tokenizer package is tested with.
func goldenTokenizer(t testing.TB, name string) Tokenizer {
	file, err := os.Open(filepath.Join("tokenizer", "testdata", "golden", name+".tokenizer.json.gz"))
	require.NoError(t, err)
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	require.NoError(t, err)
	raw, err := io.ReadAll(unpacked)
	require.NoError(t, err)
	tok, err := tokenizer.Load(write(t, "tokenizer.json", string(raw)))
	require.NoError(t, err)
	return tok
}

// TestAssistantMasksAsTransformers holds ids and masks of multi-turn conversations to those transformers makes
// with the same tokenizers and templates; see testdata/chat/golden_masks.py.
func TestAssistantMasksAsTransformers(t *testing.T) {
	var cases []struct {
		Template, Tokenizer, BOS, EOS, Stop string
		Messages                            []Message
		IDs, Mask                           []int
	}
	readJSONFile(t, filepath.Join("testdata", "chat", "golden_masks.json"), &cases)
	require.NotEmpty(t, cases)
	for i, c := range cases {
		t.Run(fmt.Sprint(c.Template, i), func(t *testing.T) {
			tok := goldenTokenizer(t, c.Tokenizer)
			enc := NewEncoder(tok, -1, tokenOf(t, tok, c.EOS))
			enc.Stops = []int{tokenOf(t, tok, c.Stop)}
			var err error
			enc.Template, err = BuiltinTemplate(c.Template, map[string]string{"bos_token": c.BOS, "eos_token": c.EOS})
			require.NoError(t, err)
			x, err := enc.SFT(&Row{Shape: ShapeDialogue, Messages: c.Messages, MessagesOnly: true})
			require.NoError(t, err)
			assert.Equal(t, c.IDs, x.IDs)
			mask := make([]int, len(x.Mask))
			for k, target := range x.Mask {
				mask[k] = one(target)
			}
			assert.Equal(t, c.Mask, mask)
		})
	}
}

func TestRealStoriesRoundTrip(t *testing.T) {
	enc := realEncoder(t)
	rows, err := ReadAll(realData(t, "tinystories-sample/tinystories.txt"), ReadOptions{})
	require.NoError(t, err)
	examples, counts, err := EncodeAll(rows, enc.SFT)
	require.NoError(t, err)
	assert.Equal(t, len(rows), counts.Kept)
	for _, x := range examples {
		require.Equal(t, enc.BOS, x.IDs[0])
		require.NotEqual(t, enc.BOS, x.IDs[1])
		require.Equal(t, enc.EOS, x.IDs[len(x.IDs)-1])
		require.Equal(t, len(x.IDs)-1, x.Targets())
	}
	assert.NoError(t, enc.CheckStops(examples))
	x := examples[0]
	assert.Equal(t, rows[0].Text, strings.TrimSpace(enc.Tok.Decode(x.IDs[1:len(x.IDs)-1], false)))
}

func TestRealPreferencesBeginAtTheCompletion(t *testing.T) {
	tok := goldenTokenizer(t, "llama3") // byte-level: every text comes back as it was
	enc := NewEncoder(tok, -1, tokenOf(t, tok, "<|end_of_text|>"))
	for _, file := range []string{"ultrafeedback/eval_clean.jsonl", "llmfs-instruction-preference/instruction-data-with-preference.json", "hh-rlhf-harmless-test/test.jsonl.gz"} {
		rows, err := ReadAll(realData(t, file), ReadOptions{})
		require.NoError(t, err)
		rows = rows[:200]
		enc.Empty = EmptyKeep
		pairs, _, err := EncodeAll(rows, enc.Pair)
		require.NoError(t, err)
		for i, p := range pairs {
			for _, side := range []struct {
				x    Example
				text string
			}{{p.Chosen, rows[i].Chosen}, {p.Rejected, rows[i].Rejected}} {
				got := enc.Tok.Decode(side.x.Completion(), true)
				require.True(t, strings.HasSuffix(got, side.text), rows[i].At())
				require.LessOrEqual(t, len(got)-len(side.text), 12, "%s: the completion reaches back into the prompt by no more than a token", rows[i].At())
				require.Equal(t, len(side.x.IDs)-side.x.PromptLen, side.x.Targets())
			}
		}
	}
}

func TestRealDialoguesUnderEveryBuiltin(t *testing.T) {
	enc := realEncoder(t)
	rows, err := ReadAll(realData(t, "oasst-en-100/en_100_tree.jsonl"), ReadOptions{})
	require.NoError(t, err)
	for _, name := range BuiltinTemplates() {
		enc.Template, err = BuiltinTemplate(name, map[string]string{"bos_token": "<|start_story|>", "eos_token": "<|end_story|>"})
		require.NoError(t, err)
		rankings, _, err := EncodeAll(rows[:60], enc.Ranking)
		require.NoError(t, err, name)
		for i, ranking := range rankings {
			prompt, err := enc.Prompt(&rows[i])
			require.NoError(t, err)
			for _, x := range ranking {
				shared := commonPrefix(prompt.IDs, x.IDs)
				require.GreaterOrEqual(t, shared, x.PromptLen, "%s %s", name, rows[i].At())
				require.GreaterOrEqual(t, shared, len(prompt.IDs)-1, "%s %s: what generation sees is what training saw", name, rows[i].At())
			}
		}
	}
}

func TestRealCheckFindsPlantedLeaks(t *testing.T) {
	enc := realEncoder(t)
	clean, err := ReadAll(realData(t, "ultrafeedback/train_clean.jsonl"), ReadOptions{})
	require.NoError(t, err)
	eval, err := ReadAll(realData(t, filepath.Join("ultrafeedback", "eval_clean.jsonl")), ReadOptions{})
	require.NoError(t, err)
	enc.MaxLength = 512
	r, err := Check(clean[:300], eval, enc, 0)
	require.NoError(t, err)
	assert.Zero(t, r.Bad)
	assert.Positive(t, r.Overlong)
	assert.NoError(t, r.Err())
	r, err = Check(append(clean[:50:50], eval[:7]...), eval, enc, 0)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, r.Leaks, 7, "planted leaks are found")
}

func BenchmarkEncodeSFT(b *testing.B) {
	enc := realEncoder(b)
	rows, err := ReadAll(realData(b, "tinystories-sample/tinystories.txt"), ReadOptions{})
	require.NoError(b, err)
	tokens := 0
	for b.Loop() {
		examples, _, err := EncodeAll(rows, enc.SFT)
		require.NoError(b, err)
		for _, x := range examples {
			tokens += len(x.IDs)
		}
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
}

package tokenizer

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// checkSPMRows compares with SentencePiece's own answers, one JSON object a line.
func checkSPMRows(t *testing.T, tok *Tokenizer, rows string) {
	t.Helper()
	count, failed := 0, 0
	lines := bufio.NewScanner(strings.NewReader(rows))
	lines.Buffer(nil, 1<<24)
	for ; lines.Scan() && failed < 5; count++ {
		var row goldenRow
		require.NoError(t, json.Unmarshal(lines.Bytes(), &row))
		ids, _ := tok.EncodeOffsets(*row.Text, false)
		switch {
		case !assert.Equal(t, row.IDs, tok.Encode(*row.Text, false), "row %d %q", count+1, *row.Text),
			!assert.Equal(t, row.IDs, ids, "row %d %q", count+1, *row.Text),
			!assert.Equal(t, row.Decoded, tok.Decode(row.IDs, true), "row %d", count+1):
			failed++
		}
	}
	require.NoError(t, lines.Err())
	require.GreaterOrEqual(t, count, 1500)
}

func loadTinySPM(t testing.TB) *Tokenizer {
	t.Helper()
	tok, err := parseModelFile("tiny.model", readGzip(t, "testdata/spm/tiny.model.gz"), &Config{})
	require.NoError(t, err)
	return tok
}

func TestSentencePieceRows(t *testing.T) {
	checkSPMRows(t, loadTinySPM(t), string(readGzip(t, "testdata/spm/rows.jsonl.gz")))
}

// TestSentencePieceFresh compares a model file with rows that testdata/make_spm.py just made.
func TestSentencePieceFresh(t *testing.T) {
	model, rows := os.Getenv("SALSA_SPM_MODEL"), os.Getenv("SALSA_SPM_ROWS")
	if model == "" {
		t.Skip("SALSA_SPM_MODEL and SALSA_SPM_ROWS name no model and rows made by testdata/make_spm.py")
	}
	tok, err := Load(model)
	require.NoError(t, err)
	data, err := os.ReadFile(rows)
	require.NoError(t, err)
	checkSPMRows(t, tok, string(data))
}

func TestSentencePieceSpecials(t *testing.T) {
	tok := loadTinySPM(t)
	bos, _ := tok.TokenID("<s>")
	inst, ok := tok.TokenID("[INST]")
	require.True(t, ok)
	before, behind := tok.Template()
	assert.Equal(t, []int{bos}, before)
	assert.Empty(t, behind)
	plain := tok.Encode("the light", false)
	assert.Equal(t, append([]int{bos}, plain...), tok.Encode("the light", true))
	assert.Equal(t, append([]int{bos, inst}, plain...), tok.Encode("<s>[INST] the light", false),
		"no second space behind a special token")
	assert.Equal(t, "the light", tok.Decode(tok.Encode("[INST] the light", false), true))

	yes, no := true, false
	other, err := parseModelFile("tiny.model", readGzip(t, "testdata/spm/tiny.model.gz"), &Config{AddBOS: &no, AddEOS: &yes, legacy: true})
	require.NoError(t, err)
	eos, _ := tok.TokenID("</s>")
	assert.Equal(t, append(plain, eos), other.Encode("the light", true))
	assert.Equal(t, append([]int{inst}, plain...), other.Encode("[INST]the light", false), "legacy: a space behind a special token")
	assert.NotEqual(t, tok.Hash(), other.Hash())
}

func TestSentencePieceRefusals(t *testing.T) {
	whole := readGzip(t, "testdata/spm/tiny.model.gz")
	_, err := parseModelFile("x.model", whole[:len(whole)-7], &Config{})
	requireOneLine(t, err, "x.model: protocol buffer: is not a SentencePiece model")
	_, err = parseModelFile("x.model", nil, &Config{})
	requireOneLine(t, err, "x.model: protocol buffer")
	_, err = parseModelFile("x.model", []byte{0x0A, 0x03, 0x0A, 0x01, 'a'}, &Config{})
	requireOneLine(t, err, "x.model: trainer_spec.model_type: Unigram (1) is not supported")
}

// sharedData returns a path of the shared test data, or skips the test.
func sharedData(t testing.TB, path ...string) string {
	t.Helper()
	full := filepath.Join(append([]string{"../../../shared/data"}, path...)...)
	if _, err := os.Stat(full); err != nil {
		t.Skipf("no shared test data: %v", err)
	}
	return full
}

// TestMistralChatSamples encodes the rendered conversations of Mistral's own tests.
func TestMistralChatSamples(t *testing.T) {
	models := map[string]string{"v1": "tokenizer.model.v1", "v3": "mistral_instruct_tokenizer_240323.model.v3"}
	for version, model := range models {
		tok, err := Load(sharedData(t, "mistral-tokenizers", model))
		require.NoError(t, err)
		texts, err := filepath.Glob(sharedData(t, "mistral-chat-samples") + "/*/text_" + version + ".txt")
		require.NoError(t, err)
		require.NotEmpty(t, texts)
		for _, file := range texts {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			raw, err := os.ReadFile(strings.NewReplacer("text_", "tokens_", ".txt", ".json").Replace(file))
			require.NoError(t, err)
			var want struct{ Tokens []int }
			require.NoError(t, json.Unmarshal(raw, &want))
			rendered := strings.NewReplacer("▁", " ", "<0x0A>", "\n").Replace(string(text))
			assert.Equal(t, want.Tokens, tok.Encode(rendered, false), file)
		}
	}
}

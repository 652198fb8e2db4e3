package soup_test

// Members that do not fit, shares that do not add up, and the spelling of soups.

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/soup"
	"salsa/tensor"
)

// edit changes keys of a folder's config.json.
func edit(t *testing.T, dir string, keys map[string]any) {
	t.Helper()
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	all := map[string]any{}
	require.NoError(t, json.Unmarshal(text, &all))
	for key, v := range keys {
		all[key] = v
	}
	text, err = json.Marshal(all)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o644))
}

// refused opens members that do not fit and returns the message.
func refused(t *testing.T, dirs ...string) string {
	t.Helper()
	_, err := soup.Open(dirs)
	var f *fault.Error
	require.ErrorAs(t, err, &f, "bad input is a fault of the user's")
	for _, dir := range dirs {
		assert.Contains(t, err.Error(), dir, "both sides are named")
	}
	return err.Error()
}

func TestConfigsThatDiffer(t *testing.T) {
	for _, c := range []struct {
		key  string
		to   any
		want string
	}{
		{"rms_norm_eps", 1e-5, "rms_norm_eps is 1e-06 in"},
		{"max_position_embeddings", 128, "max_position_embeddings is 64 in"},
		{"hidden_act", "gelu", "hidden_act is"},
		{"rope_parameters", map[string]any{"rope_theta": 5e5, "rope_type": "default"}, "rope_parameters is"},
	} {
		t.Run(c.key, func(t *testing.T) {
			run(t, func() {
				a, b := member(t, "llama-mha", 1, tensor.Float32), member(t, "llama-mha", 2, tensor.Float32)
				edit(t, b, map[string]any{c.key: c.to})
				assert.Contains(t, refused(t, a, b), c.want)
			})
		})
	}
}

func TestShapesAndKindsThatDiffer(t *testing.T) {
	run(t, func() {
		a, b := member(t, "llama-mha", 1, tensor.Float32), member(t, "llama-gqa", 2, tensor.Float32)
		assert.Contains(t, refused(t, a, b), "num_key_value_heads is 4 in")
		c := member(t, "mistral-nowindow", 3, tensor.Float32)
		text := refused(t, a, c)
		assert.Contains(t, text, "LlamaForCausalLM")
		assert.Contains(t, text, "MistralForCausalLM")
		text = refused(t, a, "../models/testdata/llama-score")
		assert.Contains(t, text, "LlamaForSequenceClassification")
		tied := member(t, "llama-tied", 4, tensor.Float32)
		assert.Contains(t, refused(t, b, tied), "tie_word_embeddings is false in")
	})
}

// Reward models whose scores are normalised differently: a soup has one gain, which would be the first member's alone.
func TestScoreScalesThatDiffer(t *testing.T) {
	const from = "../models/testdata/llama-score"
	a, b := t.TempDir(), t.TempDir()
	require.NoError(t, os.CopyFS(a, os.DirFS(from)))
	require.NoError(t, os.CopyFS(b, os.DirFS(from)))
	m, err := soup.Open([]string{a, b})
	require.NoError(t, err)
	m.Close()
	edit(t, b, map[string]any{"salsa_score_gain": 2.5})
	assert.Contains(t, refused(t, a, b), "salsa_score_gain is 1 in")
}

func TestWhatMayDiffer(t *testing.T) {
	run(t, func() {
		a, b := member(t, "llama-mha", 1, tensor.Float32), member(t, "llama-mha", 2, tensor.BFloat16)
		edit(t, b, map[string]any{"initializer_range": 0.5, "eos_token_id": 7, "_name_or_path": "elsewhere", "transformers_version": "9"})
		open(t, a, b)
		require.NoError(t, os.WriteFile(filepath.Join(b, "tokenizer.json"), []byte("{}"), 0o644))
		open(t, a, b) // a folder of weights alone is judged by its shapes
		require.NoError(t, os.WriteFile(filepath.Join(a, "tokenizer.json"), []byte("{ }"), 0o644))
		assert.Contains(t, refused(t, a, b), "tokenizer.json differs")
	})
}

// A tokenizer that another library wrote again mixes with itself; one that says something else does not.
func TestTokenizersAreComparedByContent(t *testing.T) {
	const bpe = `{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`
	run(t, func() {
		a, b := member(t, "llama-mha", 1, tensor.Float32), member(t, "llama-mha", 2, tensor.Float32)
		put := func(dir, name, text string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		put(a, "tokenizer.json", bpe)
		put(b, "tokenizer.json", `{ "normalizer":null, "model":{"merges":[["a","b"]], "type":"BPE", "vocab":{"ab":2,"b":1,"a":0}} }`)
		open(t, a, b)
		put(a, "tokenizer_config.json", `{"bos_token":"<s>","eos_token":"</s>","pad_token":"<pad>","add_bos_token":true}`)
		put(b, "tokenizer_config.json", `{"bos_token":{"content":"<s>"},"eos_token":"<end>"}`)
		open(t, a, b) // eos and padding are the first member's to say
		put(b, "tokenizer_config.json", `{"bos_token":"<begin>"}`)
		assert.Contains(t, refused(t, a, b), `in its bos_token, "<s>" and "<begin>"`)
		put(b, "tokenizer_config.json", `{`)
		assert.Contains(t, refused(t, a, b), "configs cannot be compared")
		require.NoError(t, os.Remove(filepath.Join(b, "tokenizer_config.json")))
		put(b, "tokenizer.json", `{"model":{"type":"BPE","vocab":{"a":1,"b":0,"ab":2},"merges":["a b"]}}`)
		assert.Contains(t, refused(t, a, b), "in its tokens or in how it cuts text")
	})
}

func TestOpenNothing(t *testing.T) {
	_, err := soup.Open(nil)
	assert.ErrorContains(t, err, "at least one")
	missing := filepath.Join(t.TempDir(), "none")
	_, err = soup.Open([]string{"../models/testdata/llama-mha", missing})
	assert.ErrorContains(t, err, missing)
}

func TestWeights(t *testing.T) {
	for _, c := range []struct {
		name        string
		given       []float64
		n           int
		extrapolate bool
		want        []float64
		fault       string
	}{
		{name: "uniform", n: 4, want: []float64{.25, .25, .25, .25}},
		{name: "scaled", given: []float64{1, 3}, n: 2, want: []float64{.25, .75}},
		{name: "one", given: []float64{7}, n: 1, want: []float64{1}},
		{name: "ends", given: []float64{0, 1}, n: 2, want: []float64{0, 1}},
		{name: "outside", given: []float64{1.5, -.5}, n: 2, fault: "--extrapolate"},
		{name: "extrapolated", given: []float64{1.5, -.5}, n: 2, extrapolate: true, want: []float64{1.5, -.5}},
		{name: "too few", given: []float64{1}, n: 2, fault: "1 weights for 2"},
		{name: "nothing", given: []float64{0, 0}, n: 2, fault: "add up to 0"},
		{name: "cancel", given: []float64{1, -1}, n: 2, extrapolate: true, fault: "add up to 0"},
		{name: "below nothing", given: []float64{-1, -3}, n: 2, extrapolate: true, fault: "add up to -4"},
		{name: "not a number", given: []float64{math.NaN(), 1}, n: 2, extrapolate: true, fault: "NaN"},
		{name: "endless", given: []float64{math.Inf(1), 1}, n: 2, extrapolate: true, fault: "Inf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := soup.Weights(c.given, c.n, c.extrapolate)
			if c.fault != "" {
				require.ErrorContains(t, err, c.fault)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestParseExpr(t *testing.T) {
	for _, c := range []struct {
		text    string
		dirs    []string
		weights []float64
		fault   string
	}{
		{text: "runs/a", dirs: []string{"runs/a"}, weights: []float64{1}},
		{text: "a,b", dirs: []string{"a", "b"}, weights: []float64{.5, .5}},
		{text: " a , b @ 1, 3 ", dirs: []string{"a", "b"}, weights: []float64{.25, .75}},
		{text: "my runs/a b,c d@.3,.7", dirs: []string{"my runs/a b", "c d"}, weights: []float64{.3, .7}},
		{text: "me@home/a", dirs: []string{"me@home/a"}, weights: []float64{1}},
		{text: "me@home/a,b@x@1,1", dirs: []string{"me@home/a", "b@x"}, weights: []float64{.5, .5}},
		{text: "a,b@latest", dirs: []string{"a", "b@latest"}, weights: []float64{.5, .5}},
		{text: "a,b@", dirs: []string{"a", "b@"}, weights: []float64{.5, .5}},
		{text: "a@1", dirs: []string{"a"}, weights: []float64{1}},
		{text: "a,b@1", fault: "1 weights for 2"},
		{text: "a,b@2,-1", fault: "--extrapolate"},
		{text: "a,b@0,0", fault: "add up to 0"},
		{text: "a,,b", fault: "empty folder name"},
		{text: "", fault: "empty folder name"},
		{text: "@1,2", fault: "empty folder name"},
	} {
		t.Run(c.text, func(t *testing.T) {
			got, err := soup.ParseExpr(c.text, false)
			if c.fault != "" {
				require.ErrorContains(t, err, c.fault)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, soup.Expr{Dirs: c.dirs, Weights: c.weights}, got)
			again, err := soup.ParseExpr(got.String(), false)
			require.NoError(t, err, got.String())
			assert.Equal(t, got, again, "String is what ParseExpr reads")
		})
	}
}

// A folder that is there wins over a reading of its name as members and shares: sft@2 must not load sft.
func TestParseExprFindsFolders(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sft", "sft@2", "a,b@1,3"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		got, err := soup.ParseExpr(filepath.Join(dir, name), false)
		require.NoError(t, err)
		assert.Equal(t, soup.Expr{Dirs: []string{filepath.Join(dir, name)}, Weights: []float64{1}}, got)
	}
}

func TestNames(t *testing.T) {
	e := soup.Expr{Dirs: []string{"runs/1/sft", "runs/2/sft/", "runs/3/other"}}
	assert.Equal(t, []string{"sft", "sft_2", "other"}, e.Names())
}

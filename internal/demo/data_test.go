package demo

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/data/tokenizer"
	"salsa/internal/checkpoint"
)

// written is the task of a seed in a fresh folder.
func written(t *testing.T, seed uint64) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "task")
	require.NoError(t, WriteAll(dir, seed))
	return dir
}

// lines reads a JSONL file into rows.
func lines[T any](t *testing.T, path string) []T {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var rows []T
	for line := range strings.Lines(string(content)) {
		var row T
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		rows = append(rows, row)
	}
	return rows
}

func TestWriteAllFollowsFromTheSeed(t *testing.T) {
	hash := func(dir string) string {
		h, err := checkpoint.HashTree(dir)
		require.NoError(t, err)
		return h
	}
	one, again, two := written(t, 1), written(t, 1), written(t, 2)
	assert.Equal(t, hash(one), hash(again))
	assert.NotEqual(t, hash(one), hash(two))
	assert.Equal(t, hash(filepath.Join(one, BaseConfigDir)), hash(filepath.Join(two, BaseConfigDir)))
}

func TestHeldOutCombinationsStayOut(t *testing.T) {
	dir := written(t, 3)
	set := func(text string) string {
		p, err := ParsePrompt(text)
		require.NoError(t, err)
		slices.Sort(p)
		return p.Text()
	}
	held := map[string]int{}
	eval := lines[promptRow](t, filepath.Join(dir, PromptsEvalFile))
	require.Len(t, eval, PromptsEvalRows)
	for _, row := range eval {
		held[set(row.Prompt)]++
	}
	assert.Len(t, held, heldOut)
	for _, row := range lines[demoRow](t, filepath.Join(dir, SFTEvalFile)) {
		assert.Contains(t, held, set(row.Prompt))
	}
	var seen []string
	for _, row := range lines[promptRow](t, filepath.Join(dir, PromptsTrainFile)) {
		seen = append(seen, row.Prompt)
	}
	for _, row := range lines[demoRow](t, filepath.Join(dir, SFTFile)) {
		seen = append(seen, row.Prompt)
	}
	for _, row := range lines[textRow](t, filepath.Join(dir, PretrainFile)) {
		if prompt, _, found := strings.Cut(row.Text, ":"); found {
			seen = append(seen, prompt+":")
		}
	}
	require.Greater(t, len(seen), SFTRows+PretrainRows/2)
	for _, prompt := range seen {
		require.NotContains(t, held, set(prompt))
	}
}

func TestDemonstrationsAreHalfAsGoodAsPossible(t *testing.T) {
	var prompts, completions []string
	for _, row := range lines[demoRow](t, filepath.Join(written(t, 1), SFTFile)) {
		prompts, completions = append(prompts, row.Prompt), append(completions, row.Completion)
	}
	s, err := Judge(prompts, completions)
	require.NoError(t, err)
	t.Log(s)
	assert.InDelta(t, 0.47, s.Gold, 0.03)
	assert.Zero(t, s.Malformed)
	assert.Greater(t, s.Missing, 4*s.Excess, "frugal: too little is the usual fault")
}

func TestPairs(t *testing.T) {
	prompts := TrainPrompts(1)
	rng := stream(1, "test")
	var all, a, b []string
	for range 6 {
		for _, text := range prompts {
			p, err := ParsePrompt(text)
			require.NoError(t, err)
			all = append(all, text)
			a, b = append(a, DefaultCook.Write(p, rng).Text()), append(b, DefaultCook.Write(p, rng).Text())
		}
	}
	a[0], b[0] = " tomato lime", " lime tomato"
	path := filepath.Join(t.TempDir(), "pairs.jsonl")
	stats, err := WritePairs(path, ByTaste, all, a, b, 1)
	require.NoError(t, err)
	t.Logf("%+v", stats)
	assert.Equal(t, len(all), stats.Pairs+stats.Same)
	assert.Positive(t, stats.Same)
	assert.InDelta(t, 0.85, stats.Expected, 0.02)
	assert.InDelta(t, stats.Expected, stats.Accuracy, 4*math.Sqrt(0.13/float64(stats.Pairs)))

	read, err := data.ReadAll(path, data.ReadOptions{})
	require.NoError(t, err)
	require.Len(t, read, stats.Pairs)
	assert.Equal(t, data.ShapePair, read[0].Shape)
	second := filepath.Join(t.TempDir(), "again.jsonl")
	_, err = WritePairs(second, ByTaste, all, a, b, 1)
	require.NoError(t, err)
	same, err := checkpoint.HashFile(path)
	require.NoError(t, err)
	again, err := checkpoint.HashFile(second)
	require.NoError(t, err)
	assert.Equal(t, same, again)

	_, err = WritePairs(path, ByTaste, all, a[1:], b, 1)
	assert.ErrorContains(t, err, "one of each per prompt")
}

func TestAnnotator(t *testing.T) {
	hot := Prompt{1}
	assert.InDelta(t, 0.5, DefaultAnnotator.Prefers(hot, " chili", " chili"), 1e-12)
	// Two units of body, +0.25 each for one ingredient, against nothing: σ(2.25/1.5).
	assert.InDelta(t, 1/(1+math.Exp(-2.25/1.5)), DefaultAnnotator.Prefers(hot, " tomato", ""), 1e-12)
	// Equal gold, two units of heat more: the bias of 0.3 each.
	assert.InDelta(t, 1/(1+math.Exp(-0.6/1.5)), DefaultAnnotator.Prefers(hot, " chili", " tomato"), 1e-12)
	wins, rng := 0, stream(1, "annotator")
	const n = 20000
	for range n {
		preferA, err := Label(" hot salsa:", " tomato", "", rng)
		require.NoError(t, err)
		if preferA {
			wins++
		}
	}
	assert.InDelta(t, 1/(1+math.Exp(-2.25/1.5)), float64(wins)/n, 0.012)
	_, err := Label("x", "", "", rng)
	assert.ErrorContains(t, err, "does not end in")
}

func TestTokenizerIsOneTokenPerWord(t *testing.T) {
	dir := written(t, 1)
	tok, err := tokenizer.Load(filepath.Join(dir, BaseConfigDir))
	require.NoError(t, err)
	assert.Equal(t, VocabSize(), tok.VocabSize())
	for i := range NumIngredients {
		assert.Equal(t, []int{IngredientID(i)}, tok.Encode(" "+IngredientName(i), false))
	}
	for _, row := range lines[demoRow](t, filepath.Join(dir, SFTFile)) {
		p, err := ParsePrompt(row.Prompt)
		require.NoError(t, err)
		r, _ := ParseRecipe(row.Completion)
		want := PromptIDs(p)
		require.Equal(t, want, tok.Encode(row.Prompt, true))
		for _, i := range r {
			want = append(want, IngredientID(i))
		}
		ids := tok.Encode(row.Prompt+row.Completion, true)
		require.Equal(t, want, ids)
		require.Equal(t, row.Prompt+row.Completion, tok.Decode(ids, true))
		require.Equal(t, row.Prompt+row.Completion, TextOf(append(ids, EOS, IngredientID(0))))

		gold, err := Gold(row.Prompt, row.Completion)
		require.NoError(t, err)
		byIDs, err := GoldIDs(PromptIDs(p), append(want[len(p)+3:], EOS))
		require.NoError(t, err)
		require.Equal(t, gold, byIDs)
	}
	assert.Equal(t, "?? tomato", TextOf([]int{-1, VocabSize(), IngredientID(21)}))
}

// The golden file was written by Hugging Face's library: see testdata/golden.py.
func TestTokenizerEqualsHuggingFace(t *testing.T) {
	base := filepath.Join(written(t, 1), BaseConfigDir)
	content, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var golden struct {
		SHA256 string
		Cases  []struct {
			Text    string
			IDs     []int
			Decoded string
		}
	}
	require.NoError(t, json.Unmarshal(content, &golden))
	hash, err := checkpoint.HashFile(filepath.Join(base, "tokenizer.json"))
	require.NoError(t, err)
	require.Equal(t, golden.SHA256, hash, "tokenizer.json has changed: run testdata/golden.py again")
	tok, err := tokenizer.Load(base)
	require.NoError(t, err)
	require.NotEmpty(t, golden.Cases)
	for _, c := range golden.Cases {
		assert.Equal(t, c.IDs, tok.Encode(c.Text, true), c.Text)
		assert.Equal(t, c.Decoded, tok.Decode(c.IDs, true), c.Text)
	}
}

func TestWriteAllSaysWhereItFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	assert.ErrorContains(t, WriteAll(filepath.Join(file, "task"), 1), file)
	assert.ErrorContains(t, WriteBaseConfig(filepath.Join(file, "task")), file)
}

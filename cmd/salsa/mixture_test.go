package main

// --data-weights as a user gives it: every training command mixes its files, says what it drew, and refuses weights
// that cannot be meant.

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// said runs a command line as a process of its own and returns what it wrote to standard error.
func (w *world) said(t *testing.T, line string) string {
	t.Helper()
	cmd := w.program(line)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func TestDataWeights(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	odd := filepath.Join(t.TempDir(), "a=b.jsonl") // a path may hold what other tools split at
	raw, err := os.ReadFile(w.at("pairs.jsonl"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(odd, bytes.Join(bytes.SplitAfter(raw, []byte("\n"))[:12], nil), 0o644))
	const sft = "sft --model @base --data @demos.jsonl,@data/sft.jsonl --data-weights 3,1 --max-steps 3 --batch-size 4 --max-length 40 --overlong drop --out "
	said := w.said(t, sft+out+"/sft")
	assert.Contains(t, said, "mixture of 2 files")
	assert.Contains(t, said, "demos.jsonl: weight 3, 24 to draw from, 75% of the draws")
	assert.Contains(t, said, "; drawn 9 of 12")
	w.do(t, sft+out+"/again")
	assert.Equal(t, weights(t, out+"/sft"), weights(t, out+"/again"))
	w.do(t, "sft --config "+out+"/sft/run.yaml --data-weights 1,3 --out "+out+"/other")
	assert.NotEqual(t, weights(t, out+"/sft"), weights(t, out+"/other"))

	const tail = " --data-weights 0.9,0.1 --max-steps 2 --batch-size 2 --out "
	for _, line := range []string{
		"reward --model @sft1 --data @pairs.jsonl," + odd + tail + out + "/rm",
		"dpo --loss simpo --model @sft1 --data @pairs.jsonl," + odd + tail + out + "/dpo",
		"ppo --model @sft1 --reference @sft2 --reward-model @rm --max-new-tokens 3 --data @prompts.jsonl," + odd + tail + out + "/ppo",
	} {
		assert.Contains(t, w.said(t, line), "a=b.jsonl: weight 0.1, 12 to draw from, 10% of the draws", line)
	}
	rso := strings.Replace(rsoLine, "@prompts.jsonl", "@prompts.jsonl,"+odd, 1) + tail + out + "/rso"
	assert.Regexp(t, `a=b.jsonl: weight 0.1, \d+ to draw from, 10% of the draws`, w.said(t, rso), "pairs of that file's prompts")
	// A file of weight 0 is not even read.
	w.do(t, "reward --model @sft1 --data @pairs.jsonl,@nothing.jsonl --data-weights 1,0 --max-steps 1 --batch-size 2 --out "+out+"/zero")
}

func TestDataWeightMistakes(t *testing.T) {
	const two = " --data @demos.jsonl,@prompts.jsonl --data-weights "
	for _, m := range []mistake{
		{name: "count", line: sftLine + "--model @base" + two + "1", says: []string{"--data-weights", "1 weights for 2 data files", "one weight per file"}},
		{name: "negative", line: sftLine + "--model @base" + two + "1,-0.5", says: []string{"prompts.jsonl is -0.5", "relative shares"}},
		{name: "zero", line: sftLine + "--model @base" + two + "0,0", says: []string{"make at least one positive"}},
		{name: "no number", line: sftLine + "--model @base" + two + "1,a", says: []string{"--data-weights"}},
		{name: "reward", line: "reward --model @sft1 --out OUT" + two + "1,1,1", says: []string{"3 weights for 2 data files"}},
		{name: "dpo", line: "dpo --loss simpo --model @sft1 --out OUT" + two + "1,1,1", says: []string{"3 weights for 2 data files"}},
		{name: "ppo", line: ppoWrong + "--model @sft1 --reference @sft2 --reward-model @rm" + two + "1,1,1", says: []string{"3 weights for 2 data files"}},
		{name: "nothing left", line: sftLine + "--model @base --overlong drop --max-length 12 --data @demos.jsonl,{} --data-weights 1,1",
			prepare: func(t *testing.T, _ *world) string {
				return put(t, "long.jsonl", `{"prompt":"hot salsa: hot salsa: hot salsa: hot salsa: hot salsa: hot salsa: hot salsa:","completion":" lime"}`+"\n")
			}, says: []string{"long.jsonl: none of its rows is left to draw from", "weight 0"}},
	} {
		t.Run(m.name, m.try)
	}
}

// A batch that is larger than the data takes rows twice, which is said.
func TestBatchLargerThanTheData(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	line := "sft --model @base --data @demos.jsonl --max-steps 1 --batch-size 30 --micro-batch-size 8 --out "
	assert.Contains(t, w.said(t, line+out+"/a"), "note: --batch-size 30 is more than an epoch's 24, so every step takes rows more than once; --batch-size 24 takes each once")
	assert.NotContains(t, w.said(t, line+out+"/b --batch-size 24"), "note: --batch-size")
}

// Prompts of a model with a small context are answered as far as it goes, unless a length is asked for.
func TestSmallContextIsFilled(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	said := w.said(t, "generate --model @sft1 --data @prompts.jsonl --out "+out+"/g.jsonl")
	assert.Contains(t, said, "note: 24 of 24 prompts leave less than 128 tokens of the context of 64")
	w.do(t, "eval --models @sft1 --data @prompts.jsonl --max-prompts 2 --out "+out+"/eval")
	w.do(t, "generate --overlong truncate-left --model @sft1 --data @prompts.jsonl --out "+out+"/cut.jsonl")
}

// Stages name one another's folders in lists, so the run's own must hold no comma.
func TestRunFolderWithAComma(t *testing.T) {
	code, _, errs := salsa(t, newRootCmd(), "run", "demo", "--dry-run", "--out", t.TempDir()+"/a,b")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "a,b: a comma or an @ in the path would be read as a list of folders")
}

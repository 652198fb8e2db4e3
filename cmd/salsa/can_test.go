package main

// salsa can from the command line: both modes, runs that were cut off, bounds without training, refusals.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/internal/job"
)

const canLine = "can --model @sft1 --data @prompts.jsonl --samples 6 --max-new-tokens 6 --sample-batch-size 16 --chunk-size 5 " +
	"--pairs-per-prompt 2 --measure-samples 2 --beta 0.5 --batch-size 8 --learning-rate 0.001 --threads 1 "

const mocan = "--reward-model @rm --safety-model gold:salsa-safety "

// storedIn returns the path of the one file of completions in a run's folder that has the name.
func storedIn(t *testing.T, out, name string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(out, "samples", name+"-*.jsonl"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	return files[0]
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(raw)
}

func TestCAN(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	last := w.do(t, canLine+mocan+"--safety-bound 0.05 --out "+out+"/a")
	for _, key := range []string{"loss", "can/lambda", "can/pairs", "can/predicted_reward", "can/predicted_safety", "can/measured_reward",
		"can/measured_safety", "can/measured_kl", "can/reference_reward", "can/reference_safety", "can/largest_safety"} {
		assert.Contains(t, last, key)
	}
	assert.Positive(t, last["can/lambda"])
	assert.InDelta(t, last["can/reference_safety"]+0.05, last["can/predicted_safety"], 1e-9, "the bound holds with equality at λ*")
	r := readJSON[job.CANResult](t, out+"/a/can.json")
	assert.Equal(t, 24, r.Prompts)
	require.Len(t, r.Solutions, 1)
	assert.Less(t, r.Solutions[0].Safety.Low, r.Solutions[0].Safety.Mean)
	assert.Len(t, r.Curve, 8)
	assert.Contains(t, r.Notes[0], "6 completions per prompt: below 100")
	assert.False(t, r.HeldOut)
	pairs := rowsOf[struct {
		PromptIDs   []int   `json:"prompt_ids"`
		ChosenIDs   []int   `json:"chosen_ids"`
		RejectedIDs []int   `json:"rejected_ids"`
		Probability float64 `json:"probability"`
	}](t, out+"/a/pairs.jsonl")
	assert.Len(t, pairs, r.Pairs)
	for _, p := range pairs {
		assert.NotEqual(t, p.ChosenIDs, p.RejectedIDs)
		assert.True(t, p.Probability > 0 && p.Probability < 1)
	}
	assert.FileExists(t, out+"/a/reference.json")
	assert.FileExists(t, out+"/a/scorers.json")

	w.do(t, canLine+mocan+"--safety-bound 0.05 --out "+out+"/b")
	assert.Equal(t, weights(t, out+"/a"), weights(t, out+"/b"), "the same seed gives the same bytes")
	assert.Equal(t, read(t, out+"/a/can.json"), read(t, out+"/b/can.json"))

	// As if killed in the middle of the second chunk, and then again after the alignment.
	file := storedIn(t, out+"/b", "reference")
	rows := strings.SplitAfter(read(t, file), "\n")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(rows[:7], "")+rows[7][:40]), 0o644))
	for _, name := range []string{"can.json", "done.json", "model.safetensors", "pairs.jsonl", "samples/" + filepath.Base(storedIn(t, out+"/b", "measured"))} {
		require.NoError(t, os.Remove(filepath.Join(out, "b", name)))
	}
	w.do(t, canLine+mocan+"--safety-bound 0.05 --resume --out "+out+"/b")
	for _, name := range []string{"can.json", "pairs.jsonl", "model.safetensors", "samples/" + filepath.Base(file)} {
		assert.Equal(t, read(t, filepath.Join(out, "a", name)), read(t, filepath.Join(out, "b", name)), name)
	}
	require.NoError(t, os.Remove(storedIn(t, out+"/b", "measured")))
	w.do(t, canLine+mocan+"--safety-bound 0.05 --resume --out "+out+"/b")
	assert.Equal(t, read(t, out+"/a/can.json"), read(t, out+"/b/can.json"))
	code, _, errs := salsa(t, newRootCmd(), w.args(canLine+mocan+"--safety-bound 0.06 --resume --quiet --out "+out+"/b")...)
	assert.Equal(t, fault.ExitInput, code)
	assert.Contains(t, errs, "safety_bound 0.05 and is now resumed with 0.06")
}

func TestCANBoundsWithoutTraining(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	shared := " --samples-dir " + out + "/scored "
	last := w.do(t, canLine+mocan+"--dual-only --safety-target -9,0.5,0.9 --out "+out+"/a"+shared)
	assert.Zero(t, last["can/lambda@-9"], "a bound that holds anyway")
	assert.NoFileExists(t, out+"/a/model.safetensors")
	files, err := filepath.Glob(out + "/scored/*.jsonl")
	require.NoError(t, err)
	require.Len(t, files, 1)
	made, err := os.Stat(files[0])
	require.NoError(t, err)
	w.do(t, canLine+mocan+"--dual-only --safety-bound 0,9 --out "+out+"/b"+shared)
	again, err := os.Stat(files[0])
	require.NoError(t, err)
	assert.Equal(t, made.ModTime(), again.ModTime(), "the completions were drawn once")
	r := readJSON[job.CANResult](t, out+"/b/can.json")
	require.Len(t, r.Solutions, 2)
	assert.Contains(t, r.Solutions[1].Infeasible, "cannot be reached")
	assert.Nil(t, r.Solutions[1].Point)
	assert.InDelta(t, r.Curve[4].Safety-r.Solutions[0].Target, r.Curve[4].Slope, 1e-12, "the curve is of the bound that can be reached")

	code, _, errs := salsa(t, newRootCmd(), w.args(canLine+mocan+"--safety-bound 9 --quiet --out "+out+"/c"+shared)...)
	assert.Equal(t, fault.ExitInput, code)
	assert.Contains(t, errs, "safety bound 9: safety ")
	assert.Contains(t, errs, "lower the bound below that, or draw more samples")
}

func TestPeCANAndHeldOutPrompts(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	last := w.do(t, canLine+"--mode pecan --reward-policy @base --safety-policy @sft2 --safety-bound 0.1 --holdout 0.3 --reference @sft1,@base@.9,.1 --out "+out+"/a")
	assert.Positive(t, last["can/lambda"])
	assert.InDelta(t, last["can/reference_safety"]+0.1/0.5, last["can/predicted_safety"], 1e-9, "b/β above the reference's mean log-ratio")
	r := readJSON[job.CANResult](t, out+"/a/can.json")
	assert.True(t, r.HeldOut)
	assert.Equal(t, "pecan", r.Mode)
	assert.Less(t, r.Prompts, 24)
	assert.NotEmpty(t, storedIn(t, out+"/a", "held"))
}

func TestCANRefusals(t *testing.T) {
	w := theWorld()
	for line, want := range map[string]string{
		mocan: "give --safety-bound B",
		mocan + "--safety-bound 1 --safety-target 1":                                 "say the same in two ways",
		mocan + "--safety-bound 0,1":                                                 "2 bounds and one alignment",
		mocan + "--safety-bound NaN":                                                 "is not a finite number",
		mocan + "--safety-bound 0 --reward-policy @sft1":                             "--reward-policy has no meaning in --mode mocan",
		"--reward-model @rm --safety-bound 0":                                        "--mode mocan needs --safety-model; give it the folder of a model",
		"--mode pecan --reward-policy @sft1 --safety-bound 0":                        "--mode pecan needs --safety-policy",
		"--mode pecan --reward-policy @sft1 --safety-policy @sft2 --safety-target 0": "log-ratios lack",
		"--reward-model @rm --safety-model @sft1 --safety-bound 0":                   "sft1",
		"--reward-model gold:x --safety-model @rm --safety-bound 0":                  "there is no exact score \"x\"",
		mocan + "--safety-bound 0 --samples 1":                                       "samples",
		mocan + "--safety-bound 0 --max-new-tokens 4000":                             "leaves no room",
		mocan + "--safety-bound 0 --samples-dir @sft1/config.json/x":                 "files cannot be made there: not a directory; choose a writable folder",
		mocan + "--safety-bound 0 --cache-dir @sft1/config.json":                     "--cache-dir",
		"--reward-model @rm":                                                         "--mode mocan needs --safety-model; give it the folder of a model\nsalsa: give --safety-bound B",
	} {
		out := t.TempDir() + "/o"
		code, _, errs := salsa(t, newRootCmd(), w.args(canLine+line+" --quiet --out "+out)...)
		assert.Equal(t, fault.ExitInput, code, line)
		assert.Contains(t, errs, want)
		assert.NoFileExists(t, out+"/run.yaml", "a refused command can be given again")
	}
}

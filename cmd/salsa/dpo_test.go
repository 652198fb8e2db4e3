package main

// salsa dpo from the command line: every loss, soups as reference, the shared cache, resumed runs, refusals.

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/trainers"
)

// dpoFixture is a folder with pairs, two models of one shape, and what `salsa dpo` needs to be told of them.
type dpoFixture struct{ dir, model, other, pairs string }

func newDPOFixture(t *testing.T) dpoFixture {
	t.Helper()
	dir := t.TempDir()
	f := dpoFixture{dir: dir, model: filepath.Join(dir, "a"), other: filepath.Join(dir, "b"), pairs: filepath.Join(dir, "pairs.jsonl")}
	const golden = "../../trainers/testdata/"
	for to, from := range map[string]string{
		"a/config.json": "llama/config.json", "a/model.safetensors": "llama/model.safetensors",
		"b/config.json": "llama/config.json", "b/model.safetensors": "sft/final.safetensors",
	} {
		raw, err := os.ReadFile(golden + from)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, to), raw, 0o644))
	}
	rows := `{"prompt_ids":[1,32,50],"chosen_ids":[51,19,27,8,2],"rejected_ids":[13,20,34,2]}
{"prompt_ids":[1,29],"chosen_ids":[54,6,2],"rejected_ids":[61,65,61,52,2]}
{"prompt_ids":[1,54,14],"chosen_ids":[5,37,2],"rejected_ids":[5,51,17,2]}
{"prompt_ids":[1],"chosen_ids":[15,11,2],"rejected_ids":[33,2]}
`
	require.NoError(t, os.WriteFile(f.pairs, []byte(rows), 0o644))
	return f
}

// run calls `salsa dpo` on the first model with one thread and returns its final scalars.
func (f dpoFixture) run(t *testing.T, out string, args ...string) (scalars map[string]float64, code int, stderr string) {
	t.Helper()
	all := append([]string{"dpo", "--model", f.model, "--data", f.pairs, "--out", filepath.Join(f.dir, out), "--json", "--threads", "1",
		"--batch-size", "2", "--epochs", "2", "--learning-rate", "0.001"}, args...)
	code, stdout, stderr := salsaAloud(t, all...)
	if code == 0 {
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &scalars))
	}
	return scalars, code, stderr
}

// result are the scalars that do not depend on the clock.
func result(scalars map[string]float64) map[string]float64 {
	for _, key := range []string{"s_per_step", "tokens_per_s", "peak_rss_mb"} {
		delete(scalars, key)
	}
	return scalars
}

func TestDPOAllLosses(t *testing.T) {
	f := newDPOFixture(t)
	free := map[string]bool{"hinge": true, "slic": true, "cpo": true, "simpo": true}
	for _, loss := range trainers.PairLossNames() {
		args := []string{"--loss", loss, "--eval-data", f.pairs}
		if !free[loss] {
			args = append(args, "--reference", f.model)
		}
		scalars, code, stderr := f.run(t, loss, args...)
		require.Zero(t, code, "%s: %s", loss, stderr)
		for _, key := range []string{"loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen",
			"logps/rejected", "entropy", "grad_norm", "learning_rate", "eval_loss", "eval_rewards/accuracies"} {
			assert.Contains(t, scalars, key, loss)
		}
		assert.FileExists(t, filepath.Join(f.dir, loss, "model.safetensors"))
		pin := filepath.Join(f.dir, loss, "reference.json")
		if free[loss] {
			assert.NoFileExists(t, pin)
		} else {
			assert.FileExists(t, pin)
		}
	}
}

// A second run with the same reference and pairs reads the numbers of the first, and so does a soup with all weight on
// one member; another soup does not.
func TestDPOSharesTheReference(t *testing.T) {
	f := newDPOFixture(t)
	cache := filepath.Join(f.dir, "cache")
	files := func() int {
		entries, err := os.ReadDir(cache)
		require.NoError(t, err)
		return len(entries)
	}
	soup := f.model + "," + f.other
	first, code, stderr := f.run(t, "o1", "--reference", soup, "--cache-dir", cache)
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, "reference 4/4")
	again, code, stderr := f.run(t, "o2", "--reference", soup+"@.5,.5", "--cache-dir", cache)
	require.Zero(t, code, stderr)
	assert.NotContains(t, stderr, "reference 4/4", "computed again")
	assert.Equal(t, result(first), result(again))
	assert.Equal(t, 1, files())
	_, code, stderr = f.run(t, "o3", "--reference", soup+"@.4,.6", "--cache-dir", cache)
	require.Zero(t, code, stderr)
	assert.Equal(t, 2, files())

	alone, code, stderr := f.run(t, "o4", "--reference", f.other)
	require.Zero(t, code, stderr)
	whole, code, stderr := f.run(t, "o5", "--reference", soup+"@0,1")
	require.Zero(t, code, stderr)
	assert.Equal(t, result(alone), result(whole), "a soup of one member is that member")
	assert.DirExists(t, filepath.Join(f.dir, "o5", "cache"))
}

// A resumed run may not go on against another reference, nor with other settings of the loss.
func TestDPOResumesAgainstTheSameReference(t *testing.T) {
	f := newDPOFixture(t)
	args := []string{"--reference", f.other, "--save-every", "1"}
	want, code, stderr := f.run(t, "o", args...)
	require.Zero(t, code, stderr)
	out := filepath.Join(f.dir, "o")
	require.NoError(t, os.Remove(filepath.Join(out, "done.json"))) // as if killed while it published the model
	got, code, stderr := f.run(t, "o", append(args, "--resume")...)
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, "resuming after step")
	assert.Equal(t, result(want), result(got))

	_, code, stderr = f.run(t, "o", append(args, "--resume", "--beta", "0.3")...)
	assert.Equal(t, fault.ExitInput, code)
	assert.Contains(t, stderr, "started with beta 0.1 and is now resumed with 0.3")
	raw, err := os.ReadFile(filepath.Join(f.model, "model.safetensors"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(f.other, "model.safetensors"), raw, 0o644))
	_, code, stderr = f.run(t, "o", append(args, "--resume")...)
	assert.Equal(t, fault.ExitInput, code)
	assert.Contains(t, stderr, "has changed since the run began")
}

func TestDPORefusals(t *testing.T) {
	f := newDPOFixture(t)
	same := filepath.Join(f.dir, "same.jsonl")
	rows := `{"prompt_ids":[1],"chosen_ids":[7,2],"rejected_ids":[8,2]}` + "\n" + `{"prompt_ids":[1],"chosen_ids":[7,2],"rejected_ids":[7,2]}` + "\n"
	require.NoError(t, os.WriteFile(same, []byte(rows), 0o644))
	lone := filepath.Join(f.dir, "lone.jsonl")
	require.NoError(t, os.WriteFile(lone, []byte(`{"prompt_ids":[1],"completion_ids":[7,2]}`+"\n"), 0o644))
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "--reference is required by --loss sigmoid; give the model that training starts from"},
		{[]string{"--reference", "nope"}, "nope"},
		{[]string{"--reference", f.model + ",@"}, "folder"},
		{[]string{"--reference", f.model, "--beta", "0"}, "beta 0: at 0 the loss teaches nothing"},
		{[]string{"--reference", f.model, "--loss", "robust", "--label-smoothing", "0.5"}, "label_smoothing 0.5"},
		{[]string{"--reference", f.model, "--loss", "alpha", "--alpha", "1"}, "alpha 1: must lie between 0 and 1"},
		{[]string{"--reference", f.model, "--loss", "rpo", "--eta", "-1"}, "eta -1"},
		{[]string{"--reference", f.model, "--loss", "sigmod"}, "did you mean `sigmoid`?"},
		{[]string{"--reference", f.model, "--data", same}, "same.jsonl:2: the chosen and the rejected completion are the same tokens"},
		{[]string{"--reference", f.model, "--data", lone}, "lone.jsonl:1: prompt and completion where a preference is needed"},
	} {
		_, code, stderr := f.run(t, "o", c.args...)
		assert.Equal(t, fault.ExitInput, code, c.want)
		assert.Contains(t, stderr, c.want)
		assert.NoFileExists(t, filepath.Join(f.dir, "o", "run.yaml"), "a refused command can be given again")
	}
	_, code, stderr := f.run(t, "o", "--reference", f.model, "--data", same, "--identical", "drop", "--label-smoothing", ".1")
	require.Zero(t, code, stderr)
	assert.Contains(t, stderr, "training pairs: 1 dropped because both completions are the same")
	assert.Contains(t, stderr, "note: --label-smoothing has no effect on --loss sigmoid; cdpo, robust read it")
	_, code, stderr = f.run(t, "o2", "--loss", "simpo", "--reference", f.model)
	require.Zero(t, code, stderr)
	assert.Contains(t, stderr, "note: --loss simpo compares with no reference; --reference is not read")
}

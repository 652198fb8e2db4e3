package main

// --profile: in the run folder, of a stage, and of a run that is refused.

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/profile"
)

func TestProfile(t *testing.T) {
	w := theWorld()
	out := filepath.Join(t.TempDir(), "run")
	line := "ppo --model @sft1 --reference @sft1 --reward-model @rm --max-steps 4 --batch-size 4 --max-new-tokens 3 --save-every 2 --device cpu --out " + out +
		" --profile " + out + "/profile --data "
	code, _, errs := salsa(t, newRootCmd(), w.args(line+"@nothing.jsonl")...)
	require.Equal(t, 2, code, errs)
	require.NoDirExists(t, out+"/profile", "or the command could not be given again")
	code, _, errs = salsa(t, newRootCmd(), w.args(line+"@prompts.jsonl")...)
	require.Equal(t, 0, code, errs)
	report := readJSON[profile.Report](t, filepath.Join(out, "profile", profile.ReportFile))
	for name, count := range map[string]int{profile.Generate: 4, profile.Score: 4, profile.Values: 4, profile.Update: 16, profile.Optimizer: 16,
		profile.Metrics: 4, profile.Checkpoint: 2} {
		assert.Equal(t, count, report.Of(name).Count, name)
	}
	assert.Positive(t, report.Of(profile.Load).Count)
	assert.Positive(t, report.Of(profile.Data).Count)
	assert.Positive(t, report.Tokens)
	assert.Positive(t, report.Of(profile.Generate).Tokens)
}

func TestProfileOfAStage(t *testing.T) {
	w := theWorld()
	path := put(t, "profiled.yaml", `name: profiled
vars: {world: "", to: ""}
stages:
  - name: sft
    kind: sft
    with: {model: "${world}/base", data: "${world}/data/sft.jsonl", max_steps: 1, batch_size: 2, quiet: true, profile: "${to}"}
`)
	dir := filepath.Dir(path)
	code, _, errs := salsa(t, newRootCmd(), "run", path, "--var", "world="+w.dir, "--var", "to="+dir+"/profile", "--out", dir+"/out")
	require.Equal(t, 0, code, errs)
	report := readJSON[profile.Report](t, filepath.Join(dir, "profile", profile.ReportFile))
	assert.Equal(t, 1, report.Of(profile.Update).Count)
}

func TestProfilesOfStagesAreApart(t *testing.T) {
	w := theWorld()
	path := put(t, "profiled.yaml", `name: profiled
stages:
  - name: sft
    kind: sft
    seeds: [1, 2]
    with: {model: "`+w.dir+`/base", data: "`+w.dir+`/data/sft.jsonl", max_steps: 1, batch_size: 2, quiet: true}
`)
	dir := filepath.Dir(path)
	line := []string{"run", path, "--out", dir + "/out", "--set"}
	code, _, errs := salsa(t, newRootCmd(), append(line, "sft.profile="+dir+"/p")...)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "profiled.yaml:3: stages sft-seed1 and sft-seed2 would write their profiles into the same folder "+dir+"/p; ")
	code, _, errs = salsa(t, newRootCmd(), append(line, "sft.profile="+dir+"/p/${seed}")...)
	require.Equal(t, 0, code, errs)
	assert.FileExists(t, filepath.Join(dir, "p", "1", profile.ReportFile))
	assert.FileExists(t, filepath.Join(dir, "p", "2", profile.ReportFile))
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/demo"
	"salsa/internal/fault"
	"salsa/internal/options"
	"salsa/internal/recipe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const tinyModel = "../../models/testdata/llama-gqa"

func TestInspectCommand(t *testing.T) {
	for _, args := range [][]string{{"inspect", tinyModel}, {"inspect", "--dir", tinyModel}} {
		code, out, errs := salsa(t, newRootCmd(), args...)
		assert.Equal(t, 0, code, errs)
		assert.Contains(t, out, "19,808")
	}
	code, out, errs := salsa(t, newRootCmd(), "inspect", tinyModel, "--json")
	assert.Equal(t, 0, code, errs)
	var got struct {
		Model struct{ Parameters int }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.Equal(t, 19808, got.Model.Parameters)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"inspect"}, "salsa: --dir is required"},
		{[]string{"inspect", tinyModel, tinyModel}, "salsa: one --dir, and 2 are given"},
		{[]string{"inspect", "nowhere"}, "salsa: nowhere: cannot be looked up"},
	} {
		code, out, errs := salsa(t, newRootCmd(), c.args...)
		assert.Equal(t, 2, code, errs)
		assert.Empty(t, out)
		assert.Contains(t, errs, c.want)
	}
}

func TestDoctorCommand(t *testing.T) {
	code, out, errs := salsa(t, newRootCmd(), "doctor", "--device", "cpu", "--json")
	assert.Equal(t, 0, code, errs)
	var got struct {
		Salsa, Libtorch string
		Tests           []struct{ OK bool } `json:"self_tests"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.Equal(t, version(), got.Salsa)
	assert.NotEmpty(t, got.Libtorch)
	require.Len(t, got.Tests, 4)
	code, _, errs = salsa(t, newRootCmd(), "doctor", "--device", "tpu")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "--device tpu: want auto, cpu, cuda or cuda:N")
}

func TestDataCheckCommand(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, demo.WriteBaseConfig(dir))
	rows := filepath.Join(dir, "rows.jsonl")
	require.NoError(t, os.WriteFile(rows, []byte(`{"prompt":"hot","completion":" chili"}`+"\n"+`{"prompt_ids":[1],"completion_ids":[99999]}`+"\n"), 0o644))
	code, out, errs := salsa(t, newRootCmd(), "data", "check", "--model", dir, "--data", rows)
	assert.Equal(t, 2, code)
	assert.Contains(t, out, "unusable rows                   1\n")
	assert.NotContains(t, out, "\x1b[", "no colours but on a terminal")
	assert.Contains(t, errs, "salsa: 1 of 2 rows cannot be used")
	code, _, errs = salsa(t, newRootCmd(), "data", "chek")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "did you mean `check`?")
}

func TestChatCommandRefuses(t *testing.T) {
	code, out, errs := salsa(t, newRootCmd(), "chat", "--model", tinyModel, "--device", "cpu")
	assert.Equal(t, 2, code)
	assert.Empty(t, out)
	assert.Contains(t, errs, "holds no tokenizer")
}

func TestPlanCommand(t *testing.T) {
	code, out, errs := salsa(t, newRootCmd(), "plan", "ppo", "--model", tinyModel, "--reference", tinyModel, "--reward-model", tinyModel,
		"--max-length", "10", "--max-new-tokens", "9", "--device", "cpu", "--json")
	assert.Equal(t, 0, code, errs)
	var got struct {
		Peak  int64 `json:"peak_bytes"`
		Roles []struct{ Parameters int }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.Greater(t, got.Peak, int64(1<<20))
	require.NotEmpty(t, got.Roles)
	assert.Equal(t, 19808, got.Roles[0].Parameters)
	code, out, errs = salsa(t, newRootCmd(), "plan", "sft", "--from-config", tinyModel, "--device", "cpu")
	assert.Equal(t, 0, code, errs)
	assert.Contains(t, out, "in phase ")
	code, out, errs = salsa(t, newRootCmd(), "plan", "sft", "--from-config", tinyModel, "--device", "cuda:7")
	assert.Equal(t, 0, code, "the GPU that is planned for need not be here: %s", errs)
	assert.Contains(t, out, "it is the GPU's memory that this takes")
	code, _, errs = salsa(t, newRootCmd(), "plan", "ppo", "--device", "cpu")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "--model is required")
}

// Whatever trains can be planned: as a command, and as a stage of a recipe.
func TestEveryTrainerIsPlanned(t *testing.T) {
	known := planners()
	for name, kind := range stageKinds() {
		if options.Of(kind.options()).Has("learning_rate") {
			assert.Contains(t, known, name)
		}
	}
	code, out, errs := salsa(t, newRootCmd(), "plan", "rloo", "--model", tinyModel, "--reference", tinyModel, "--reward-model", "gold:salsa", "--max-new-tokens", "8", "--device", "cpu")
	assert.Equal(t, 0, code, errs)
	assert.Contains(t, out, "salsa rloo in float32")
	assert.NotContains(t, out, "value network")
	code, _, errs = salsa(t, newRootCmd(), "plan", "apa", "--model", tinyModel, "--reference", tinyModel, "--reward-model", "gold:salsa", "--max-new-tokens", "8", "--device", "cpu")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "give --value-model")
}

// --set for all stages reaches those whose method or form reads the key, and no others.
func TestWildcardSetsReadersOnly(t *testing.T) {
	model, err := filepath.Abs(tinyModel)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "r.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(`name: wild
vars: {form: direct}
stages:
  - {name: mixed, kind: soup, with: {members: "MODEL,MODEL"}}
  - {name: joint, kind: aihf, with: {model: MODEL, reference: MODEL, form: "${form}", demos: "${recipe_dir}/r.yaml", data: "${recipe_dir}/r.yaml"}}
  - {name: rloo, kind: rloo, with: {model: MODEL, reference: MODEL, reward_model: MODEL, data: "${recipe_dir}/r.yaml"}}
`, "MODEL", model)), 0o644))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	set := func(form, set string) (map[string]string, error) {
		p, err := recipe.Load(file, data, recipe.Params{Vars: []string{"form=" + form}, Sets: []string{set}, Kinds: defaultsOf(stageKinds())})
		if err != nil {
			return nil, err
		}
		got := map[string]string{}
		_, key, _ := strings.Cut(set, ".")
		key, _, _ = strings.Cut(key, "=")
		for _, s := range p.Stages {
			got[s.Name], _ = options.Of(s.Options).Get(key)
		}
		return got, nil
	}
	direct, err := set("direct", "*.max_new_tokens=7")
	require.NoError(t, err)
	assert.Equal(t, "7", direct["rloo"])
	assert.NotEqual(t, "7", direct["mixed"])
	assert.NotEqual(t, "7", direct["joint"])
	self, err := set("self-play", "*.max_new_tokens=7")
	require.NoError(t, err)
	assert.Equal(t, "7", self["joint"])
	_, err = set("direct", "joint.max_new_tokens=7")
	assert.ErrorContains(t, err, "--max-new-tokens is not read by --form direct", "a stage that is named is told")
	_, err = set("direct", "*.probe_radii=0.5")
	assert.ErrorContains(t, err, "no stage reads probe_radii")
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
}

// A dry run tells the memory of every stage that trains, once its models or those of their shape are there.
func TestDryRunPlansOnlineStages(t *testing.T) {
	model, err := filepath.Abs(tinyModel)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "r.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(`name: online
stages:
  - {name: start, kind: sft, with: {model: MODEL, data: "${recipe_dir}/r.yaml"}}
  - {name: rm, kind: reward, with: {model: "${stage:start}", data: "${recipe_dir}/r.yaml"}}
  - {name: rloo, kind: rloo, with: &online {model: "${stage:start}", reference: "${stage:start}", reward_model: "${stage:rm}", data: "${recipe_dir}/r.yaml", max_new_tokens: 8}}
  - {name: grpo, kind: grpo, with: *online}
  - {name: xpo, kind: xpo, with: *online}
  - {name: apa, kind: apa, with: *online}
  - {name: inverse-q, kind: inverse-q, with: {<<: *online, guide: "${stage:start}"}}
  - {name: aihf, kind: aihf, with: {<<: *online, form: alternate, demos: "${recipe_dir}/r.yaml"}}
  - {name: rso, kind: rso, with: {model: "${stage:start}", reward_model: "${stage:rm}", data: "${recipe_dir}/r.yaml", max_new_tokens: 8}}
  - {name: can, kind: can, with: {mode: pecan, model: "${stage:start}", reward_policy: "${stage:rso}", safety_policy: "${stage:xpo}", safety_bound: 0, data: "${recipe_dir}/r.yaml", max_new_tokens: 8}}
`, "MODEL", model)), 0o644))
	code, out, errs := salsa(t, newRootCmd(), "run", file, "--dry-run", "--out", t.TempDir()+"/none")
	require.Equal(t, 0, code, errs)
	_, memory, _ := strings.Cut(out, "memory, at most:")
	for _, stage := range []string{"rloo", "grpo", "xpo", "apa", "inverse-q", "aihf", "rso", "can"} {
		assert.Regexp(t, `(?m)^  `+stage+` +[0-9.]+ [MG]iB in phase `, memory)
	}
	assert.NotContains(t, memory, "not known")

	code, out, errs = salsa(t, newRootCmd(), "run", filepath.Join("..", "..", "recipes", "methods.yaml"), "--dry-run", "--out", t.TempDir()+"/none")
	require.Equal(t, 0, code, errs)
	assert.Regexp(t, `memory, at most:\n  of [0-9]+ training stages not known before the stages that they need have run\n$`, out)
}

package main

// The comparison of methods as a recipe: a grid, the choice among its runs, final runs with what was chosen, and the
// table.

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/recipe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const tunedRecipe = `name: tuned
vars: {world: }
tuning:
  seed: 9
  with: {by: gold, gold: salsa, data: "${world}/data/prompts-train.jsonl", max_prompts: 4, samples: 2, max_new_tokens: 4, quiet: true}
stages:
  - name: ppo
    kind: ppo
    seeds: [1, 2]
    tune: {kl_coef: [0.01, 5]}
    with: &ppo
      model: "${world}/sft1"
      reference: "${world}/sft1"
      reward_model: "${world}/rm"
      data: "${world}/data/prompts-train.jsonl"
      max_steps: 1
      batch_size: 4
      max_new_tokens: 4
      learning_rate: 0.01
      watch_kl: false
      quiet: true
  - name: dpo
    kind: dpo
    seeds: [1, 2]
    tune: {beta: [0.1, 0.5]}
    with: {model: "${world}/sft1", reference: "${world}/sft1", data: "${world}/pairs.jsonl", max_steps: 1, batch_size: 4, learning_rate: 0.01, quiet: true}
  - name: eval
    kind: eval
    with:
      models: ["${world}/sft1", "${tuned}"]
      reward_model: "${world}/rm"
      gold: salsa
      safety: salsa-safety
      kl_to: "${world}/sft1"
      data: "${world}/data/prompts-eval.jsonl"
      max_prompts: 4
      samples: 2
      max_new_tokens: 4
      quiet: true
  - {name: compare, kind: compare, with: {eval: "${stage:eval}", choices: "${choices}", offline_samples: 8}}
`

func TestTunedMethodsAreCompared(t *testing.T) {
	w, out := theWorld(), t.TempDir()+"/run"
	path := put(t, "tuned.yaml", tunedRecipe)
	run := func() string {
		code, _, errs := salsa(t, newRootCmd(), "run", path, "--var", "world="+w.dir, "--out", out)
		require.Equal(t, 0, code, errs)
		return errs
	}
	errs := run()
	assert.Contains(t, errs, "report: "+filepath.Join(out, "stages", "compare", "report.html"))
	table, err := os.ReadFile(filepath.Join(out, "stages", "compare", "compare.md"))
	require.NoError(t, err)
	for _, name := range []string{"ppo", "dpo"} {
		choice, err := recipe.ReadChoice(filepath.Join(out, "stages", name+"-choice"))
		require.NoError(t, err)
		best := choice.Candidates[0]
		if c := choice.Candidates[1]; c.Mean > best.Mean {
			best = c
		}
		assert.Equal(t, best.Name, choice.Chosen)
		key := map[string]string{"ppo": "kl_coef", "dpo": "beta"}[name]
		raw, err := os.ReadFile(filepath.Join(out, "stages", name+"-seed2", "run.yaml"))
		require.NoError(t, err)
		assert.Contains(t, string(raw), fmt.Sprintf("\n%s: %s\n", key, choice.Values[key]))
		assert.Contains(t, string(table), fmt.Sprintf("%s %s of ", key, choice.Values[key]))
	}
	assert.Regexp(t, `\| ppo 2 seeds \| .* \| 4 \| `, string(table))
	assert.Regexp(t, `\| dpo 2 seeds \| .* \| 8 offline \| `, string(table))
	assert.Contains(t, string(table), "| Exact safety |")
	assert.Contains(t, run(), "0 run, 12 skipped")
}

// The recipes beside the program are whole: they load, and their plan can be shown.
func TestRecipesCanBePlanned(t *testing.T) {
	for file, want := range map[string]string{
		"methods.yaml":             "would run unless it is done with what will be chosen",
		"methods-tinystories.yaml": "compare",
		"tinystories.yaml":         "report",
	} {
		args := []string{"run", filepath.Join("..", "..", "recipes", file), "--dry-run", "--out", t.TempDir() + "/none"}
		if strings.Contains(file, "tinystories") {
			data := filepath.Join("..", "..", "..", "shared", "data")
			if _, err := os.Stat(data); err != nil {
				t.Logf("%s is not planned: %v", file, err)
				continue
			}
			args = append(args, "--var", "data="+data)
		}
		code, out, errs := salsa(t, newRootCmd(), args...)
		require.Equal(t, 0, code, errs)
		assert.Contains(t, out, want)
	}
}

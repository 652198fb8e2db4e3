package main

// --memory-budget from the command line and in a recipe.

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"salsa/internal/fault"
	"salsa/internal/job"
	"salsa/internal/options"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const budgetConfig = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":4096,"hidden_size":256,"intermediate_size":1024,
"num_hidden_layers":6,"num_attention_heads":4,"num_key_value_heads":4,"max_position_embeddings":256,"eos_token_id":2,"torch_dtype":"float32"}`

func TestBudget(t *testing.T) {
	dir := filepath.Dir(put(t, "config.json", budgetConfig))
	data := put(t, "rows.jsonl", `{"prompt_ids":[3,4],"completion_ids":[5,6]}`+"\n")
	plan := []string{"plan", "sft", "--from-config", dir, "--device", "cpu", "--batch-size", "16", "--memory-budget"}
	code, out, errs := salsaAloud(t, append(plan, "400MB")...)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "salsa: --memory-budget 400MB: --gradient-checkpointing --micro-batch-size 8; predicted peak ")
	assert.Contains(t, out, "peak ")
	code, _, errs = salsaAloud(t, append(plan, "4GB")...)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "salsa: --memory-budget 4GB: no change; predicted peak ")
	code, _, errs = salsaAloud(t, append(plan, "400MB", "--gradient-checkpointing=false")...)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "salsa: --memory-budget 400MB: --micro-batch-size 2; ")
	code, _, errs = salsa(t, newRootCmd(), append(plan, "300MB", "--gradient-checkpointing=false")...)
	assert.Equal(t, fault.ExitInput, code)
	assert.Contains(t, errs, "; --gradient-checkpointing false was given and is left as it is")

	run := filepath.Join(t.TempDir(), "run")
	code, _, errs = salsa(t, newRootCmd(), "sft", "--from-config", dir, "--data", data, "--out", run, "--device", "cpu", "--memory-budget", "1MB")
	assert.Equal(t, fault.ExitInput, code)
	assert.Contains(t, errs, "--memory-budget 1MB: the least that this run is predicted to take is ")
	_, err := os.Stat(run)
	assert.ErrorIs(t, err, os.ErrNotExist, "nothing has begun")

	path := put(t, "r.yaml", "name: r\nstages:\n  - name: a\n    kind: sft\n    with: {from_config: "+dir+", data: "+data+", memory_budget: much}\n")
	code, _, errs = salsa(t, newRootCmd(), "run", path, "--out", t.TempDir()+"/out")
	assert.Equal(t, fault.ExitInput, code)
	assert.Contains(t, errs, "stage a: --memory-budget much: is no size; ")
}

// TestBudgetOfAll: every command that can be planned takes a budget.
func TestBudgetOfAll(t *testing.T) {
	for _, k := range plannedKinds() {
		o := stageKinds()[k.name].options()
		require.NoError(t, options.Of(o).Set("memory_budget", "1kB", "test"), k.name)
		err := job.FitMemory(context.Background(), o, nil)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err), k.name) // its plan is made, and there is no model
	}
}

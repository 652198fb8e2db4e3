package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"salsa/internal/demo"

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
	code, _, errs = salsa(t, newRootCmd(), "plan", "ppo", "--device", "cpu")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "--model is required")
}

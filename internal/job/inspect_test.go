package job_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/job"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testdata = "../../models/testdata/"

func inspect(t *testing.T, dir string) *job.Inspection {
	t.Helper()
	r, err := job.Inspect(context.Background(), &job.InspectOptions{Dir: dir})
	require.NoError(t, err)
	return r
}

// TestInspectGoldens holds tensors and parameter counts to what PyTorch says of the same folders, with weights and
// from config.json alone.
func TestInspectGoldens(t *testing.T) {
	files, err := filepath.Glob(testdata + "*/golden.json")
	require.NoError(t, err)
	require.Greater(t, len(files), 15)
	for _, file := range files {
		dir := filepath.Dir(file)
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var want struct {
			Parameters   int64
			Architecture string
			Tensors      []job.TensorFacts
		}
		require.NoError(t, json.Unmarshal(raw, &want))
		got := inspect(t, dir).Model
		assert.Equal(t, want.Parameters, got.Parameters, dir)
		assert.Equal(t, want.Architecture, got.Architecture)
		assert.True(t, got.HasWeights)
		require.Len(t, got.Tensors, len(want.Tensors), dir)
		sum := int64(0)
		for i, tensor := range got.Tensors {
			sum += tensor.Bytes
			tensor.Bytes = 0 // golden.json does not tell
			assert.Equal(t, want.Tensors[i], tensor, dir)
		}
		assert.Equal(t, sum, got.Stored)
		sum = 0
		for _, p := range got.Parts {
			sum += p.Parameters
		}
		assert.Equal(t, want.Parameters, sum, "%s: every weight belongs to a part", dir)

		alone := t.TempDir()
		copyFile(t, filepath.Join(dir, "config.json"), filepath.Join(alone, "config.json"))
		declared := inspect(t, alone).Model
		assert.False(t, declared.HasWeights)
		assert.Zero(t, declared.Stored)
		assert.Equal(t, got.Parts, declared.Parts, dir)
		require.Len(t, declared.Tensors, len(got.Tensors), dir)
		for i := range got.Tensors {
			got.Tensors[i].File = ""
			assert.Equal(t, got.Tensors[i].Name, declared.Tensors[i].Name)
			assert.Equal(t, got.Tensors[i].Shape, declared.Tensors[i].Shape)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, raw, 0o644))
}

func TestInspectText(t *testing.T) {
	var b strings.Builder
	require.NoError(t, inspect(t, testdata+"mistral-window").WriteText(&b))
	for _, want := range []string{"MistralForCausalLM", "5 tokens in 2 of 2 layers", "19,808: embedding 2,144", "lm_head.weight ",
		"[67 32]  8.38 KiB  model.safetensors", "tokenizer      none", "chat template  no", "stop ids       2\n"} {
		assert.Contains(t, b.String(), want)
	}
	b.Reset()
	require.NoError(t, inspect(t, testdata+"gemma2-softcap").WriteText(&b))
	assert.Contains(t, b.String(), "the head is the embedding")
	assert.Regexp(t, `soft caps +attention \d+, logits \d+`, b.String())
}

// TestInspectRun damages the newer of two checkpoints.
func TestInspectRun(t *testing.T) {
	run := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(run, checkpoint.RunFile), []byte("seed: 1\n"), 0o644))
	for _, step := range []int{5, 10} {
		err := checkpoint.Commit(checkpoint.StepDir(filepath.Join(run, "checkpoints"), step), func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "weights"), []byte("0123456789"), 0o644)
		})
		require.NoError(t, err)
	}
	newer := checkpoint.StepDir(filepath.Join(run, "checkpoints"), 10)
	require.NoError(t, os.WriteFile(filepath.Join(newer, "weights"), []byte("012345678X"), 0o644))
	r := inspect(t, run)
	assert.Nil(t, r.Model)
	assert.False(t, r.Run.Finished)
	require.Len(t, r.Run.Checkpoints, 2)
	assert.Equal(t, newer, r.Run.Checkpoints[0].Dir)
	assert.False(t, r.Run.Checkpoints[0].Intact)
	assert.Contains(t, r.Run.Checkpoints[0].Reason, "SHA-256 differs")
	assert.True(t, r.Run.Checkpoints[1].Intact)
	var b strings.Builder
	require.NoError(t, r.WriteText(&b))
	assert.Contains(t, b.String(), "step-10: DAMAGED: ")
	assert.Contains(t, b.String(), "step-5: intact\n")

	one := inspect(t, newer)
	require.NotNil(t, one.Intact)
	assert.False(t, *one.Intact)
	assert.Contains(t, one.Damage, "SHA-256 differs")
}

func TestInspectDigest(t *testing.T) {
	r, err := job.Inspect(context.Background(), &job.InspectOptions{Dir: testdata + "llama-gqa", Digest: true})
	require.NoError(t, err)
	var names []string
	for _, f := range r.Files {
		names = append(names, f.Name)
		want, err := checkpoint.HashFile(testdata + "llama-gqa/" + f.Name)
		require.NoError(t, err)
		assert.Equal(t, want, f.SHA256)
		assert.Positive(t, f.Bytes)
	}
	assert.Contains(t, names, "model.safetensors")
	assert.Contains(t, names, "config.json")
}

func TestInspectTokenizer(t *testing.T) {
	dir := "../../../shared/data/tinystories-656k"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("needs ../shared/data/tinystories-656k")
	}
	m := inspect(t, dir).Model
	require.NotNil(t, m.Tokenizer)
	assert.Equal(t, 2048, m.Tokenizer.Size)
	assert.Len(t, m.Tokenizer.Hash, 64)
	assert.Equal(t, []string{"<|end_story|>"}, m.StopTokens)
	assert.Equal(t, int64(656000), m.Parameters, "a stored copy of the tied head is no parameter")
}

func TestInspectAdapter(t *testing.T) {
	m := inspect(t, testdata+"adapters/llama-score").Model
	require.NotNil(t, m.Adapter)
	assert.Equal(t, "LlamaForSequenceClassification", m.Architecture)
	assert.Equal(t, 4, m.Adapter.Rank)
	assert.Equal(t, 8.0, m.Adapter.Alpha)
	assert.Equal(t, 14, m.Adapter.Maps)
	assert.Equal(t, testdata+"llama-gqa", m.Adapter.Base)
	require.Len(t, m.Tensors, 2*14+1)
	assert.Equal(t, 4*m.Adapter.Parameters, m.Stored)
	base := inspect(t, testdata+"llama-gqa").Model
	assert.Less(t, m.Parameters, base.Parameters, "the head of one output, and no language-model head")
	var text strings.Builder
	require.NoError(t, inspect(t, testdata+"adapters/llama-score").WriteText(&text))
	assert.Contains(t, text.String(), "rank 4, alpha 8, on 14 linear maps")
}

func TestInspectRefuses(t *testing.T) {
	empty := t.TempDir()
	torn := t.TempDir()
	copyFile(t, testdata+"llama-gqa/config.json", filepath.Join(torn, "config.json"))
	copyFile(t, testdata+"mistral-score/model.safetensors", filepath.Join(torn, "model.safetensors"))
	for dir, want := range map[string]string{
		empty:                              "holds no config.json, run.yaml or manifest.json",
		torn:                               `"lm_head.weight" is missing`,
		testdata + "nowhere":               "cannot be looked up",
		testdata + "llama-gqa/config.json": "is a file",
	} {
		_, err := job.Inspect(context.Background(), &job.InspectOptions{Dir: dir})
		assert.ErrorContains(t, err, want)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
}

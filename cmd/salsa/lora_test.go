package main

// Adapters end to end: every trainer takes --lora-rank, and what it leaves is a model to all other commands.

import (
	"os"
	"path/filepath"
	"testing"

	"salsa/internal/checkpoint"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var adapterFiles = []string{"adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/tokenizer.json"}

const lora = " --lora-rank 4 --learning-rate 0.01 --batch-size 4 --save-every 2 "

func TestLoRA(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	sft := "sft --model @base --data @data/sft.jsonl --max-steps 4 --lora-dropout 0.1" + lora + "--out " + out
	w.do(t, sft+"/a")
	holdsRun(t, out+"/a", 4, append(adapterFiles, runFiles...)...)
	assert.NoFileExists(t, out+"/a/checkpoints/step-2/model.safetensors")
	w.do(t, sft+"/b --seed 3")

	t.Run("resumed", func(t *testing.T) {
		require.NoError(t, os.MkdirAll(out+"/c/checkpoints", 0o755))
		require.NoError(t, os.CopyFS(out+"/c/checkpoints/step-2", os.DirFS(out+"/a/checkpoints/step-2")))
		raw, err := os.ReadFile(filepath.Join(out, "a", checkpoint.RunFile))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(out, "c", checkpoint.RunFile), raw, 0o644))
		w.do(t, sft+"/c --resume")
		for _, name := range []string{"model.safetensors", "adapter/adapter_model.safetensors"} {
			assert.Equal(t, bytesAt(t, out+"/a/"+name), bytesAt(t, out+"/c/"+name), name)
		}
	})
	t.Run("over another base", func(t *testing.T) {
		base, dir := w.copyModel(t, "base"), t.TempDir()
		line := "sft --data @data/sft.jsonl --max-steps 1 --resume" + lora + "--model " + base + " --out " + dir + "/x"
		w.do(t, line)
		require.NoError(t, os.WriteFile(base+"/model.safetensors", weights(t, w.at("sft1")), 0o644))
		code, _, errs := salsa(t, newRootCmd(), w.args(line+" --quiet")...)
		assert.Equal(t, 2, code)
		assert.Contains(t, errs, "base.json: the base model "+base+" has changed since the run began")
	})
	t.Run("going on", func(t *testing.T) {
		w.do(t, "sft --model "+out+"/a/adapter --data @data/sft.jsonl --max-steps 1"+lora+"--out "+out+"/on")
		assert.FileExists(t, out+"/on/adapter/adapter_model.safetensors")
		w.do(t, "sft --model "+out+"/a/adapter --data @data/sft.jsonl --max-steps 1 --batch-size 4 --out "+out+"/whole")
		assert.NoDirExists(t, out+"/whole/adapter")
	})
	t.Run("soups merge first", func(t *testing.T) {
		w.do(t, "soup --out "+out+"/merged "+out+"/a "+out+"/b")
		w.do(t, "soup --out "+out+"/adapters "+out+"/a/adapter "+out+"/b/adapter")
		x, y := floats(t, out+"/merged"), floats(t, out+"/adapters")
		require.Len(t, y, len(x))
		for i := range x {
			require.InDelta(t, x[i], y[i], 1e-6)
		}
		assert.FileExists(t, out+"/adapters/tokenizer.json")
	})
	t.Run("dpo", func(t *testing.T) {
		w.do(t, "dpo --model @sft1 --reference "+out+"/a/adapter,"+out+"/b/adapter --data @pairs.jsonl --max-steps 2"+lora+"--out "+out+"/dpo")
		holdsRun(t, out+"/dpo", 2, append(adapterFiles, runFiles...)...)
	})
}

func TestLoRAPPO(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	w.do(t, "reward --model @sft1 --data @pairs.jsonl --max-steps 3"+lora+"--out "+out+"/rm")
	holdsRun(t, out+"/rm", 3, append(adapterFiles, "model.safetensors")...)
	const ppo = "ppo --model @sft1 --data @prompts.jsonl --max-steps 2 --max-new-tokens 4 --reference @sft1" + lora + "--reward-model "
	files := append(adapterFiles, "value/model.safetensors", "value/adapter/adapter_model.safetensors")
	for name, rm := range map[string]string{"merged": out + "/rm", "adapter": out + "/rm/adapter", "other trunk": "@rm"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w.do(t, ppo+rm+" --out "+dir)
			rows := holdsRun(t, dir, 2, append(files, runFiles...)...)
			assert.InDelta(t, 0, rows[0].Values["objective/kl"], 1e-6, "the reference is the policy without its adapters")
			assert.NotZero(t, rows[1].Values["objective/kl"])
		})
	}
}

func bytesAt(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return raw
}

func TestLoRAMistakes(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	w.do(t, "sft --model @base --data @data/sft.jsonl --max-steps 1"+lora+"--out "+out+"/a")
	for _, c := range []struct {
		name, line string
		want       []string
	}{
		{"no rank", "sft --model @base --data @data/sft.jsonl --lora-alpha 4", []string{"--lora-rank", "no effect"}},
		{"random weights", "sft --from-config @data/base-config --data @data/sft.jsonl --lora-rank 4", []string{"--from-config", "--lora-rank"}},
		{"target", "sft --model @base --data @data/sft.jsonl --lora-rank 4 --lora-targets q_porj", []string{"q_porj", "did you mean `q_proj`?"}},
		{"rank", "sft --model @base --data @data/sft.jsonl --lora-rank 5000", []string{"rank 5000", "lower the rank"}},
		{"other rank", "sft --model " + out + "/a/adapter --data @data/sft.jsonl --lora-rank 8", []string{"--lora-rank 8", "rank 4"}},
		{"other alpha", "sft --model " + out + "/a/adapter --data @data/sft.jsonl --lora-rank 4 --lora-alpha 3", []string{"--lora-alpha 3", "alpha 8"}},
		{"value model", "ppo --model @sft1 --reference @sft1 --reward-model @rm --value-model @rm --data @prompts.jsonl --lora-rank 4", []string{"--value-model", "adapter of"}},
		{"noise", "ppo --model @sft1 --reference @sft1 --reward-model @rm --data @prompts.jsonl --lora-rank 4 --lora-dropout 0.1", []string{"LoRA dropout 0.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, errs := salsa(t, newRootCmd(), w.args(c.line+" --quiet --out "+t.TempDir()+"/x")...)
			assert.Equal(t, 2, code, errs)
			for _, want := range c.want {
				assert.Contains(t, errs, want)
			}
		})
	}
}

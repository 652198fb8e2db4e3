package main

// The training commands as a user runs them, on a model of a hundred thousand weights: what they leave behind, and
// that the same seed leaves the same bytes.

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"salsa/internal/metrics"
	"salsa/internal/safetensors"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runFiles lie at the top of every finished run.
var runFiles = []string{"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
	"special_tokens_map.json", "run.yaml", "metrics.jsonl", "done.json"}

// holdsRun checks the layout of a run folder with n steps and returns its metrics.
func holdsRun(t *testing.T, dir string, n int, files ...string) []metrics.Row {
	t.Helper()
	for _, name := range files {
		assert.FileExists(t, filepath.Join(dir, name))
	}
	events, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	require.NoError(t, err)
	assert.Len(t, events, 1)
	rows := steps(t, dir)
	require.GreaterOrEqual(t, len(rows), n)
	for i := range n {
		assert.Equal(t, i+1, rows[i].Step)
		assert.Contains(t, rows[i].Values, "loss")
	}
	assert.Equal(t, n, readJSON[metrics.Row](t, filepath.Join(dir, "done.json")).Step)
	return rows
}

func TestSFT(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	const line = "sft --model @base --data @demos.jsonl --holdout 0.2 --max-steps 4 --batch-size 4 --learning-rate 0.01 --save-every 2 --out "
	last := w.do(t, line+out+"/a")
	for _, key := range []string{"loss", "eval_loss", "tokens_per_s", "s_per_step", "peak_rss_mb", "learning_rate", "grad_norm"} {
		assert.Contains(t, last, key)
	}
	rows := holdsRun(t, out+"/a", 4, runFiles...)
	assert.InDelta(t, rows[3].Values["loss"], last["loss"], 1e-12)
	assert.Less(t, rows[3].Values["loss"], rows[0].Values["loss"])
	assert.FileExists(t, out+"/a/checkpoints/step-2/trainer/optimizer.safetensors")

	w.do(t, line+out+"/b")
	assert.Equal(t, weights(t, out+"/a"), weights(t, out+"/b"), "same seed, same bytes")
	assert.Equal(t, steps(t, out+"/a"), steps(t, out+"/b"))
	w.do(t, "sft --config "+out+"/a/run.yaml --out "+out+"/c")
	assert.Equal(t, weights(t, out+"/a"), weights(t, out+"/c"), "run.yaml is the whole command")
	w.do(t, line+out+"/d --micro-batch-size 1 --seed 5")
	assert.NotEqual(t, weights(t, out+"/a"), weights(t, out+"/d"))
}

// A base model learns a chat format from sft --chat-template and carries it on.
func TestChatTemplate(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	chat := put(t, "chat.jsonl", `{"messages":[{"role":"user","content":"hot"},{"role":"assistant","content":" lime bean"}]}`+"\n")
	code, _, errs := salsa(t, newRootCmd(), w.args("sft --model @base --out "+out+"/no --quiet --data "+chat)...)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "chat.jsonl:1: messages (messages), but the tokenizer has no chat template")
	code, _, errs = salsa(t, newRootCmd(), w.args("sft --model @base --chat-template alpacca --out "+out+"/no --quiet --data "+chat)...)
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, `no chat template "alpacca"; choose one of alpaca, chatml`)
	w.do(t, "sft --model @base --chat-template alpaca --max-steps 2 --batch-size 1 --out "+out+"/a --data "+chat)
	assert.FileExists(t, out+"/a/chat_template.jinja")
	w.do(t, "generate --max-new-tokens 3 --model "+out+"/a --out "+out+"/g.jsonl --data "+chat)
	w.do(t, "score --model "+out+"/a --out "+out+"/s.jsonl --data "+chat)
	assert.NotEmpty(t, rowsOf[struct {
		LogProbs []float64 `json:"token_logprobs"`
	}](t, out+"/s.jsonl")[0].LogProbs)
}

// A folder without a tokenizer trains, scores and generates from rows of ids.
func TestIDsNeedNoTokenizer(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	model, rm := w.copyModel(t, "sft1"), w.copyModel(t, "rm")
	for _, dir := range []string{model, rm} {
		for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"} {
			require.NoError(t, os.Remove(filepath.Join(dir, name)))
		}
	}
	ids := put(t, "ids.jsonl", `{"prompt_ids":[0,5,6],"completion_ids":[7,8,1],"chosen_ids":[7,8,1],"rejected_ids":[9]}`+"\n"+
		`{"prompt_ids":[0,6],"completion_ids":[9,1],"chosen_ids":[9,1],"rejected_ids":[5]}`+"\n")
	w.do(t, "sft --max-steps 1 --batch-size 2 --model "+model+" --data "+ids+" --out "+out+"/sft")
	assert.NoFileExists(t, out+"/sft/tokenizer.json")
	w.do(t, "reward --max-steps 1 --batch-size 2 --model "+model+" --data "+ids+" --out "+out+"/rm")
	w.do(t, fmt.Sprintf("ppo --max-steps 1 --batch-size 2 --max-new-tokens 3 --model %s --reference %s,%s --reward-model %s --data %s --out %s",
		model, model, out+"/sft", rm, ids, out+"/ppo"))
	w.do(t, "soup --out "+out+"/soup "+model+" "+out+"/sft")
	w.do(t, "score --model "+out+"/ppo --data "+ids+" --out "+out+"/s.jsonl")
	w.do(t, "generate --max-new-tokens 3 --model "+out+"/soup --data "+ids+" --out "+out+"/g.jsonl")
	assert.Len(t, rowsOf[map[string]any](t, out+"/s.jsonl"), 2)
	assert.Len(t, rowsOf[map[string]any](t, out+"/g.jsonl"), 2)
}

func TestSoup(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	w.do(t, "soup --weights .25,.75 --out "+out+"/soup @sft1 @sft2")
	w.do(t, "soup --out "+out+"/same @sft1 @sft1")
	assert.Equal(t, floats(t, w.at("sft1")), floats(t, out+"/same"), "equal members give themselves")
	a, b, mix := floats(t, w.at("sft1")), floats(t, w.at("sft2")), floats(t, out+"/soup")
	require.Len(t, mix, len(a))
	moved := 0
	for i := range mix {
		require.Equal(t, float32(.25*float64(a[i])+.75*float64(b[i])), mix[i])
		if a[i] != b[i] {
			moved++
		}
	}
	assert.Greater(t, moved, len(mix)/2)
	for _, name := range []string{"config.json", "tokenizer.json", "generation_config.json"} {
		assert.FileExists(t, filepath.Join(out, "soup", name))
	}
}

// floats are all weights of a float32 model in the order of its file.
func floats(t *testing.T, dir string) []float32 {
	t.Helper()
	file, err := safetensors.ReadHeader(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	raw := weights(t, dir)[file.Infos[0].Begin:]
	out := make([]float32, len(raw)/4)
	for i := range out {
		out[i] = math.Float32frombits(uint32(raw[4*i]) | uint32(raw[4*i+1])<<8 | uint32(raw[4*i+2])<<16 | uint32(raw[4*i+3])<<24)
	}
	return out
}

func TestSweep(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	last := w.do(t, "soup --sweep 0:1:0.5 --eval-data @demos.jsonl --max-rows 6 --reward-model @rm --gold salsa --max-new-tokens 6 --out "+out+"/s @sft1 @sft2")
	sweep := readJSON[struct {
		Points []struct {
			Alpha, Loss, Reward, Gold float64
			KL                        map[string]float64
		}
	}](t, out+"/s/sweep.json")
	require.Len(t, sweep.Points, 3)
	assert.Equal(t, []float64{0, .5, 1}, []float64{sweep.Points[0].Alpha, sweep.Points[1].Alpha, sweep.Points[2].Alpha})
	assert.Zero(t, sweep.Points[2].KL["sft1"], "α = 1 is the first member")
	assert.Zero(t, sweep.Points[0].KL["sft2"], "α = 0 is the second")
	assert.NotZero(t, sweep.Points[1].KL["sft1"])
	assert.Equal(t, sweep.Points[1].Loss, last["loss@0.5"])
	assert.FileExists(t, out+"/s/model.safetensors", "the soup itself is written too")

	// The held-out loss at α = 1 is that of the first member, measured by other code.
	w.do(t, "sft --model @sft1 --data @demos.jsonl --eval-data @demos.jsonl --max-steps 1 --learning-rate 0 --out "+out+"/sft")
	all := w.do(t, "soup --sweep 1:1:1 --eval-data @demos.jsonl --max-new-tokens 2 --out "+out+"/one @sft1 @sft2")
	done := readJSON[metrics.Row](t, out+"/sft/done.json")
	assert.InDelta(t, done.Values["eval_loss"], all["loss@1"], 1e-6)
}

func TestReward(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	const line = "reward --model @sft1 --data @pairs.jsonl --eval-data @pairs.jsonl --max-steps 12 --batch-size 8 --learning-rate 0.005 --out "
	last := w.do(t, line+out+"/a")
	holdsRun(t, out+"/a", 12, runFiles[2:]...)
	assert.Greater(t, last["eval_accuracy"], 0.9)
	w.do(t, line+out+"/b")
	assert.Equal(t, weights(t, out+"/a"), weights(t, out+"/b"))
	config := readJSON[map[string]any](t, out+"/a/config.json")
	assert.Equal(t, []any{"LlamaForSequenceClassification"}, config["architectures"])

	w.do(t, "score --model "+out+"/a --data @pairs.jsonl --out "+out+"/r.jsonl")
	rewards := rowsOf[struct{ Reward *float64 }](t, out+"/r.jsonl")
	require.Len(t, rewards, 24)
	assert.NotNil(t, rewards[0].Reward)
}

func TestEval(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	last := w.do(t, "eval --models @sft1,@sft2 --reward-model @rm --kl-to @sft1 --gold salsa --safety salsa-safety --data @prompts.jsonl --max-prompts 5 --samples 2 --max-new-tokens 6 --out "+out+"/e")
	for _, key := range []string{"sft1/reward", "sft2/gold", "sft2/safety", "sft1/length", "sft2/kl_sft1"} {
		assert.Contains(t, last, key)
	}
	assert.Zero(t, last["sft1/kl_sft1"])
	assert.NotZero(t, last["sft2/kl_sft1"])
	file := readJSON[struct {
		Prompts []string
		Models  []struct {
			Name         string
			Reward, Gold []float64
			Text         []string
		}
	}](t, out+"/e/eval.json")
	assert.Len(t, file.Prompts, 5)
	require.Len(t, file.Models, 2)
	for _, m := range file.Models {
		assert.Len(t, m.Reward, 10)
		assert.Len(t, m.Gold, 10)
		assert.Len(t, m.Text, 10)
	}
}

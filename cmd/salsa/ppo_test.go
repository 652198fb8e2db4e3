package main

// PPO end to end: its samples can be recomputed with other commands, and a soup that is the plain reference gives
// the plain reference's run bit for bit.

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const ppoLine = "ppo --model @sft1 --reward-model @rm --data @prompts.jsonl --max-steps 3 --batch-size 8 --num-mini-batches 2 " +
	"--max-new-tokens 6 --learning-rate 0.001 --kl-coef 0.1 --sample-every 1 "

type sample struct {
	Step                                               int
	PromptIDs                                          []int `json:"prompt_ids"`
	CompletionIDs                                      []int `json:"completion_ids"`
	Text                                               *string
	LogProbs, Values, Rewards, Advantages, Returns, KL []float64
	RefLogProbs                                        []float64 `json:"ref_logprobs"`
	Score                                              float64
	ScoreRaw                                           float64 `json:"score_raw"`
	Ended                                              bool
}

// pinned is reference.json.
type pinned struct {
	Expression string
	Members    []struct {
		Dir    string
		Weight float64
		SHA256 string
	}
}

func TestPPO(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	last := w.do(t, ppoLine+"--reference @sft1,@sft2@0.3,0.7 --temperature 1 --gold salsa --out "+out+"/a")
	for _, key := range []string{"objective/kl", "objective/scores", "policy/approxkl_avg", "loss", "tokens_per_s", "s_per_step", "peak_rss_mb"} {
		assert.Contains(t, last, key)
	}
	holdsRun(t, out+"/a", 3, append(runFiles, "reference.json", "samples.jsonl", "value/config.json", "value/model.safetensors")...)

	ref := readJSON[pinned](t, out+"/a/reference.json")
	require.Len(t, ref.Members, 2)
	assert.Equal(t, 0.3, ref.Members[0].Weight)
	assert.Equal(t, w.at("sft2"), ref.Members[1].Dir)
	assert.Len(t, ref.Members[1].SHA256, 64)

	first := recompute(t, w, out+"/a")
	assert.Len(t, first, 8)
	recomputeAdvantages(t, first, 0.1)

	w.do(t, ppoLine+"--reference @sft1,@sft2@0.3,0.7 --temperature 1 --gold salsa --micro-batch-size 0 --out "+out+"/b")
	for _, name := range []string{"model.safetensors", "value/model.safetensors", "samples.jsonl"} {
		x, err := os.ReadFile(filepath.Join(out, "a", name))
		require.NoError(t, err)
		y, err := os.ReadFile(filepath.Join(out, "b", name))
		require.NoError(t, err)
		assert.Equal(t, x, y, name)
	}
	assert.Equal(t, steps(t, out+"/a"), steps(t, out+"/b"))
}

// recompute holds the first step's log-probabilities and scores to what `salsa score` says of the same ids.
func recompute(t *testing.T, w *world, dir string) []sample {
	t.Helper()
	var first []sample
	ids := ""
	for _, s := range rowsOf[sample](t, filepath.Join(dir, "samples.jsonl")) {
		if s.Step > 1 {
			continue
		}
		require.NotNil(t, s.Text)
		first = append(first, s)
		row, err := json.Marshal(map[string]any{"prompt_ids": s.PromptIDs, "completion_ids": s.CompletionIDs})
		require.NoError(t, err)
		ids += string(row) + "\n"
	}
	file, out := put(t, "ids.jsonl", ids), t.TempDir()
	w.do(t, "score --model @sft1 --reference @sft1,@sft2@0.3,0.7 --batch-size 3 --data "+file+" --out "+out+"/s.jsonl")
	w.do(t, "score --model @rm --data "+file+" --out "+out+"/r.jsonl")
	scored := rowsOf[struct {
		LogProbs []float64 `json:"token_logprobs"`
		Ref      []float64 `json:"ref_token_logprobs"`
	}](t, out+"/s.jsonl")
	rewards := rowsOf[struct{ Reward float64 }](t, out+"/r.jsonl")
	require.Len(t, scored, len(first))
	for i, s := range first {
		assert.InDeltaSlice(t, scored[i].LogProbs, s.LogProbs, 1e-4)
		assert.InDeltaSlice(t, scored[i].Ref, s.RefLogProbs, 1e-4)
		assert.InDelta(t, rewards[i].Reward, s.ScoreRaw, 1e-4)
		for k := range s.KL {
			assert.InDelta(t, s.LogProbs[k]-s.RefLogProbs[k], s.KL[k], 1e-6)
		}
	}
	return first
}

// recomputeAdvantages works from samples to advantages by the definitions: the reward of a token is -β·KL, the last
// token has the score too; GAE with γ = 1 and λ = 0.95; advantages are whitened over all tokens of the batch.
func recomputeAdvantages(t *testing.T, samples []sample, beta float64) {
	t.Helper()
	var all []float64
	for _, s := range samples {
		n, ahead := len(s.KL), 0.0
		row := make([]float64, n)
		for k := n - 1; k >= 0; k-- {
			reward, next := -beta*s.KL[k], 0.0
			if k == n-1 {
				reward += s.Score
			} else {
				next = s.Values[k+1]
			}
			ahead = reward + next - s.Values[k] + 0.95*ahead
			row[k] = ahead
			assert.InDelta(t, reward, s.Rewards[k], 1e-5)
			assert.InDelta(t, ahead+s.Values[k], s.Returns[k], 1e-5)
		}
		all = append(all, row...)
	}
	mean, square := 0.0, 0.0
	for _, a := range all {
		mean += a / float64(len(all))
	}
	for _, a := range all {
		square += (a - mean) * (a - mean)
	}
	deviation := math.Sqrt(square / float64(len(all))) // of the population, as in TRL
	for _, s := range samples {
		for k := range s.Advantages {
			assert.InDelta(t, (all[k]-mean)/deviation, s.Advantages[k], 1e-4)
		}
		all = all[len(s.Advantages):]
	}
}

// A soup whose weights leave one member alone, or whose members are equal, is that member, to the last bit of every
// metric and weight.
func TestDegenerateSoupsArePlainPPO(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	runWith := func(name, reference string) string {
		w.do(t, ppoLine+"--watch-kl=false --reference "+reference+" --out "+out+"/"+name)
		return filepath.Join(out, name)
	}
	plain := runWith("plain", "@sft1")
	for i, reference := range []string{"@sft1,@sft2@1,0", "@sft2,@sft1@0,1", "@sft1,@sft1", "@sft1,@sft1@0.3,0.7", "@sft1@1"} {
		soup := runWith(fmt.Sprint(i), reference)
		assert.Equal(t, steps(t, plain), steps(t, soup), reference)
		assert.Equal(t, weights(t, plain), weights(t, soup), reference)
	}
	assert.NotEqual(t, weights(t, plain), weights(t, runWith("half", "@sft1,@sft2")), "a real soup is another reference")
}

// What is watched is measured and never learned from.
func TestWatchingChangesNothing(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	w.do(t, ppoLine+"--watch-kl=false --reference @sft1,@sft2 --out "+out+"/blind")
	w.do(t, ppoLine+"--watch-models @base --gold salsa --reference @sft1,@sft2 --out "+out+"/watched")
	assert.Equal(t, weights(t, out+"/blind"), weights(t, out+"/watched"))
	for _, row := range steps(t, out+"/watched") {
		for _, key := range []string{"objective/gold", "objective/kl_start", "objective/kl_sft1", "objective/kl_sft2", "objective/kl_base"} {
			assert.Contains(t, row.Values, key)
		}
	}
}

package main

// Reward models as expressions: soups, ensembles, exact scores.

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/internal/options"
)

const ensembleLine = "ppo --model @sft1 --reference @sft1 --watch-kl=false --data @prompts.jsonl --max-steps 2 --batch-size 8 --ppo-epochs 1 --max-new-tokens 6 --learning-rate 0.001 --sample-every 1 "

// rm2 is a second reward model of the world: the first with its head's sign kept and its weights moved on.
func (w *world) rm2(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "rm2")
	w.do(t, "reward --model @rm --data @pairs.jsonl --max-steps 2 --batch-size 8 --learning-rate 0.003 --seed 5 --out "+dir)
	return dir
}

func TestPPOWithAnEnsemble(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	rm2 := w.rm2(t)
	scores := map[string]float64{}
	for _, how := range []string{"mean", "min", "mean-1std"} {
		dir := filepath.Join(out, how)
		w.do(t, ensembleLine+"--reward-model @rm,"+rm2+"@"+how+" --out "+dir)
		first := steps(t, dir)[0].Values
		scores[how] = first["objective/scores_raw"]
		assert.Positive(t, first["reward_model/disagreement"])
		mean := (first["reward_model/rm"] + first["reward_model/rm2"]) / 2
		switch how {
		case "mean":
			assert.InDelta(t, mean, scores[how], 1e-9)
		case "mean-1std":
			assert.InDelta(t, mean-first["reward_model/disagreement"], scores[how], 1e-9)
		}
	}
	assert.InDelta(t, scores["mean-1std"], scores["min"], 1e-6, "of two members the least lies one deviation below the mean")

	w.do(t, ensembleLine+"--reward-model @rm --out "+out+"/alone")
	w.do(t, ensembleLine+"--reward-model @rm,"+w.at("rm")+" --out "+out+"/soup")
	assert.Equal(t, weights(t, out+"/alone"), weights(t, out+"/soup"), "the soup of a model with itself is that model")
	w.do(t, ensembleLine+"--reward-model @rm,"+rm2+" --out "+out+"/warm")
	assert.NotEqual(t, weights(t, out+"/alone"), weights(t, out+"/warm"))
	last := w.do(t, "eval --models @sft1 --reward-model @rm,"+rm2+"@min --data @prompts.jsonl --max-prompts 5 --max-new-tokens 6 --out "+out+"/eval")
	assert.Positive(t, last["sft1/reward_model/disagreement"])
	assert.LessOrEqual(t, last["sft1/reward"], min(last["sft1/reward_model/rm"], last["sft1/reward_model/rm2"]))
	w.do(t, ensembleLine+"--reward-model gold:salsa-safety --value-model @rm --out "+out+"/exact")
}

func TestRewardExpressionsRefused(t *testing.T) {
	w := theWorld()
	for line, want := range map[string]string{
		"--reward-model @rm@mean":      "an ensemble of one is that model",
		"--reward-model @rm,@sft1@min": "sft1",
		"--reward-model gold:nothing":  "there is no exact score \"nothing\"; choose one of salsa, salsa-safety",
		"--reward-model gold:salsa":    "no weights that the value network could start from; give --value-model",
	} {
		code, _, errs := salsa(t, newRootCmd(), w.args(ensembleLine+line+" --quiet --out "+t.TempDir()+"/o")...)
		assert.Equal(t, fault.ExitInput, code, line)
		assert.Contains(t, errs, want)
	}
}

// A recipe must know the folders inside a reward expression, or it would run stages before what they need.
func TestStagesListTheFoldersOfRewardExpressions(t *testing.T) {
	for name, kind := range stageKinds() {
		c := options.Of(kind.options())
		if !c.Has("reward_model") {
			continue
		}
		require.NoError(t, c.Set("reward_model", "x,y", "test"))
		inputs := c.Inputs()
		if _, soup := c.Get("sweep"); soup {
			continue // the sweep takes one folder
		}
		assert.Subset(t, inputs, []string{"x", "y"}, name)
	}
}

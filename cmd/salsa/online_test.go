package main

// The online methods from the command line: each runs, writes what every run has, does the same twice, starts from any
// reference, and refuses what makes no sense.

import (
	"strings"
	"testing"

	"salsa/internal/fault"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const onlineLine = " --model @sft1 --data @prompts.jsonl --max-steps 2 --batch-size 8 --max-new-tokens 6 --temperature 1 " +
	"--learning-rate 0.001 --sample-every 1 "

// onlineCommands are the lines of the methods, with what each logs beside the rest.
var onlineCommands = []struct{ name, line, logs string }{
	{"apa", "apa --reward-model @rm --reference @sft1", "loss/value_avg"},
	{"awr", "apa --loss awr --reward-model @rm --reference @sft1", "loss/value_avg"},
	{"rloo", "rloo --reward-model @rm --reference @sft1,@sft2 --num-generations 4", "policy/clipfrac_avg"},
	{"grpo", "grpo --reward-model @rm --reference @sft1 --num-generations 2 --kl-coef 0.1", "loss/kl_avg"},
	{"xpo", "xpo --reward-model @rm --reference @sft2 --alpha 0.001", "loss/xpo"},
	{"online-dpo", "xpo --reward-model @rm --reference @sft1 --alpha 0 --pair-with policy", "rewards/margins"},
	{"inverse-q", "inverse-q --reference @sft1 --guide @sft1,@sft2", "credit/abs"},
	{"inverse-q with advice", "inverse-q --reference @sft1 --strategy tomato --reward-model @rm --policy-step regression", "objective/scores"},
	{"ppo, two references", "ppo --mkl --reward-model @rm --reference @sft1,@sft2@0.3,0.7", "objective/kl"},
	{"ppo, moving reference", "ppo --ref-update-every 1 --ref-update-weight 0.1 --reward-model @rm --reference @sft1", "ref/moved"},
}

func TestOnlineMethods(t *testing.T) {
	w := theWorld()
	for _, c := range onlineCommands {
		t.Run(c.name, func(t *testing.T) {
			out := t.TempDir()
			last := w.do(t, c.line+onlineLine+"--out "+out+"/a")
			for _, key := range []string{c.logs, "loss", "grad_norm", "episode", "s_per_step", "completions/mean_length"} {
				assert.Contains(t, last, key)
			}
			holdsRun(t, out+"/a", 2, append(runFiles, "reference.json", "samples.jsonl")...)
			w.do(t, c.line+onlineLine+"--micro-batch-size 0 --quiet --out "+out+"/b")
			assert.Equal(t, steps(t, out+"/a"), steps(t, out+"/b"))
		})
	}
}

// The advantages of samples.jsonl follow from its scores and log-probabilities.
func TestRLOOSamplesCanBeRecomputed(t *testing.T) {
	w, out := theWorld(), t.TempDir()+"/a"
	w.do(t, "rloo --reward-model @rm --reference @sft2 --num-generations 2 --kl-coef 0.5"+onlineLine+"--out "+out)
	rows := rowsOf[sample](t, out+"/samples.jsonl")
	require.Len(t, rows, 16)
	for i := 0; i < len(rows); i += 2 {
		var reward [2]float64
		for j := range reward {
			s := rows[i+j]
			reward[j] = s.Score
			for k := range s.LogProbs {
				reward[j] -= 0.5 * (s.LogProbs[k] - s.RefLogProbs[k])
			}
		}
		assert.Equal(t, rows[i].PromptIDs, rows[i+1].PromptIDs)
		assert.InDelta(t, reward[0]-reward[1], rows[i].Advantages[0], 1e-9)
		assert.InDelta(t, reward[1]-reward[0], rows[i+1].Advantages[0], 1e-9)
	}
}

func TestOnlineRefusals(t *testing.T) {
	w := theWorld()
	for line, want := range map[string]string{
		"rloo --reward-model @rm --reference @sft1 --num-generations 3":                                       "batch_size 8 is not a multiple of 1 mini-batches of 3 completions per prompt",
		"rloo --reward-model @rm --reference @sft1 --num-generations 1":                                       "num-generations",
		"grpo --reward-model @sft1 --reference @sft1":                                                         "sft1",
		"xpo --reward-model @rm --reference @sft1 --beta 0":                                                   "use a positive --beta",
		"xpo --reward-model @rm --reference @sft1 --pair-with policy":                                         "use --alpha 0, or --pair-with reference",
		"xpo --reward-model @rm --reference @sft1,@sft2 --mkl":                                                "leave mkl out",
		"inverse-q --reference @sft1":                                                                         "give --guide DIR",
		"inverse-q --reference @sft1 --guide @rm":                                                             "rm",
		"ppo --reward-model @rm --reference @sft1,@sft2 --mkl --kl-estimator k3":                              "use k1 with mkl",
		"ppo --reward-model @rm --reference @sft1 --ref-update-every 2":                                       "give a share above 0",
		"apa --reward-model @rm --reference @sft1 --temperature-lambda 0":                                     "temperature-lambda",
		"ppo --reward-model @rm --reference @sft1 --ref-update-every 2 --lora-rank 2 --ref-update-weight 0.5": "leave it out",
	} {
		code, _, errs := salsa(t, newRootCmd(), w.args(line+onlineLine+"--quiet --out "+t.TempDir()+"/o")...)
		assert.Equal(t, fault.ExitInput, code, "%s: %s", line, errs)
		assert.Contains(t, errs, want, line)
		assert.Equal(t, 1, strings.Count(strings.TrimSpace(errs), "\n")+1, "one line: %s", errs)
	}
}

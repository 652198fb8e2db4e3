package main

// The online methods from the command line: each runs, writes what every run has, does the same twice, starts from any
// reference, and refuses what makes no sense.

import (
	"os"
	"path/filepath"
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
		"rloo --reward-model @rm --reference @sft1 --num-generations 3":                                       "batch_size 8 is not a multiple of 3, the 3 completions of a prompt times num_mini_batches 1; give --batch-size 9, or another --num-generations than 3",
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
		"rloo --reward-model @rm --reference @sft1 --eval-data @prompts.jsonl":                                "--eval-data is not read",
		"ppo --reward-model @rm --reference @sft1 --empty keep":                                               "--empty is about completions of --data",
		"ppo --reward-model @rm --reference @sft1 --mkl":                                                      "one; give several, DIR,DIR@w,w",
		"grpo --reward-model @rm --reference @sft1 --missing-eos-penalty 1":                                   "--missing-eos-penalty is not read by --missing-eos none; choose --missing-eos replace",
		"apa --reward-model @rm --reference @sft1 --set max_weight=3":                                         "--max-weight is not read by --loss apa",
		"apa --reward-model @rm,@rm@mean-std --reference @sft1":                                               "use @mean, @min or @mean-1std",
		"inverse-q --reference @sft1,@sft2 --guide @sft1 --mkl":                                               "leave mkl out",
	} {
		out := t.TempDir() + "/o"
		code, _, errs := salsa(t, newRootCmd(), w.args(line+onlineLine+"--quiet --out "+out)...)
		assert.NoFileExists(t, out+"/run.yaml", "%s: the folder can be used again", line)
		assert.Equal(t, fault.ExitInput, code, "%s: %s", line, errs)
		assert.Contains(t, errs, want, line)
		assert.Equal(t, 1, strings.Count(strings.TrimSpace(errs), "\n")+1, "one line: %s", errs)
	}
}

func TestRoomInEveryContext(t *testing.T) {
	small := func(name string) func(t *testing.T, w *world) string {
		return damaged(name, config("max_position_embeddings", 24))
	}
	line := " --model @sft1 --data @prompts.jsonl --max-steps 1 --batch-size 4 --max-new-tokens 20 --out OUT "
	long := "the prompt has 6 tokens, more than the 4 that 20 new ones leave of the context; lower --max-new-tokens"
	for _, m := range []mistake{
		{"reference", "rloo --reward-model @rm --reference {}" + line, small("sft1"), []string{"prompts.jsonl:1", long}},
		{"reward model", "rloo --reward-model {} --reference @sft1" + line, small("rm"), []string{long}},
		{"member of an ensemble", "rloo --reward-model @rm,{}@min --reference @sft1" + line, small("rm"), []string{long}},
		{"value network", "ppo --reward-model @rm --value-model {} --reference @sft1" + line, small("rm"), []string{long}},
		{"watched", "rloo --reward-model @rm --watch-models {} --reference @sft1" + line, small("sft1"), []string{long}},
		{"guide", "inverse-q --guide {} --reference @sft1" + line, small("sft1"), []string{long}},
		{"sampled reference", "can --reward-model @rm --safety-model @rm --safety-bound 0 --reference {}" + line, small("sft1"), []string{long}},
		{"no room at all", "rloo --reward-model {} --reference @sft1 --max-new-tokens 30" + strings.Replace(line, "--max-new-tokens 20", "", 1), small("rm"),
			[]string{"rm: --max-new-tokens 30 leaves no room for a prompt in the context of 24 tokens; lower it"}},
		{"advice", "inverse-q --strategy " + strings.Repeat("tomato,", 30) + " --reference @sft1" + line, nil, []string{"prompts.jsonl:1: with --strategy the prompt has", "shorten one"}},
	} {
		t.Run(m.name, m.try)
	}
}

func TestResumeHoldsToWhatTeaches(t *testing.T) {
	w, out := theWorld(), t.TempDir()+"/o"
	guide, rm := w.copyModel(t, "sft2"), w.copyModel(t, "rm")
	line := "inverse-q --reference @sft1 --guide " + guide + " --reward-model " + rm + onlineLine + "--out " + out
	w.do(t, line)
	for _, c := range []struct{ dir, name string }{{guide, "guide.json"}, {rm, "reward-model.json"}} {
		path := filepath.Join(c.dir, "model.safetensors")
		was, err := os.ReadFile(path)
		require.NoError(t, err)
		now := append([]byte{}, was...)
		now[len(now)-1] ^= 1
		require.NoError(t, os.WriteFile(path, now, 0o644))
		code, _, errs := salsa(t, newRootCmd(), w.args(line+" --resume --quiet")...)
		assert.Equal(t, fault.ExitInput, code, errs)
		assert.Contains(t, errs, c.name)
		assert.Contains(t, errs, "has changed since the run began")
		require.NoError(t, os.WriteFile(path, was, 0o644))
	}
	w.do(t, line+" --resume")
}

// What no online method reads is not offered: neither in the help nor where the settings are explained.
func TestOnlineHelpOffersWhatIsRead(t *testing.T) {
	for line, want := range map[string]string{"ppo --help": "--overlong", "config explain grpo": "overlong:", "config schema rso": `"overlong"`} {
		code, out, errs := salsa(t, newRootCmd(), strings.Fields(line)...)
		require.Equal(t, fault.ExitOK, code, errs)
		assert.Contains(t, out, want, line)
		assert.NotRegexp(t, `(?m)^\s*(--|"?)(empty|eval[-_]data)\b`, out, line)
	}
}

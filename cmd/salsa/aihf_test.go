package main

// AIHF end to end: what each form leaves behind, that it ends the same however it was stopped, what it reduces to, and
// what is refused.

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	aihfLine  = "aihf --model @sft1 --reference @sft1 --data @pairs.jsonl --demos @demos.jsonl --max-steps 3 --batch-size 8 --demo-batch-size 4 --learning-rate 0.001 "
	selfPlay  = "--form self-play --round-steps 2 --max-new-tokens 6 "
	alternate = "--form alternate --reward-model @rm --round-steps 2 --max-new-tokens 6 --reward-updates 2 --preference-batch-size 4 --reward-learning-rate 0.001 "
)

func TestAIHF(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	for _, c := range []struct {
		name, line string
		keys       []string
		files      []string
	}{
		{"direct", "", []string{"loss/demo", "loss/preference", "rewards/accuracies", "epoch/demo"}, nil},
		{"self-play", selfPlay, []string{"loss/demo", "demo/rewards/accuracies", "rewards/accuracies"}, nil},
		{"alternate", alternate + "--gold salsa ", []string{"loss/demo", "loss/preference", "rewards/accuracies", "objective/kl", "objective/scores", "objective/gold"},
			[]string{"samples.jsonl", "value/model.safetensors", "reward/config.json", "reward/model.safetensors", "reward/tokenizer.json"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(out, c.name)
			last := w.do(t, aihfLine+c.line+"--out "+dir)
			for _, key := range c.keys {
				assert.Contains(t, last, key)
			}
			holdsRun(t, dir, 3, append(append(runFiles, "reference.json"), c.files...)...)
			if c.name != "alternate" {
				return
			}
			w.do(t, "score --model "+dir+"/reward --data @pairs.jsonl --out "+t.TempDir()+"/scores.jsonl") // a reward model like any other
			assert.NotEqual(t, weights(t, w.at("rm")), weights(t, dir+"/reward"))
		})
	}
	_, out2 := theWorld(), t.TempDir()
	same := "--max-steps 3 --batch-size 8 --learning-rate 0.001 "
	w.do(t, "aihf --model @sft1 --reference @sft1 --data @pairs.jsonl --weight-demo 0 "+same+"--out "+out2+"/a")
	w.do(t, "dpo --model @sft1 --reference @sft1 --data @pairs.jsonl --warmup-ratio 0 --adam-epsilon 1e-5 "+same+"--out "+out2+"/b")
	assert.Equal(t, weights(t, out2+"/b"), weights(t, out2+"/a"), "weight 0 is DPO to the last bit")
	require.NotEqual(t, weights(t, out2+"/b"), weights(t, out+"/direct"))
}

func TestAIHFMistakes(t *testing.T) {
	bare := "aihf --model @sft1 --reference @sft1 --max-steps 1 --out OUT "
	short := bare + "--data @pairs.jsonl --demos @demos.jsonl "
	for _, m := range []mistake{
		{"no demonstrations", bare + "--data @pairs.jsonl", nil, []string{"--demos is missing", "--weight-demo 0, which is salsa dpo"}},
		{"no demonstrations to answer", bare + "--data @pairs.jsonl --form alternate --weight-demo 0 --reward-model @rm", nil, []string{"--demos is missing", "whose prompts the policy answers"}},
		{"no pairs", bare + "--demos @demos.jsonl", nil, []string{"data"}},
		{"demonstrations for pairs", bare + "--data @demos.jsonl --demos @demos.jsonl", nil, []string{"demos.jsonl:1", "chosen"}},
		{"pairs for demonstrations", bare + "--data @pairs.jsonl --demos {}", func(t *testing.T, _ *world) string {
			return put(t, "p.jsonl", `{"prompt":" hot salsa:"}`+"\n")
		}, []string{"p.jsonl:1"}},
		{"weight", short + "--weight-demo -1", nil, []string{"weight_demo -1", "use a finite --weight-demo of 0 or more"}},
		{"weight of pairs", short + "--weight-preference nan", nil, []string{"--weight-preference"}},
		{"weights", short + "--weight-demo 0 --weight-preference 0", nil, []string{"both 0", "raise --weight-demo or --weight-preference"}},
		{"form", short + "--form both", nil, []string{"direct, self-play, alternate"}},
		{"β", short + "--beta 0", nil, []string{"use a positive --beta"}},
		{"reward model unread", short + "--reward-model @rm", nil, []string{"--reward-model is not read by --form direct; leave it out, or use --form alternate"}},
		{"rounds unread", short + "--round-steps 3", nil, []string{"--round-steps is not read by --form direct", "--form self-play and --form alternate"}},
		{"PPO unread", short + selfPlay + "--kl-coef 0.2", nil, []string{"--kl-coef is not read by --form self-play", "--form alternate --policy ppo"}},
		{"β unread", short + alternate + "--beta 0.5", nil, []string{"--beta is not read by --form alternate", "--form direct and --form self-play"}},
		{"KL unread", short + alternate + "--policy apa --kl-coef 0.2", nil, []string{"--kl-coef is not read by --form alternate --policy apa"}},
		{"λ unread", short + alternate + "--temperature-lambda 1", nil, []string{"--temperature-lambda is not read by --form alternate --policy ppo"}},
		{"adapters", short + alternate + "--lora-rank 2", nil, []string{"--lora-rank is not read by --form alternate"}},
		{"no reward model", short + "--form alternate", nil, []string{"--reward-model is missing", "give a folder of salsa reward"}},
		{"exact reward", short + "--form alternate --reward-model gold:salsa", nil, []string{"gold:salsa", "no single network"}},
		{"ensemble", short + "--form alternate --reward-model @rm,@rm@min", nil, []string{"no single network"}},
		{"policy as reward model", short + "--form alternate --reward-model @sft2", nil, []string{"sft2"}},
	} {
		t.Run(m.name, m.try)
	}
}

const aihfRecipe = `name: aihf
vars: {world: ""}
stages:
  - name: aihf
    kind: aihf
    with: {form: self-play, model: "${world}/sft1", reference: "${world}/sft1", data: "${world}/pairs.jsonl", demos: "${world}/demos.jsonl",
           max_steps: 2, batch_size: 4, demo_batch_size: 2, round_steps: 2, max_new_tokens: 4, quiet: true}
`

func TestAIHFInARecipe(t *testing.T) {
	w, path := theWorld(), put(t, "aihf.yaml", aihfRecipe)
	out := filepath.Dir(path) + "/out"
	code, _, errs := salsa(t, newRootCmd(), "run", path, "--var", "world="+w.dir, "--out", out)
	require.Equal(t, 0, code, errs)
	holdsRun(t, out+"/stages/aihf", 2, append(runFiles, "reference.json")...)
}

func TestAIHFRows(t *testing.T) {
	w := theWorld()
	rows := ""
	for range 4 {
		rows += `{"prompt":" hot salsa:","chosen":" miso","rejected":" miso"}` + "\n" + `{"prompt":" hot salsa:","chosen":" miso salt","rejected":" corn"}` + "\n"
	}
	pairs := put(t, "pairs.jsonl", rows)
	for _, form := range []string{"", alternate} {
		line := "aihf --model @sft1 --reference @sft1 --demos @demos.jsonl --max-steps 1 --batch-size 4 --demo-batch-size 4 " + form + "--data "
		mistake{"same", line + pairs + " --out OUT", nil, []string{"pairs.jsonl:1: the chosen and the rejected completion are the same", "--identical drop"}}.try(t)
		w.do(t, line+pairs+" --identical drop --out "+t.TempDir()+"/o")
	}
	// Answers that are given may fill the context: only their prompts leave room for new ones.
	for i, form := range []string{selfPlay, alternate} {
		w.do(t, aihfLine+form+"--max-steps 1 --max-new-tokens 57 --out "+fmt.Sprint(t.TempDir(), i))
	}
}

package main

// Mistakes in data, options, output folders and recipes; see badinput_test.go for what each of them must be.

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"salsa/internal/fault"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const good = `{"prompt":" hot salsa:","completion":" tomato onion"}`

func TestBadData(t *testing.T) {
	sft := sftLine + "--model @sft1 --data {}"
	long := rows(`{"prompt":"` + strings.Repeat(" hot salsa:", 40) + `","completion":" tomato"}`)
	gpt := rows(`{"prompt_ids":[0,187],"completion_ids":[1]}`)
	tryAll(t, []mistake{
		{"missing file", sftLine + "--model @sft1 --data @nope.jsonl", nil, []string{"nope.jsonl: cannot be opened: no such file"}},
		{"missing eval file", sftLine + "--model @sft1 --data @demos.jsonl --eval-data @nope.jsonl", nil, []string{"nope.jsonl: cannot be opened"}},
		{"folder", sftLine + "--model @sft1 --data @data", nil, []string{"is a folder; name the files in it"}},
		{"empty file", sft, func(t *testing.T, _ *world) string { return put(t, "rows.jsonl", "") }, []string{"rows.jsonl: no rows in the file"}},
		{"bad JSON", sft, rows(append(bytesOf(30), `{"prompt": "x", "completion": `)...), []string{"rows.jsonl:31: not a JSON object"}},
		{"no UTF-8", sft, rows(good, "\xff\xfe{}"), []string{"rows.jsonl:2: not valid UTF-8"}},
		{"no gzip", sft, func(t *testing.T, _ *world) string { return put(t, "rows.jsonl.gz", good) }, []string{"rows.jsonl.gz: ", "is it a gzip file?"}},
		{"unknown keys", sft, rows(good, `{"foo":1}`), []string{"rows.jsonl:2: cannot tell what this row is: it has foo; needed is one of prompt+completion"}},
		{"wrong type", sft, rows(`{"prompt_ids":"x","completion_ids":[1]}`), []string{"rows.jsonl:1: ", "prompt_ids"}},
		{"prompts alone", sftLine + "--model @sft1 --data @prompts.jsonl", nil, []string{"prompts.jsonl:1: a prompt without a completion"}},
		{"prompts scored", scoreLine + "--model @sft1 --data @prompts.jsonl", nil, []string{"prompts.jsonl:1: a prompt without a completion"}},
		{"no pairs", "reward --model @sft1 --data @demos.jsonl --out OUT", nil, []string{"demos.jsonl:1: prompt and completion where a preference is needed; give chosen and rejected"}},
		{"zero completion", sft, rows(good, `{"prompt":" hot salsa:","completion":""}`), []string{"rows.jsonl:2: empty completion", "--empty drop|keep"}},
		{"long row", sft, long, []string{"rows.jsonl:1: the row has 123 tokens, more than the maximum length of 64", "--overlong"}},
		{"long row scored", scoreLine + "--model @sft1 --data {}", long, []string{"rows.jsonl:1: the row has", "; shorten it"}},
		{"long prompt", genLine + "--model @sft1 --data {}", long, []string{"rows.jsonl:1: the prompt has", "more than the 60 that 4 new ones leave of the context", "--overlong"}},
		{"long prompt of PPO", ppoWrong + "--model @sft1 --reference @sft1 --reward-model @rm --data {}", long, []string{"rows.jsonl:1: the prompt has", "more than the 60 that 4 new ones leave of the context"}},
		{"id of SFT", sft, gpt, []string{"rows.jsonl:1: token id 187 is not below the model's vocab_size 187"}},
		{"id of score", scoreLine + "--model @sft1 --data {}", gpt, []string{"rows.jsonl:1: token id 187"}},
		{"id of generate", genLine + "--model @sft1 --data {}", gpt, []string{"rows.jsonl:1: token id 187"}},
		{"negative id", genLine + "--model @sft1 --data {}", rows(`{"prompt_ids":[-1]}`), []string{"rows.jsonl:1: \"prompt_ids\"[0] is -1"}},
		{"no prompt", genLine + "--model @sft1 --data {}", rows(`{"prompt_ids":[]}`), []string{"rows.jsonl:1: the prompt has no tokens"}},
		{"no demo prompt", ppoWrong + "--gold salsa --model @sft1 --reference @sft1 --reward-model @rm --data {}", rows(`{"prompt":"Hello"}`),
			[]string{"rows.jsonl:1: --gold salsa: demo prompt \"Hello\""}},
	})
}

// bytesOf is n good rows.
func bytesOf(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = good
	}
	return lines
}

func TestBadOptions(t *testing.T) {
	sft := sftLine + "--model @sft1 --data @demos.jsonl "
	ppo := ppoWrong + "--model @sft1 --reward-model @rm --data @prompts.jsonl "
	mistakes := []mistake{
		{"dtype", sft + "--dtype int3", nil, []string{`--dtype: "int3" is not one of float32, bfloat16`}},
		{"device", sft + "--device gpu", nil, []string{"--device gpu: want auto, cpu, cuda or cuda:N"}},
		{"a strategy of packing", sft + "--packing-strategy wrapped", nil, []string{"--packing-strategy is not read without --packing; add it"}},
		{"nothing to measure", sft + "--eval-every 2", nil, []string{"--eval-every measures held-out rows, and there are none; add --eval-data or --holdout"}},
		{"rows made of themselves", "generate --model @sft1 --data @prompts.jsonl --out @prompts.jsonl --max-new-tokens 4", nil, []string{"prompts.jsonl: is --data too, and would be replaced"}},
		{"two starts", sft + "--from-config @data/base-config", nil, []string{"give either --model DIR", "or --from-config DIR"}},
		{"length beyond the context", sft + "--max-length 65", nil, []string{"--max-length 65 is more than the model's context of 64 tokens"}},
		{"no number", sft + "--learning-rate nan", nil, []string{"--learning-rate"}},
		{"no batch", sft + "--batch-size 0", nil, []string{"--batch-size: 0 is out of range; it must be >=1"}},
		{"all held out", sft + "--holdout 1", nil, []string{"--holdout: 1 is out of range"}},
		{"new tokens beyond the context", "generate --out OUT.jsonl --model @sft1 --data @prompts.jsonl --max-new-tokens 64", nil, []string{"--max-new-tokens 64 leaves no room for a prompt in the context of 64 tokens"}},
		{"no new tokens", "generate --out OUT.jsonl --model @sft1 --data @prompts.jsonl --max-new-tokens -1", nil, []string{"--max-new-tokens: -1 is out of range"}},
		{"no samples", genLine + "--model @sft1 --data @prompts.jsonl --samples 0", nil, []string{"--samples: 0 is out of range"}},
		{"new tokens of PPO", "ppo --out OUT --model @sft1 --reference @sft1 --reward-model @rm --data @prompts.jsonl --max-new-tokens 99", nil, []string{"--max-new-tokens 99 leaves no room"}},
		{"prompt and completion of PPO", ppo + "--reference @sft1 --max-length 62", nil, []string{"--max-length 62 and --max-new-tokens 4 do not fit the context of 64 tokens"}},
		{"minibatches", ppo + "--reference @sft1 --num-mini-batches 3", nil, []string{"batch_size 2 is not a multiple of num_mini_batches 3"}},
		{"α above 1", ppo + "--reference @sft1,@sft2@1.5,-0.5", nil, []string{"soup weight 1.5 of member 1 is outside [0, 1]; add --extrapolate"}},
		{"weights for members", ppo + "--reference @sft1,@sft2@0.5", nil, []string{"1 weights for 2 soup members"}},
		{"weights that cancel", ppo + "--reference @sft1,@sft2@1,-1 --extrapolate", nil, []string{"add up to 0"}},
		{"empty member", ppo + "--reference @sft1,", nil, []string{"an empty folder name"}},
		{"α of a soup", "soup --weights 1.5,-.5 --out OUT @sft1 @sft2", nil, []string{"add --extrapolate"}},
		{"no members", "soup --out OUT", nil, []string{"--members is required"}},
		{"sweep of three", "soup --out OUT --sweep 0:1:.5 --eval-data @demos.jsonl @sft1 @sft2 @base", nil, []string{"--sweep walks between two members; 3 are given"}},
		{"sweep without data", "soup --out OUT --sweep 0:1:.5 @sft1 @sft2", nil, []string{"--sweep needs --eval-data"}},
		{"sweep's form", "soup --out OUT --sweep 0:1 --eval-data @demos.jsonl @sft1 @sft2", nil, []string{"want FROM:TO:STEP"}},
		{"sweep's range", "soup --out OUT --sweep 0:2:.5 --eval-data @demos.jsonl @sft1 @sft2", nil, []string{"leaves [0, 1]; add --extrapolate"}},
		{"an option of another method", "soup --density .5 --out OUT @sft1 @sft2", nil, []string{"--density is not read by --method linear; leave it out, or choose --method ties, dare_linear, dare_ties"}},
		{"weights of slerp", "soup --method slerp --weights 1,2 --out OUT @sft1 @sft2", nil, []string{"--weights is not read by --method slerp", "choose --method linear"}},
		{"rows for nothing", "soup --eval-data @demos.jsonl --out OUT @sft1 @sft2", nil, []string{"--eval-data is not read by --method linear", "add --sweep or --probe"}},
		{"radii without a probe", "soup --probe-radii 1 --out OUT @sft1 @sft2", nil, []string{"--probe-radii is not read by --method linear; leave it out, or add --probe"}},
		{"no base", "soup --method model_stock --out OUT @sft1 @sft2", nil, []string{"--method model_stock needs --base"}},
		{"LITI without a base", "soup --liti .3 --out OUT @sft1 @sft2", nil, []string{"--liti needs --base"}},
		{"LITI beyond", "soup --liti 1.3 --base @base --out OUT @sft1 @sft2", nil, []string{"--liti 1.3 is outside [0, 1]; add --extrapolate"}},
		{"another base", "soup --method ties --density .3 --base @rm --out OUT @sft1 @sft2", nil, []string{"cannot be the base of", "LlamaForSequenceClassification"}},
		{"no density", "soup --method ties --base @base --out OUT @sft1 @sft2", nil, []string{"--method ties needs --density", "such as 0.2"}},
		{"a density above 1", "soup --method ties --density 1.5 --base @base --out OUT @sft1 @sft2", nil, []string{"--density: 1.5 is out of range"}},
		{"slerp of three", "soup --method slerp --out OUT @sft1 @sft2 @base", nil, []string{"3 are given: give two"}},
		{"slerp beyond", "soup --method slerp --t -0.1 --out OUT @sft1 @sft2", nil, []string{"--t -0.1 is outside [0, 1]; add --extrapolate"}},
		{"sweep of ties", "soup --method ties --density .3 --base @base --sweep 0:1:.5 --eval-data @demos.jsonl --out OUT @sft1 @sft2", nil, []string{"--sweep is not read by --method ties"}},
		{"layers that are not there", "soup --layer-weights layers.90=.5,.5 --out OUT @sft1 @sft2", nil, []string{"\"layers.90=.5,.5\" decide about no weight"}},
		{"layers' weights", "soup --layer-weights layers.0=.5 --out OUT @sft1 @sft2", nil, []string{"1 weights for 2 soup members"}},
		{"greedy without rows", "soup --method greedy --out OUT @sft1 @sft2", nil, []string{"--method greedy needs --eval-data"}},
		{"greedy's judge", "soup --method greedy --greedy-metric reward --eval-data @demos.jsonl --out OUT @sft1 @sft2", nil, []string{"needs --reward-model"}},
		{"greedy reward models", "soup --method greedy --eval-data @pairs.jsonl --out OUT @rm @rm", nil, []string{"is a reward model; choose accuracy"}},
		{"probe of three", "soup --probe --eval-data @demos.jsonl --out OUT @sft1 @sft2 @base", nil, []string{"--probe looks at the line through two members"}},
		{"probe of an arc", "soup --method slerp --probe --eval-data @demos.jsonl --out OUT @sft1 @sft2", nil, []string{"choose --method linear"}},
		{"sweep's judge", "soup --out OUT --sweep 0:1:.5 --reward-model @sft1 --eval-data @demos.jsonl @sft1 @sft2", nil, []string{"reward or value model is wanted"}},
	}
	if _, err := os.Stat("/dev/nvidiactl"); errors.Is(err, os.ErrNotExist) {
		mistakes = append(mistakes, mistake{"no GPU", sft + "--device cuda", nil, []string{"--device cuda: ", "use --device cpu"}})
	}
	tryAll(t, mistakes)
}

func TestBadPlaces(t *testing.T) {
	sft := "sft --max-steps 1 --batch-size 2 --model @sft1 --data @demos.jsonl --out "
	full := func(t *testing.T, _ *world) string { return filepath.Dir(put(t, "thesis.txt", "years of work")) }
	taken := func(t *testing.T, _ *world) string { return put(t, "file", "") }
	tryAll(t, []mistake{
		{"not empty", sft + "{}", full, []string{"is not empty; empty it or choose another --out"}},
		{"soup not empty", "soup --out {} @sft1 @sft2", full, []string{"is not empty"}},
		{"nothing to resume", sft + "{} --resume", full, []string{"there is no run to resume"}},
		{"a file", sft + "{}", taken, []string{"is a file; choose another --out"}},
		{"below a file", sft + "{}/x", taken, []string{"cannot be made", "choose a writable --out"}},
		{"not writable", sft + "/proc/salsa", nil, []string{"/proc/salsa: cannot be made", "choose a writable --out"}},
		{"a run is there", "sft --max-steps 1 --model @base --data @demos.jsonl --out @sft1", nil, []string{"sft1: already holds a run; add --resume"}},
		{"scores into a folder", "score --model @sft1 --data @demos.jsonl --out {}", full, []string{"is a folder; give --out the name of a .jsonl file"}},
		{"scores into nothing", "score --model @sft1 --data @demos.jsonl --out {}/no/such.jsonl", full, []string{"make it or choose another --out"}},
		{"completions into /proc", "generate --max-new-tokens 2 --model @sft1 --data @prompts.jsonl --out /proc/x.jsonl", nil, []string{"/proc/x.jsonl: cannot be written"}},
	})
}

func TestBadTokenize(t *testing.T) {
	for line, says := range map[string]string{
		"--tokenizer @sft1 --data @demos.jsonl": "demos.jsonl:1: a row needs text, bytes_b64 or decode_ids",
		"--tokenizer @sft1 --data @none.jsonl":  "none.jsonl: cannot be read: no such file or directory; check --data",
		"--tokenizer @none --data @demos.jsonl": "none: cannot be found: no such file or directory; give a model folder",
	} {
		code, _, errs := salsa(t, newRootCmd(), theWorld().args("tokenize "+line+" --out "+t.TempDir()+"/x.jsonl")...)
		assert.Equal(t, fault.ExitInput, code)
		assert.Contains(t, errs, says)
		assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
	}
}

// The weights of the reference are pinned when a run begins.
func TestChangedReferenceOnResume(t *testing.T) {
	w, out := theWorld(), filepath.Join(t.TempDir(), "out")
	ref := w.copyModel(t, "sft1")
	line := "ppo --max-steps 1 --batch-size 2 --max-new-tokens 4 --model @sft1 --reward-model @rm --data @prompts.jsonl --reference " + ref + " --out " + out
	w.do(t, line)
	overwrite(t, ref+"/model.safetensors", func([]byte) []byte { return weights(t, w.at("sft2")) })
	code, _, errs := salsa(t, newRootCmd(), w.args(line+" --quiet --resume")...)
	assert.Equal(t, fault.ExitInput, code)
	assert.Contains(t, errs, "reference.json: the reference "+ref+" has changed since the run began")
	assert.Contains(t, errs, "put the old weights back, or start a new run in another --out")
}

func TestBadRecipes(t *testing.T) {
	recipe := func(text string) func(*testing.T, *world) string {
		return func(t *testing.T, w *world) string {
			return put(t, "r.yaml", "name: r\nstages:\n  - name: a\n    kind: sft\n    with: {model: "+w.at("sft1")+", data: "+w.at("demos.jsonl")+", "+text+"}\n")
		}
	}
	tryAllBut := func(mistakes []mistake) {
		for _, m := range mistakes {
			t.Run(m.name, func(t *testing.T) {
				code, _, errs := salsa(t, newRootCmd(), "run", m.prepare(t, theWorld()), "--out", t.TempDir()+"/o")
				assert.Equal(t, fault.ExitInput, code)
				assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
				for _, part := range m.says {
					assert.Contains(t, errs, part)
				}
			})
		}
	}
	tryAllBut([]mistake{
		{"unknown key", "", recipe("learning_rat: 0.1"), []string{"r.yaml:5", "learning_rat", "did you mean `learning_rate`?"}},
		{"bad value", "", recipe("batch_size: none"), []string{"r.yaml:5", "batch_size"}},
		{"unknown variable", "", recipe(`seed: "${sed}"`), []string{"r.yaml", "sed"}},
		{"unknown stage", "", recipe(`eval_data: "${stage:b}/x.jsonl"`), []string{"r.yaml", "b"}},
	})
}

// A disk that fills up ends the run with one line; what was saved stays, and the run goes on once there is room.
func TestDiskFull(t *testing.T) {
	w, disk := theWorld(), t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	defer func() { require.NoError(t, syscall.Unmount(disk, 0)) }()
	line := "sft --max-steps 6 --batch-size 4 --save-every 3 --keep-last 1 --model @base --data @demos.jsonl --out "
	whole := filepath.Join(t.TempDir(), "whole")
	w.do(t, line+whole)

	ballast := filepath.Join(disk, "ballast")
	require.NoError(t, os.WriteFile(ballast, bytes.Repeat([]byte{1}, 2500<<10), 0o644))
	code, _, errs := salsa(t, newRootCmd(), w.args(line+disk+"/out --quiet")...)
	assert.Equal(t, fault.ExitFailed, code, errs)
	assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
	assert.Contains(t, errs, "no space left on device")
	assert.Contains(t, errs, "free some space")
	assert.FileExists(t, disk+"/out/checkpoints/step-3/model.safetensors")

	require.NoError(t, os.Remove(ballast))
	w.do(t, line+disk+"/out --resume")
	assert.Equal(t, weights(t, whole), weights(t, disk+"/out"))
	assert.Equal(t, steps(t, whole), steps(t, disk+"/out"))
}

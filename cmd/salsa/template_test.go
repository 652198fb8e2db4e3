package main

// The chat template in a pipeline: recorded with what was trained on it, and one template from the SFT model to the
// last policy, or a clear stop.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/fault"
	"salsa/models"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const chatPairs = `{"prompt":[{"role":"user","content":"hot"}],"chosen":[{"role":"assistant","content":" lime bean"}],"rejected":[{"role":"assistant","content":" sugar"}]}
{"prompt":[{"role":"user","content":"mild"}],"chosen":[{"role":"assistant","content":" lime"}],"rejected":[{"role":"assistant","content":" sugar sugar"}]}
`

// chatSFT fine-tunes the world's base model on messages of a template.
func (w *world) chatSFT(t *testing.T, template string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), template)
	rows := put(t, "chat.jsonl", `{"messages":[{"role":"user","content":"hot"},{"role":"assistant","content":" lime bean"}]}`+"\n")
	w.do(t, "sft --model @base --chat-template "+template+" --max-steps 2 --save-every 1 --batch-size 1 --out "+dir+" --data "+rows)
	return dir
}

func recordIn(t *testing.T, dir string) string {
	t.Helper()
	r, err := models.ReadRecord(dir)
	require.NoError(t, err)
	return r.ChatTemplate
}

func TestTemplateIsRecordedAndCompared(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	pairs := put(t, "pairs.jsonl", chatPairs)
	one, two := w.chatSFT(t, "alpaca"), w.chatSFT(t, "zephyr")
	hash := recordIn(t, one)
	assert.Len(t, hash, 64)
	assert.NotEqual(t, hash, recordIn(t, two))
	assert.Equal(t, hash, recordIn(t, one+"/checkpoints/step-1"))

	const tail = " --max-steps 1 --batch-size 2 --data "
	w.do(t, "reward --lora-rank 2 --model "+one+" --out "+out+"/rm"+tail+pairs)
	assert.Equal(t, hash, recordIn(t, out+"/rm"))
	assert.Equal(t, hash, recordIn(t, out+"/rm/adapter"))
	ppo := "ppo --max-new-tokens 3 --model " + one + " --reward-model " + out + "/rm" + tail + pairs + " --reference "
	w.do(t, ppo+one+" --out "+out+"/ppo")
	assert.Equal(t, hash, recordIn(t, out+"/ppo"))
	assert.Equal(t, hash, recordIn(t, out+"/ppo/value"))

	for name, line := range map[string]string{
		"ppo reference": ppo + one + "," + two + " --out OUT",
		"ppo reward":    strings.Replace(ppo, "--model "+one, "--model "+two, 1) + two + " --out OUT",
		"dpo reference": "dpo --model " + one + " --reference " + two + tail + pairs + " --out OUT",
	} {
		t.Run(name, mistake{line: line, says: []string{"--data's messages are rendered with the chat template of ", "chat_template.jinja (SHA-256 ",
			"salsa.json has another (SHA-256 ", "--allow-template-mismatch"}}.try)
	}
	said := w.said(t, "dpo --allow-template-mismatch --model "+one+" --reference "+two+tail+pairs+" --out "+out+"/allowed")
	assert.Contains(t, said, "salsa: note: --data's messages are rendered with")
	// Rows that are not chat messages know no template.
	w.do(t, "dpo --model "+one+" --reference "+two+tail+w.at("pairs.jsonl")+" --out "+out+"/text")
	assert.Equal(t, hash, recordIn(t, out+"/text"), "what the model learnt before stays on record")
}

// A template that is changed after training is found by the record, and by inspect.
func TestTemplateChangedAfterTraining(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	pairs, dir := put(t, "pairs.jsonl", chatPairs), w.chatSFT(t, "alpaca")
	code, said, _ := salsa(t, newRootCmd(), "inspect", dir)
	assert.Zero(t, code)
	assert.Contains(t, said, "that chat template")
	held := filepath.Join(dir, "chat_template.jinja")
	old, err := os.ReadFile(held)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(held, append([]byte("{# mine #}"), old...), 0o644))
	_, said, _ = salsa(t, newRootCmd(), "inspect", dir)
	assert.Contains(t, said, "ANOTHER chat template, SHA-256 "+recordIn(t, dir))
	mistake{line: "reward --max-steps 1 --batch-size 2 --out OUT --model " + dir + " --data " + pairs, says: []string{"put the old template back"}}.try(t)
	// Without a record the template that lies in the folder counts.
	other := filepath.Join(out, "other")
	require.NoError(t, os.CopyFS(other, os.DirFS(dir)))
	require.NoError(t, os.WriteFile(filepath.Join(other, "chat_template.jinja"), old, 0o644))
	require.NoError(t, os.Remove(filepath.Join(other, models.RecordFile)))
	require.NoError(t, os.Remove(filepath.Join(dir, models.RecordFile)))
	dpo := "dpo --max-steps 1 --batch-size 2 --out OUT --model " + dir + " --reference " + other + " --data " + pairs
	mistake{line: dpo, says: []string{"other/chat_template.jinja has another", "copy the one that the model in"}}.try(t)
	require.NoError(t, os.WriteFile(filepath.Join(other, models.RecordFile), []byte("{"), 0o644))
	mistake{line: dpo, says: []string{"other/salsa.json: cannot be read"}}.try(t)
}

// A soup carries one template, so its members must have learnt one.
func TestSoupOfTemplates(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	one, two := w.chatSFT(t, "alpaca"), w.chatSFT(t, "zephyr")
	code, _, errs := salsaAloud(t, w.args("soup --out "+out+"/a @sft1 "+one+" "+two)...)
	assert.Equal(t, fault.ExitInput, code)
	assert.Contains(t, errs, "zephyr/salsa.json has another chat template")
	assert.Contains(t, errs, "give --allow-template-mismatch")
	assert.NoDirExists(t, out+"/a")
	code, _, errs = salsaAloud(t, w.args("soup --allow-template-mismatch --out "+out+"/b "+one+" "+two)...)
	require.Equal(t, fault.ExitOK, code, errs)
	assert.Contains(t, errs, "note: "+two)
	assert.Equal(t, recordIn(t, one), recordIn(t, out+"/b"))
	code, _, errs = salsaAloud(t, w.args("soup --out "+out+"/c "+one+" @sft1")...) // which knows none
	require.Equal(t, fault.ExitOK, code, errs)
}

// Rules by layer are told with the weights that they decide about.
func TestSoupTellsSharesOfLayers(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	code, _, errs := salsaAloud(t, w.args("soup --out "+out+"/a --layer-weights layers.0=3,1 --layer-weights lm_head|embed=0,1 @sft1 @sft2")...)
	require.Equal(t, fault.ExitOK, code, errs)
	assert.Regexp(t, `(?s)layers\.0, 9 weights:\nsalsa: 0\.7500 × [^\n]*sft1\nsalsa: 0\.2500 × .*lm_head\|embed, \d weights?:\nsalsa: 0\.0000 × .*all others, \d+ weights:\nsalsa: 0\.5000`, errs)
}

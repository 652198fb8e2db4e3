package data

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chatEncoder renders with a built-in template over the fake tokenizer.
func chatEncoder(t *testing.T, template string) *Encoder {
	enc := NewEncoder(newFake(), fakeBOS, fakeEOS)
	var err error
	enc.Template, err = BuiltinTemplate(template, map[string]string{"bos_token": "<s>", "eos_token": "</s>"})
	require.NoError(t, err)
	enc.Stops = []int{259} // <|im_end|>
	return enc
}

const dialogue = `{"messages":[{"role":"system","content":"S"},{"role":"user","content":"q"},{"role":"assistant","content":"one"},` +
	`{"role":"user","content":"r"},{"role":"assistant","content":"two"},{"role":"user","content":"t"}]}`

func TestEveryAssistantTurnIsTargetWithItsStop(t *testing.T) {
	enc := chatEncoder(t, "chatml")
	x, err := enc.SFT(&rowsOf(t, dialogue)[0])
	require.NoError(t, err)
	assert.Equal(t, "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\none<|im_end|>\n"+
		"<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n", enc.Tok.Decode(x.IDs, false),
		"the turn after the last answer is left off")
	var targets []int
	for i, id := range x.IDs {
		if x.Mask[i] {
			targets = append(targets, id)
		}
	}
	assert.Equal(t, "one<|im_end|>two<|im_end|>", enc.Tok.Decode(targets, false))
	assert.True(t, x.Mask[x.PromptLen])
	assert.NotContains(t, x.Mask[:x.PromptLen], true)
	assert.NoError(t, enc.CheckStops([]Example{x}))
}

func TestWithoutKnownStopTheWholeTurnIsTarget(t *testing.T) {
	enc := chatEncoder(t, "chatml")
	enc.Stops = nil
	x, err := enc.SFT(&rowsOf(t, `{"prompt":[{"role":"user","content":"q"}],"completion":"a"}`)[0])
	require.NoError(t, err)
	assert.Equal(t, "a<|im_end|>\n", enc.Tok.Decode(x.Completion(), false))
	assert.ErrorContains(t, enc.CheckStops([]Example{x}), "no stop token (eos 257, stops []) is a target in any of the 1 examples")
	assert.ErrorContains(t, enc.CheckStops([]Example{x}), "eos_token_id of generation_config.json")
}

func TestChatPromptAndPreference(t *testing.T) {
	enc := chatEncoder(t, "chatml")
	row := &rowsOf(t, `{"prompt":[{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"yes"}],"rejected":[{"role":"assistant","content":"no"}]}`)[0]
	pair, err := enc.Pair(row)
	require.NoError(t, err)
	prompt, err := enc.Prompt(row)
	require.NoError(t, err)
	assert.Equal(t, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n", prompt.Text)
	assert.Equal(t, prompt.IDs, pair.Chosen.IDs[:pair.Chosen.PromptLen])
	assert.Equal(t, prompt.IDs, pair.Rejected.IDs[:pair.Rejected.PromptLen])
	assert.Equal(t, 4, pair.Chosen.Targets(), "y e s <|im_end|>, not the newline behind it")

	prompt, err = enc.Prompt(&rowsOf(t, dialogue)[0])
	require.NoError(t, err)
	assert.Contains(t, prompt.Text, "user\nt<|im_end|>\n<|im_start|>assistant\n")
}

func TestPlainStringsAreWrappedOnlyOnRequest(t *testing.T) {
	enc := chatEncoder(t, "zephyr")
	row := &rowsOf(t, `{"prompt":"q","completion":"a"}`)[0]
	x, err := enc.SFT(row)
	require.NoError(t, err)
	assert.Equal(t, "<s>qa</s>", enc.Tok.Decode(x.IDs, false))
	enc.WrapText = true
	x, err = enc.SFT(row)
	require.NoError(t, err)
	assert.Equal(t, "<|user|>\nq</s>\n<|assistant|>\na</s>\n", enc.Tok.Decode(x.IDs, false))
	assert.Equal(t, 2, x.Targets())
}

func TestMessagesNeedATemplate(t *testing.T) {
	enc := NewEncoder(newFake(), fakeBOS, fakeEOS)
	row := &rowsOf(t, dialogue)[0]
	_, err := enc.SFT(row)
	assert.ErrorContains(t, err, "rows.jsonl:1: messages (messages), but the tokenizer has no chat template; put one into chat_template.jinja of the model's folder, or fine-tune it with salsa sft --chat-template alpaca|chatml|")
	_, err = enc.Prompt(row)
	assert.ErrorContains(t, err, "--chat-template")

	hh := &rowsOf(t, `{"chosen":"\n\nHuman: q\n\nAssistant: yes","rejected":"\n\nHuman: q\n\nAssistant: no"}`)[0]
	pair, err := enc.Pair(hh)
	require.NoError(t, err, "hh-rlhf has a text form")
	assert.Equal(t, " yes</s>", enc.Tok.Decode(pair.Chosen.Completion(), false))
	pair, err = chatEncoder(t, "chatml").Pair(hh)
	require.NoError(t, err)
	assert.Equal(t, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n", enc.Tok.Decode(pair.Chosen.IDs, false))
}

func TestTemplatesThatRewriteHistoryAreRefused(t *testing.T) {
	enc := chatEncoder(t, "chatml")
	var err error
	enc.Template, err = NewTemplate("last-only", `{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' and not loop.last %}…{% else %}{{ m.content }}{% endif %};{% endfor %}`, nil)
	require.NoError(t, err)
	_, err = enc.SFT(&rowsOf(t, dialogue)[0])
	assert.ErrorContains(t, err, "renders turn 3 differently once more turns follow")
}

func TestDoubleBOSFromATemplate(t *testing.T) {
	enc := chatEncoder(t, "plain")
	x, err := enc.SFT(&rowsOf(t, `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`)[0])
	require.NoError(t, err)
	assert.Equal(t, "<s>q\na</s>", enc.Tok.Decode(x.IDs, false), "the template's bos is the only one")
	_, err = enc.SFT(&rowsOf(t, `{"messages":[{"role":"user","content":"<s>q"},{"role":"assistant","content":"a"}]}`)[0])
	assert.ErrorContains(t, err, "two bos tokens")
}

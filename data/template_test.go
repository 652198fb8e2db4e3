package data

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goldenCase is one rendering of golden.json; see testdata/chat/golden.py.
type goldenCase struct {
	Template, Conversation string
	GenerationPrompt       bool `json:"generation_prompt"`
	Text, Error            string
}

// readJSONFile reads a file of the testdata into dst.
func readJSONFile(t *testing.T, path string, dst any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, dst))
}

// TestTemplatesRenderAsTransformers compares with apply_chat_template. SALSA_CHAT_TEMPLATES may name another
// folder with .jinja files and the golden.json that golden.py made of them.
func TestTemplatesRenderAsTransformers(t *testing.T) {
	folder := filepath.Join("testdata", "chat")
	var conversations map[string][]Message
	readJSONFile(t, filepath.Join(folder, "conversations.json"), &conversations)
	if other := os.Getenv("SALSA_CHAT_TEMPLATES"); other != "" {
		folder = other
	}
	var cases []goldenCase
	readJSONFile(t, filepath.Join(folder, "golden.json"), &cases)
	require.NotEmpty(t, cases)
	templates := map[string]*Template{}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%s/%s/%t", c.Template, c.Conversation, c.GenerationPrompt), func(t *testing.T) {
			tmpl := templates[c.Template]
			if tmpl == nil {
				source, err := os.ReadFile(filepath.Join(folder, c.Template))
				require.NoError(t, err)
				tmpl, err = NewTemplate(c.Template, string(source), map[string]string{"bos_token": "<s>", "eos_token": "</s>"})
				require.NoError(t, err)
				tmpl.Now = func() time.Time { return time.Date(2026, 3, 7, 9, 5, 3, 0, time.UTC) }
				templates[c.Template] = tmpl
			}
			text, err := tmpl.Render(conversations[c.Conversation], c.GenerationPrompt)
			if c.Error != "" {
				assert.EqualError(t, err, "chat template "+c.Template+": "+c.Error)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.Text, text)
		})
	}
}

func TestLoadTemplateFromModelFolders(t *testing.T) {
	load := func(files map[string]string) (*Template, error) {
		dir := t.TempDir()
		for name, content := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
		}
		return LoadTemplate(dir)
	}
	user := []Message{{"user", "q"}}

	tmpl, err := load(map[string]string{"tokenizer_config.json": `{"bos_token":{"content":"<b>"},"eos_token":"<e>","chat_template":"{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"}`})
	require.NoError(t, err)
	text, err := tmpl.Render(user, true)
	require.NoError(t, err)
	assert.Equal(t, "<b>q<e>", text)

	tmpl, err = load(map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]}`})
	require.NoError(t, err)
	assert.Equal(t, "D", tmpl.Source)

	tmpl, err = load(map[string]string{"chat_template.jinja": "J", "tokenizer_config.json": `{"chat_template":"C"}`})
	require.NoError(t, err)
	assert.Equal(t, "J", tmpl.Source, "the file of its own wins, as in transformers")

	for _, config := range []map[string]string{{}, {"tokenizer_config.json": `{"bos_token":null}`}, {"tokenizer_config.json": `{"chat_template":[]}`}} {
		_, err = load(config)
		assert.ErrorIs(t, err, ErrNoTemplate)
	}
	_, err = load(map[string]string{"tokenizer_config.json": `{`})
	assert.ErrorContains(t, err, "tokenizer_config.json: unexpected end")
	_, err = load(map[string]string{"chat_template.jinja": "{% if %}"})
	assert.ErrorContains(t, err, "chat_template.jinja does not compile")
}

func TestTemplateHashCoversSourceAndTokens(t *testing.T) {
	hash := func(source string, tokens map[string]string) string {
		tmpl, err := NewTemplate("t", source, tokens)
		require.NoError(t, err)
		return tmpl.Hash()
	}
	const prints = "a{{ eos_token }}"
	base := hash(prints, map[string]string{"eos_token": "x"})
	assert.Len(t, base, 64)
	assert.Equal(t, base, hash(prints, map[string]string{"eos_token": "x", "bos_token": "", "pad_token": "p"}), "only what is printed counts")
	assert.NotEqual(t, base, hash("b{{ eos_token }}", map[string]string{"eos_token": "x"}))
	assert.NotEqual(t, base, hash(prints, map[string]string{"eos_token": "y"}))
	assert.NotEqual(t, base, hash(prints, nil))
}

// What is saved renders as what was used, whatever tokens the folder's files named before.
func TestTemplateSave(t *testing.T) {
	used, err := BuiltinTemplate("llama2", map[string]string{"bos_token": "<s>", "eos_token": "</s>"})
	require.NoError(t, err)
	for _, config := range []string{"", `{"bos_token":"<s>","eos_token":{"content":"</s>"},"unk_token":"<unk>"}`, `{"eos_token":"<end>","legacy":true}`} {
		dir := t.TempDir()
		if config != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(config), 0o644))
		}
		require.NoError(t, used.Save(dir))
		held, err := LoadTemplate(dir)
		require.NoError(t, err)
		assert.Equal(t, used.Hash(), held.Hash(), config)
		want, err := used.Render([]Message{{"user", "q"}, {"assistant", "a"}}, false)
		require.NoError(t, err)
		got, err := held.Render([]Message{{"user", "q"}, {"assistant", "a"}}, false)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestHostileTemplatesFailInOneLine(t *testing.T) {
	for _, source := range []string{
		"{{ raise_exception('two\nlines') }}", "{{ raise_exception() }}", "{{ strftime_now('%Q') }}", "{{ nothing() }}",
		"{{ 'x' | no_such_filter }}", "{{ messages[0].content.no_such_method() }}",
	} {
		tmpl, err := NewTemplate("bad", source, nil)
		if err == nil {
			_, err = tmpl.Render([]Message{{"user", "q"}}, false)
		}
		require.ErrorContains(t, err, "chat template bad", source)
		assert.NotContains(t, err.Error(), "\n", source)
	}
	for _, source := range []string{"{% include '/etc/passwd' %}", "{% import 'x' as y %}", "{% extends 'x' %}"} {
		tmpl, err := NewTemplate("bad", source, nil)
		if err == nil {
			text, err := tmpl.Render(nil, false)
			assert.NotContains(t, text, "root", source)
			assert.Error(t, err, source)
		}
	}
}

// Promise P7: under every built-in template the stop token of every assistant turn is a target, and promise P8:
// a conversation has one bos, unless the format wants one per exchange.
func TestStopTokenIsATargetUnderEveryBuiltin(t *testing.T) {
	stops := map[string]string{"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>"}
	bos := map[string]int{"chatml": 0, "zephyr": 0, "llama2": 2}
	for _, name := range BuiltinTemplates() {
		t.Run(name, func(t *testing.T) {
			enc := chatEncoder(t, name)
			tok := enc.Tok.(*fakeTokenizer)
			tok.specials = append(tok.specials, "<|eot_id|>", "<end_of_turn>")
			stop := "</s>"
			if own, found := stops[name]; found {
				stop = own
			}
			id, found := tok.TokenID(stop)
			require.True(t, found)
			enc.Stops = []int{id}
			x, err := enc.SFT(&rowsOf(t, `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"one"},`+
				`{"role":"user","content":"r"},{"role":"assistant","content":"two"}]}`)[0])
			require.NoError(t, err)
			stopTargets, bosCount := 0, 0
			for i, token := range x.IDs {
				if token == id && x.Mask[i] {
					stopTargets++
				}
				if token == fakeBOS {
					bosCount++
				}
			}
			assert.Equal(t, 2, stopTargets)
			assert.NoError(t, enc.CheckStops([]Example{x}))
			want, listed := bos[name]
			if !listed {
				want = 1
			}
			assert.Equal(t, want, bosCount)
		})
	}
}

func TestMistralTemplateOnPublishedConversation(t *testing.T) {
	raw, err := os.ReadFile(realData(t, "mistral-chat-samples/no_tools/text_v3.txt"))
	require.NoError(t, err)
	var sample struct{ Messages []Message }
	readJSONFile(t, realData(t, "mistral-chat-samples/no_tools/sample.json"), &sample)
	tmpl, err := BuiltinTemplate("mistral", map[string]string{"bos_token": "<s>", "eos_token": "</s>"})
	require.NoError(t, err)
	text, err := tmpl.Render(sample.Messages, true)
	require.NoError(t, err)
	assert.Equal(t, strings.ReplaceAll(string(raw), "▁", " "), text)
	_, err = BuiltinTemplate("mistrall", nil)
	assert.ErrorContains(t, err, `no chat template "mistrall"; choose one of alpaca, chatml`)
}

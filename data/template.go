// Chat templates: the Jinja programs that models carry to turn messages into text, rendered as
// transformers' apply_chat_template renders them. jinja.go adapts the engine.
package data

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"salsa/internal/fault"

	"github.com/ardanlabs/jinja"
)

// Template turns messages into the text a model was tuned on. It is safe for concurrent use.
type Template struct {
	Name   string // where it came from, for messages
	Source string
	Tokens map[string]string // bos_token, eos_token and the like, which templates print
	Now    func() time.Time  // the date that templates with strftime_now print; pin it for repeatable runs

	program *jinja.Template
}

// NewTemplate compiles a Jinja chat template.
func NewTemplate(name, source string, tokens map[string]string) (*Template, error) {
	t := &Template{Name: name, Source: source, Tokens: tokens, Now: time.Now}
	var err error
	if t.program, err = compile(source); err != nil {
		return nil, fault.Inputf("chat template %s does not compile: %s", name, oneLine(err.Error()))
	}
	return t, nil
}

// Hash identifies the template with the tokens it prints; checkpoints record it, so that SFT, reward model and
// policy optimisation cannot use different ones unnoticed.
func (t *Template) Hash() string {
	h := sha256.New()
	keys := make([]string, 0, len(t.Tokens))
	for key := range t.Tokens {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	fmt.Fprintf(h, "%d\n%s", len(t.Source), t.Source)
	for _, key := range keys {
		fmt.Fprintf(h, "\n%q=%q", key, t.Tokens[key])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Render returns the text of a conversation; generationPrompt ends it with the opening of an assistant turn.
// What the template raises comes back as the error.
func (t *Template) Render(messages []Message, generationPrompt bool) (string, error) {
	list := make([]jinja.Value, len(messages))
	for i, m := range messages {
		list[i] = jinja.NewDict()
		list[i].AsDict().Set("role", jinja.NewString(m.Role))
		list[i].AsDict().Set("content", jinja.NewString(m.Content))
	}
	vars := map[string]jinja.Value{
		"messages": jinja.NewList(list), "add_generation_prompt": jinja.NewBool(generationPrompt),
		"tools": jinja.None(), "documents": jinja.None(),
	}
	for key, token := range t.Tokens {
		vars[key] = jinja.NewString(token)
	}
	text, err := execute(t.program, vars, t.Now)
	if err != nil {
		return "", fmt.Errorf("chat template %s: %w", t.Name, err)
	}
	return text, nil
}

// ErrNoTemplate says that a model folder has no chat template.
var ErrNoTemplate = errors.New("no chat template")

// LoadTemplate reads the chat template of a Hugging Face folder: chat_template.jinja, or the one in
// tokenizer_config.json. The error wraps ErrNoTemplate if there is none.
func LoadTemplate(dir string) (*Template, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "tokenizer_config.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fault.Inputf("%w", err)
	}
	config := map[string]json.RawMessage{}
	if err == nil {
		if err := json.Unmarshal(raw, &config); err != nil {
			return nil, fault.Inputf("%s/tokenizer_config.json: %w", dir, err)
		}
	}
	tokens := specialTokens(config)
	path := filepath.Join(dir, "chat_template.jinja")
	source, err := os.ReadFile(path)
	if err == nil {
		return NewTemplate(path, string(source), tokens)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fault.Inputf("%w", err)
	}
	text, err := templateField(config["chat_template"])
	if err != nil {
		return nil, fault.Inputf("%s/tokenizer_config.json: %w", dir, err)
	}
	return NewTemplate(filepath.Join(dir, "tokenizer_config.json"), text, tokens)
}

// templateField reads chat_template: a string, or a list of named ones of which "default" is ours.
func templateField(raw json.RawMessage) (string, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil && text != "" {
		return text, nil
	}
	var named []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &named); err == nil {
		for _, t := range named {
			if t.Name == "default" {
				return t.Template, nil
			}
		}
	}
	return "", ErrNoTemplate
}

// specialTokens reads the *_token entries of tokenizer_config.json, each a string or an object with "content".
func specialTokens(config map[string]json.RawMessage) map[string]string {
	tokens := map[string]string{}
	for _, key := range []string{"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"} {
		var text string
		var token struct{ Content string }
		switch {
		case json.Unmarshal(config[key], &text) == nil && text != "":
			tokens[key] = text
		case json.Unmarshal(config[key], &token) == nil && token.Content != "":
			tokens[key] = token.Content
		}
	}
	return tokens
}

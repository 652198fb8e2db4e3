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
	"strings"
	"time"

	"salsa/internal/checkpoint"
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
// policy optimisation cannot use different ones unnoticed. Tokens that the source does not name do not count.
func (t *Template) Hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s", len(t.Source), t.Source)
	for _, key := range t.printed() {
		fmt.Fprintf(h, "\n%q=%q", key, t.Tokens[key])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// printed lists the tokens that the source names and that are not empty, in alphabetical order.
func (t *Template) printed() []string {
	var keys []string
	for _, key := range tokenKeys {
		if t.Tokens[key] != "" && strings.Contains(t.Source, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Save writes the template into a model folder as chat_template.jinja. Where the folder's tokenizer_config.json names
// other tokens than the template prints, or none, it is given those, so that what is loaded renders the same text.
func (t *Template) Save(dir string) error {
	if err := checkpoint.WriteFileAtomic(filepath.Join(dir, templateFile), []byte(t.Source)); err != nil {
		return err
	}
	held, err := LoadTemplate(dir)
	if err != nil || held.Hash() == t.Hash() {
		return err
	}
	path := filepath.Join(dir, tokenizerConfig)
	config := map[string]json.RawMessage{}
	if raw, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(raw, &config); err != nil {
			return fault.Inputf("%s: %w", path, err)
		}
	}
	for _, key := range t.printed() {
		if config[key], err = json.Marshal(t.Tokens[key]); err != nil {
			return err
		}
	}
	raw, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return checkpoint.WriteFileAtomic(path, append(raw, '\n'))
}

// The files of a model folder in which a template lies, and the tokens that it may print.
const (
	templateFile    = "chat_template.jinja"
	tokenizerConfig = "tokenizer_config.json"
)

var tokenKeys = []string{"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}

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
	raw, err := os.ReadFile(filepath.Join(dir, tokenizerConfig))
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
	path := filepath.Join(dir, templateFile)
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
	return NewTemplate(filepath.Join(dir, tokenizerConfig), text, tokens)
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
	for _, key := range tokenKeys {
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

package tokenizer

// What stands beside the tokenizer in a model folder: the names of special tokens and the chat template.

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/fault"
)

// Config holds the facts of tokenizer_config.json, special_tokens_map.json and the chat-template files that callers
// need. Which special tokens Encode adds is not among them: the post-processor of tokenizer.json is the authority
// (see Tokenizer.Template); AddBOS and AddEOS count only for a tokenizer.model, which has none.
type Config struct {
	BOS, EOS, PAD, UNK string // content of the token; "" when the files name none
	AddBOS, AddEOS     *bool  // nil when the file does not say
	ChatTemplate       string // the default template, Jinja; "" when there is none
	ChatTemplates      map[string]string
	Class              string // tokenizer_class

	legacy bool
}

// configFile is tokenizer_config.json or special_tokens_map.json.
type configFile struct {
	BOS          tokenName    `json:"bos_token"`
	EOS          tokenName    `json:"eos_token"`
	PAD          tokenName    `json:"pad_token"`
	UNK          tokenName    `json:"unk_token"`
	AddBOS       *bool        `json:"add_bos_token"`
	AddEOS       *bool        `json:"add_eos_token"`
	ChatTemplate templateList `json:"chat_template"`
	Class        string       `json:"tokenizer_class"`
	Legacy       *bool        `json:"legacy"`
}

// tokenName is a token written as a string or as an object with its content.
type tokenName string

// UnmarshalJSON reads either form.
func (n *tokenName) UnmarshalJSON(raw []byte) error {
	var object struct {
		Content string `json:"content"`
	}
	if raw[0] == '{' {
		err := json.Unmarshal(raw, &object)
		*n = tokenName(object.Content)
		return err
	}
	return json.Unmarshal(raw, (*string)(n))
}

// templateList is one template, or several as [{"name", "template"}].
type templateList map[string]string

// UnmarshalJSON reads either form; a single template is named default.
func (l *templateList) UnmarshalJSON(raw []byte) error {
	*l = make(templateList)
	switch raw[0] {
	case 'n':
		return nil
	case '[':
		var list []struct{ Name, Template string }
		err := json.Unmarshal(raw, &list)
		for _, t := range list {
			(*l)[t.Name] = t.Template
		}
		return err
	}
	var single string
	err := json.Unmarshal(raw, &single)
	(*l)["default"] = single
	return err
}

// LoadConfig reads the configuration of a tokenizer folder. Files that are absent leave their facts empty; a file
// that cannot be read as what it should be is an error that names it.
func LoadConfig(dir string) (*Config, error) {
	var main, tokens configFile
	if err := readConfigFile(filepath.Join(dir, "tokenizer_config.json"), &main); err != nil {
		return nil, err
	}
	if err := readConfigFile(filepath.Join(dir, "special_tokens_map.json"), &tokens); err != nil {
		return nil, err
	}
	first := func(a, b tokenName) string {
		if a != "" {
			return string(a)
		}
		return string(b)
	}
	cfg := &Config{
		BOS: first(main.BOS, tokens.BOS), EOS: first(main.EOS, tokens.EOS),
		PAD: first(main.PAD, tokens.PAD), UNK: first(main.UNK, tokens.UNK),
		AddBOS: main.AddBOS, AddEOS: main.AddEOS,
		ChatTemplates: main.ChatTemplate,
		Class:         main.Class,
		legacy:        main.Legacy != nil && *main.Legacy,
	}
	if err := cfg.readTemplates(dir); err != nil {
		return nil, err
	}
	cfg.ChatTemplate = cfg.ChatTemplates["default"]
	return cfg, nil
}

func readConfigFile(file string, into *configFile) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Inputf("%w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fault.Inputf("%s: %w", file, jsonPlace(data, err))
	}
	return nil
}

// readTemplates reads chat_template.jinja and chat_templates/NAME.jinja, which, as in transformers, replace those of
// tokenizer_config.json.
func (c *Config) readTemplates(dir string) error {
	files := map[string]string{"default": filepath.Join(dir, "chat_template.jinja")}
	named, err := filepath.Glob(filepath.Join(dir, "chat_templates", "*.jinja"))
	if err != nil {
		return fault.Inputf("%s: %w", dir, err)
	}
	for _, file := range named {
		files[strings.TrimSuffix(filepath.Base(file), ".jinja")] = file
	}
	found := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data, err := os.ReadFile(files[name])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fault.Inputf("%w", err)
		}
		found[name] = string(data)
	}
	if len(found) > 0 {
		c.ChatTemplates = found
	}
	return nil
}

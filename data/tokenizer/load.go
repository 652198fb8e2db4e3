package tokenizer

// Loading of tokenizer.json. Every part is decoded strictly: an unknown type, option or value is an error that names
// the file and the key.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"salsa/internal/fault"
)

// fileLayout is the top level of tokenizer.json.
type fileLayout struct {
	Version       *string         `json:"version"`
	AddedTokens   json.RawMessage `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

// Load reads the tokenizer of a folder, its tokenizer.json or else its tokenizer.model, or of a file of either kind.
// An error of the file's content names the file and the key.
func Load(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.Inputf("tokenizer %s: cannot be found: %w; give a model folder, tokenizer.json or tokenizer.model", path, errors.Unwrap(err))
	}
	file := path
	if info.IsDir() {
		if file, err = findFile(path); err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.Inputf("tokenizer %s: cannot be read: %w; make it readable", file, errors.Unwrap(err))
	}
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) || filepath.Ext(file) == ".json" {
		return parseJSON(file, data)
	}
	cfg, err := LoadConfig(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	return parseModelFile(file, data, cfg)
}

// findFile returns the tokenizer file of a folder.
func findFile(dir string) (string, error) {
	for _, name := range []string{"tokenizer.json", "tokenizer.model"} {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err == nil {
			return file, nil
		}
	}
	return "", fault.Inputf("tokenizer %s: the folder has neither tokenizer.json nor tokenizer.model; copy one from the model's source", dir)
}

// loader carries the file name into errors and the parts built so far.
type loader struct {
	file string
	tok  *Tokenizer
}

func (l *loader) errorf(key, format string, args ...any) error {
	return fault.Inputf("%s: %s: %s", l.file, key, fmt.Sprintf(format, args...))
}

// parseJSON builds a tokenizer from the content of a tokenizer.json; file names it in errors.
func parseJSON(file string, data []byte) (*Tokenizer, error) {
	l := &loader{file: file, tok: &Tokenizer{}}
	var layout fileLayout
	short, long := data, map[string]json.RawMessage(nil)
	if json.Valid(data) {
		short, long = cut(data, "model")
	}
	if err := json.Unmarshal(short, &layout); err != nil {
		return nil, l.errorf("JSON", "%v", jsonPlace(data, err))
	}
	if m, there := long["model"]; there {
		layout.Model = m
	}
	if layout.Version != nil && *layout.Version != "1.0" {
		return nil, l.errorf("version", "%q is not supported: only \"1.0\" is", *layout.Version)
	}
	steps := []func(*fileLayout) error{
		l.loadModel, l.loadNormalizer, l.loadAddedTokens, l.loadPreTokenizer, l.loadPostProcessor, l.loadDecoder,
	}
	for _, step := range steps {
		if err := step(&layout); err != nil {
			return nil, err
		}
	}
	for _, raw := range []json.RawMessage{layout.Normalizer, layout.PreTokenizer, layout.PostProcessor, layout.Decoder} {
		l.tok.sections = append(l.tok.sections, canonical(raw))
	}
	return l.finish(), nil
}

// jsonPlace adds line and column to a syntax error.
func jsonPlace(data []byte, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	before := data[:min(int(syntax.Offset), len(data))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := len(before) - bytes.LastIndexByte(before, '\n') - 1
	return fmt.Errorf("line %d, column %d: %w", line, column, err)
}

// isNull reports whether a section is absent.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// typeOf returns the "type" of a component.
func (l *loader) typeOf(key string, raw json.RawMessage) (string, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return "", l.errorf(key, "%v", err)
	}
	return head.Type, nil
}

// options decodes a component into a struct with a Type field; keys the struct lacks are errors.
func (l *loader) options(key string, raw json.RawMessage, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return l.errorf(key, "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// list decodes the components of a Sequence held under the key name.
func (l *loader) list(key, name string, raw json.RawMessage) ([]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, l.errorf(key, "%v", err)
	}
	var items []json.RawMessage
	if err := json.Unmarshal(fields[name], &items); err != nil {
		return nil, l.errorf(key+"."+name, "is not a list")
	}
	return items, nil
}

// patternOption is the pattern of Split and Replace: {"String": s} or {"Regex": r}.
type patternOption struct {
	String *string
	Regex  *string
}

// finder returns what finds the pattern.
func (l *loader) finder(key string, opt patternOption) (finder, error) {
	switch {
	case opt.String != nil && opt.Regex == nil && *opt.String != "":
		return literalFinder(*opt.String), nil
	case opt.Regex != nil && opt.String == nil:
		p, err := compilePattern(*opt.Regex)
		if err != nil {
			return nil, l.errorf(key, "%v", err)
		}
		return p, nil
	}
	return nil, l.errorf(key, "needs a non-empty \"String\" or a \"Regex\"")
}

// singleRune checks an option that must be one character.
func (l *loader) singleRune(key, s string) (rune, error) {
	runes := []rune(s)
	if len(runes) != 1 {
		return 0, l.errorf(key, "%q is not one character", s)
	}
	return runes[0], nil
}

func (l *loader) loadAddedTokens(layout *fileLayout) error {
	var listed []addedToken
	if !isNull(layout.AddedTokens) {
		if err := l.options("added_tokens", layout.AddedTokens, &listed); err != nil {
			return err
		}
	}
	t := l.tok
	t.byContent = make(map[string]int)
	t.special = make(map[string]bool)
	place := make(map[string]int) // content → index in t.added.tokens
	next := len(t.model.ids)
	for _, a := range listed {
		if a.Content == "" {
			continue
		}
		id, known := t.TokenID(a.Content)
		if !known {
			id = next
			next++
		}
		a.ID = id
		t.byContent[a.Content] = id
		if a.Special {
			t.special[a.Content] = true
		}
		if at, again := place[a.Content]; again {
			t.added.tokens[at] = a
			continue
		}
		place[a.Content] = len(t.added.tokens)
		t.added.tokens = append(t.added.tokens, a)
	}
	return l.indexAddedTokens()
}

// indexAddedTokens builds the tries and the table by id.
func (l *loader) indexAddedTokens() error {
	t := l.tok
	t.byID = make(map[int]*addedToken)
	t.added.word, t.added.space = classSet("rustword"), classSet("rustspace")
	for i := range t.added.tokens {
		a := &t.added.tokens[i]
		key := fmt.Sprintf("added_tokens %q", a.Content)
		a.written = a.Content
		into := &t.added.raw
		if a.Normalized {
			into = &t.added.normalized
			p := piece{text: a.Content, id: notAdded}
			if t.normalizer != nil {
				t.normalizer.normalize(&p, false)
			}
			a.written = p.text
		}
		if a.written == "" {
			return l.errorf(key, "is empty after the normalizer; set \"normalized\": false")
		}
		if *into == nil {
			*into = newTrie()
		}
		if !(*into).add(a.written, i) {
			return l.errorf(key, "matches the same text as another added token; remove one")
		}
		t.byID[a.ID] = a
	}
	return nil
}

// finish computes what follows from all parts.
func (l *loader) finish() *Tokenizer {
	t := l.tok
	t.size = len(t.model.tokens)
	for id := range t.byID {
		t.size = max(t.size, id+1)
	}
	for i, s := range t.splitters {
		if m, ok := s.(*metaspace); ok && m.scheme == prependFirst && (i > 0 || t.normalizer != nil) {
			t.trackAlign = true
		}
	}
	t.model.findOrder()
	l.chooseWords()
	t.before, t.behind = t.templateIDs()
	return t
}

// chooseWords decides what the model gets: raw bytes when the last step writes them in the byte-level alphabet
// anyway, else characters.
func (l *loader) chooseWords() {
	t := l.tok
	if n := len(t.splitters); n > 0 {
		if last, ok := t.splitters[n-1].(*byteLevel); ok && t.model.bytewiseWords() {
			last.mapped = false
			return
		}
	}
	t.model.charWords()
	t.model.findMark("▁")
	t.model.findWalk()
}

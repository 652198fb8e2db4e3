package tokenizer

// Loading of post-processors.

import (
	"encoding/json"
	"slices"
)

func (l *loader) loadPostProcessor(layout *fileLayout) error {
	if isNull(layout.PostProcessor) {
		return nil
	}
	list, err := l.processor("post_processor", layout.PostProcessor)
	if err != nil {
		return err
	}
	// Trimming looks at whether a token is the first of the text, not of the text with its special tokens.
	var templates processors
	for _, p := range list {
		if _, ok := p.(*template); ok {
			templates = append(templates, p)
			continue
		}
		l.tok.post = append(l.tok.post, p)
	}
	if len(templates) > 1 {
		return l.errorf("post_processor.processors", "more than one that adds special tokens is not supported")
	}
	l.tok.post = append(l.tok.post, templates...)
	return nil
}

func (l *loader) processor(key string, raw json.RawMessage) (processors, error) {
	kind, err := l.typeOf(key, raw)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "Sequence":
		items, err := l.list(key, "processors", raw)
		var all processors
		for i := 0; err == nil && i < len(items); i++ {
			var part processors
			part, err = l.processor(item(key, "processors", i), items[i])
			all = append(all, part...)
		}
		return all, err
	case "ByteLevel":
		var opt byteLevelOptions
		if err := l.options(key, raw, &opt); err != nil || !opt.TrimOffsets {
			return nil, err
		}
		return processors{trimmer{opt.AddPrefixSpace}}, nil
	case "TemplateProcessing":
		t, err := l.template(key, raw)
		return processors{t}, err
	case "RobertaProcessing", "BertProcessing":
		return l.clsSep(key, kind, raw)
	}
	return nil, l.errorf(key+".type", "post-processor %q is not supported", kind)
}

// namedID is a token and its id, written as ["</s>", 2].
type namedID struct {
	Name string
	ID   int32
}

// UnmarshalJSON reads the pair.
func (n *namedID) UnmarshalJSON(raw []byte) error {
	return json.Unmarshal(raw, &[]any{&n.Name, &n.ID})
}

// clsSep loads the two processors that write cls, text, sep.
func (l *loader) clsSep(key, kind string, raw json.RawMessage) (processors, error) {
	var opt struct {
		Type           string
		Sep, Cls       namedID
		TrimOffsets    bool `json:"trim_offsets"`
		AddPrefixSpace bool `json:"add_prefix_space"`
	}
	if err := l.options(key, raw, &opt); err != nil {
		return nil, err
	}
	var all processors
	if kind == "RobertaProcessing" && opt.TrimOffsets {
		all = append(all, trimmer{opt.AddPrefixSpace})
	}
	return append(all, &template{
		before: []encoded{{id: opt.Cls.ID, value: opt.Cls.Name}},
		behind: []encoded{{id: opt.Sep.ID, value: opt.Sep.Name}},
	}), nil
}

// templatePiece is an element of a template: a special token or the text.
type templatePiece struct {
	SpecialToken *struct {
		ID     string
		TypeID int `json:"type_id"`
	}
	Sequence *struct {
		ID     string
		TypeID int `json:"type_id"`
	}
}

// template loads TemplateProcessing; its template for pairs of texts is not used.
func (l *loader) template(key string, raw json.RawMessage) (*template, error) {
	var opt struct {
		Type          string
		Single        []templatePiece
		Pair          json.RawMessage
		SpecialTokens map[string]struct {
			ID     string
			IDs    []int32
			Tokens []string
		} `json:"special_tokens"`
	}
	if err := l.options(key, raw, &opt); err != nil {
		return nil, err
	}
	t := &template{}
	into := &t.before
	for i, p := range opt.Single {
		here := item(key, "single", i)
		switch {
		case p.Sequence != nil:
			if p.Sequence.ID != "A" || into == &t.behind {
				return nil, l.errorf(here, "only one Sequence \"A\" is supported")
			}
			into = &t.behind
		case p.SpecialToken != nil:
			tok, ok := opt.SpecialTokens[p.SpecialToken.ID]
			if !ok || len(tok.IDs) != len(tok.Tokens) || slices.ContainsFunc(tok.IDs, func(id int32) bool { return id < 0 }) {
				return nil, l.errorf(here, "%q has no valid entry in special_tokens", p.SpecialToken.ID)
			}
			for k, id := range tok.IDs {
				*into = append(*into, encoded{id: id, value: tok.Tokens[k]})
			}
		default:
			return nil, l.errorf(here, "is neither SpecialToken nor Sequence")
		}
	}
	if into == &t.before {
		return nil, l.errorf(key+".single", "has no Sequence \"A\"")
	}
	return t, nil
}

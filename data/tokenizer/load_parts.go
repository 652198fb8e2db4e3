package tokenizer

// Loading of normalizers, pre-tokenizers, post-processors and decoders.

import (
	"encoding/json"
	"fmt"
)

func item(key, name string, i int) string { return fmt.Sprintf("%s.%s[%d]", key, name, i) }

func (l *loader) loadNormalizer(layout *fileLayout) error {
	if isNull(layout.Normalizer) {
		return nil
	}
	list, err := l.normalizer("normalizer", layout.Normalizer)
	if err == nil && len(list) > 0 {
		l.tok.normalizer = list
	}
	return err
}

var formNames = map[string]unicodeForm{
	"NFC": {false, true}, "NFD": {false, false}, "NFKC": {true, true}, "NFKD": {true, false},
}

func (l *loader) normalizer(key string, raw json.RawMessage) (normalizers, error) {
	kind, err := l.typeOf(key, raw)
	if err != nil {
		return nil, err
	}
	if kind == "Sequence" {
		items, err := l.list(key, "normalizers", raw)
		var all normalizers
		for i := 0; err == nil && i < len(items); i++ {
			var part normalizers
			part, err = l.normalizer(item(key, "normalizers", i), items[i])
			all = append(all, part...)
		}
		return all, err
	}
	if form, ok := formNames[kind]; ok {
		return normalizers{form}, l.options(key, raw, new(struct{ Type string }))
	}
	switch kind {
	case "Prepend":
		var opt struct{ Type, Prepend string }
		err := l.options(key, raw, &opt)
		return normalizers{prepender{opt.Prepend}}, err
	case "Replace":
		return l.replaceNormalizer(key, raw)
	case "Strip":
		var opt struct {
			Type  string
			Left  bool `json:"strip_left"`
			Right bool `json:"strip_right"`
		}
		err := l.options(key, raw, &opt)
		return normalizers{stripper{opt.Left, opt.Right, classSet("rustspace")}}, err
	case "Lowercase":
		return normalizers{newLowercaser()}, l.options(key, raw, new(struct{ Type string }))
	case "ByteLevel":
		return normalizers{byteAlphabet{}}, l.options(key, raw, new(struct{ Type string }))
	}
	return nil, l.errorf(key+".type", "normalizer %q is not supported", kind)
}

func (l *loader) replaceNormalizer(key string, raw json.RawMessage) (normalizers, error) {
	var opt struct {
		Type, Content string
		Pattern       patternOption
	}
	if err := l.options(key, raw, &opt); err != nil {
		return nil, err
	}
	find, err := l.finder(key+".pattern", opt.Pattern)
	if err != nil {
		return nil, err
	}
	if old, ok := find.(literalFinder); ok {
		return normalizers{stringReplacer{string(old), opt.Content}}, nil
	}
	return normalizers{patternReplacer{find.(*pattern), opt.Content}}, nil
}

func (l *loader) loadPreTokenizer(layout *fileLayout) (err error) {
	if !isNull(layout.PreTokenizer) {
		l.tok.splitters, err = l.splitter("pre_tokenizer", layout.PreTokenizer)
	}
	return err
}

func (l *loader) splitter(key string, raw json.RawMessage) ([]splitter, error) {
	kind, err := l.typeOf(key, raw)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "Sequence":
		items, err := l.list(key, "pretokenizers", raw)
		var all []splitter
		for i := 0; err == nil && i < len(items); i++ {
			var part []splitter
			part, err = l.splitter(item(key, "pretokenizers", i), items[i])
			all = append(all, part...)
		}
		return all, err
	case "ByteLevel":
		return l.byteLevel(key, raw)
	case "Split":
		return l.patternSplit(key, raw)
	case "Metaspace":
		opt, err := l.metaspace(key, raw)
		return []splitter{&metaspace{opt.mark, opt.scheme, opt.cut}}, err
	case "Digits":
		var opt struct {
			Type       string
			Individual bool `json:"individual_digits"`
		}
		behave := contiguous
		err := l.options(key, raw, &opt)
		if opt.Individual {
			behave = isolated
		}
		return []splitter{&delimiterSplit{find: setFinder{classSet("numeric")}, behave: behave}}, err
	case "Punctuation":
		opt := struct{ Type, Behavior string }{Behavior: "Isolated"}
		if err := l.options(key, raw, &opt); err != nil {
			return nil, err
		}
		behave, err := l.behaviour(key, opt.Behavior)
		return []splitter{&delimiterSplit{find: setFinder{classSet("punctuation")}, behave: behave}}, err
	case "Whitespace":
		find := wordFinder{classSet("rustword"), classSet("rustspace")}
		err := l.options(key, raw, new(struct{ Type string }))
		return []splitter{&delimiterSplit{find, removed, true}}, err
	case "WhitespaceSplit":
		err := l.options(key, raw, new(struct{ Type string }))
		return []splitter{&delimiterSplit{find: setFinder{classSet("rustspace")}, behave: removed}}, err
	}
	return nil, l.errorf(key+".type", "pre-tokenizer %q is not supported", kind)
}

func (l *loader) behaviour(key, name string) (behaviour, error) {
	b, ok := behaviours[name]
	if !ok {
		return 0, l.errorf(key+".behavior", "%q is not supported", name)
	}
	return b, nil
}

func (l *loader) patternSplit(key string, raw json.RawMessage) ([]splitter, error) {
	var opt struct {
		Type, Behavior string
		Pattern        patternOption
		Invert         bool
	}
	if err := l.options(key, raw, &opt); err != nil {
		return nil, err
	}
	find, err := l.finder(key+".pattern", opt.Pattern)
	if err != nil {
		return nil, err
	}
	behave, err := l.behaviour(key, opt.Behavior)
	return []splitter{&delimiterSplit{find, behave, opt.Invert}}, err
}

// byteLevelOptions are those of the pre-tokenizer, post-processor and decoder of that name.
type byteLevelOptions struct {
	Type           string
	AddPrefixSpace bool  `json:"add_prefix_space"`
	TrimOffsets    bool  `json:"trim_offsets"`
	UseRegex       *bool `json:"use_regex"`
}

func (l *loader) byteLevel(key string, raw json.RawMessage) ([]splitter, error) {
	var opt byteLevelOptions
	if err := l.options(key, raw, &opt); err != nil {
		return nil, err
	}
	b := &byteLevel{addPrefix: opt.AddPrefixSpace, mapped: true}
	if opt.UseRegex == nil || *opt.UseRegex {
		p, err := compilePattern(gpt2Pattern)
		if err != nil {
			return nil, err
		}
		b.find = p
	}
	return []splitter{b}, nil
}

// metaspaceOptions are those of the pre-tokenizer and the decoder of that name.
type metaspaceOptions struct {
	mark   string
	scheme prependScheme
	cut    bool
}

func (l *loader) metaspace(key string, raw json.RawMessage) (metaspaceOptions, error) {
	opt := struct {
		Type, Replacement string
		AddPrefixSpace    *bool  `json:"add_prefix_space"`
		PrependScheme     string `json:"prepend_scheme"`
		Split             *bool
		StrRep            *string `json:"str_rep"`
	}{PrependScheme: "always"}
	if err := l.options(key, raw, &opt); err != nil {
		return metaspaceOptions{}, err
	}
	if _, err := l.singleRune(key+".replacement", opt.Replacement); err != nil {
		return metaspaceOptions{}, err
	}
	scheme, ok := prependSchemes[opt.PrependScheme]
	if !ok {
		return metaspaceOptions{}, l.errorf(key+".prepend_scheme", "%q is not supported", opt.PrependScheme)
	}
	if opt.AddPrefixSpace != nil && !*opt.AddPrefixSpace && scheme != prependNever {
		return metaspaceOptions{}, l.errorf(key+".add_prefix_space", "false contradicts prepend_scheme %q", opt.PrependScheme)
	}
	return metaspaceOptions{opt.Replacement, scheme, opt.Split == nil || *opt.Split}, nil
}

func (l *loader) loadDecoder(layout *fileLayout) (err error) {
	if isNull(layout.Decoder) {
		l.tok.decoder = spaceJoin{}
		return nil
	}
	l.tok.decoder, err = l.decoder("decoder", layout.Decoder)
	return err
}

func (l *loader) decoder(key string, raw json.RawMessage) (decoder, error) {
	kind, err := l.typeOf(key, raw)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "Sequence":
		items, err := l.list(key, "decoders", raw)
		var all decoders
		for i := 0; err == nil && i < len(items); i++ {
			var part decoder
			part, err = l.decoder(item(key, "decoders", i), items[i])
			all = append(all, part)
		}
		return all, err
	case "ByteLevel":
		return byteLevelDecoder{}, l.options(key, raw, new(byteLevelOptions))
	case "ByteFallback":
		return byteFallbackDecoder{}, l.options(key, raw, new(struct{ Type string }))
	case "Fuse":
		return fuseDecoder{}, l.options(key, raw, new(struct{ Type string }))
	case "Metaspace":
		opt, err := l.metaspace(key, raw)
		return metaspaceDecoder{opt.mark, opt.scheme}, err
	case "Replace":
		var opt struct {
			Type, Content string
			Pattern       patternOption
		}
		if err := l.options(key, raw, &opt); err != nil {
			return nil, err
		}
		find, err := l.finder(key+".pattern", opt.Pattern)
		return replaceDecoder{find, opt.Content}, err
	case "Strip":
		var opt struct {
			Type, Content string
			Start, Stop   int
		}
		if err := l.options(key, raw, &opt); err != nil {
			return nil, err
		}
		c, err := l.singleRune(key+".content", opt.Content)
		return stripDecoder{c, opt.Start, opt.Stop}, err
	}
	return nil, l.errorf(key+".type", "decoder %q is not supported", kind)
}

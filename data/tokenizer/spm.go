package tokenizer

// Loading of a SentencePiece tokenizer.model of BPE type, as Llama 2, Mistral 7B and Gemma ship it. Plain text gets
// the ids that SentencePiece gives it. Beyond that, control pieces such as <s> and [INST] written in the text become
// their ids, as with a tokenizer.json, because chat templates write them.

import (
	"cmp"
	"fmt"
	"slices"
	"unicode/utf8"
)

const spmMark = "▁"

// parseModelFile builds a tokenizer from a tokenizer.model; cfg, the folder's configuration, decides which special
// tokens Encode adds (a beginning of text unless it says no) and whether the old "legacy" rule puts a space after
// every special token.
func parseModelFile(file string, data []byte, cfg *Config) (*Tokenizer, error) {
	l := &loader{file: file, tok: &Tokenizer{}}
	spm, err := parseSPM(data)
	if err != nil {
		return nil, l.errorf("protocol buffer", "%v", err)
	}
	if err := l.checkSPM(spm); err != nil {
		return nil, err
	}
	if err := l.spmVocab(spm); err != nil {
		return nil, err
	}
	l.spmPipeline(spm, cfg.legacy)
	if err := l.spmAdded(spm); err != nil {
		return nil, err
	}
	l.spmTemplate(spm, cfg)
	return l.finish(), nil
}

// checkSPM refuses what is not run.
func (l *loader) checkSPM(spm *spmModel) error {
	kinds := map[uint64]string{1: "Unigram", 3: "Word", 4: "Char"}
	if spm.modelType != 2 {
		return l.errorf("trainer_spec.model_type", "%s (%d) is not supported: only BPE is", kinds[spm.modelType], spm.modelType)
	}
	for _, option := range []struct {
		key string
		set bool
	}{
		{"trainer_spec.treat_whitespace_as_suffix", spm.suffix},
		{"normalizer_spec.precompiled_charsmap (" + spm.normalizer + ")", spm.charsMap > 0},
		{"normalizer_spec.remove_extra_whitespaces", spm.squeeze},
		{"normalizer_spec.escape_whitespaces=false", !spm.escape},
	} {
		if option.set {
			return l.errorf(option.key, "is not supported; convert the model to a tokenizer.json")
		}
	}
	return nil
}

// spmVocab builds the model: any two pieces whose concatenation is a piece can be joined, best score first.
func (l *loader) spmVocab(spm *spmModel) error {
	seen, vocab := make(map[string]bool, len(spm.pieces)), make([]entry, len(spm.pieces))
	m := &model{unk: missing, fuseUnk: true, byteFallback: spm.byteFallback}
	for id, p := range spm.pieces {
		key := fmt.Sprintf("pieces[%d]", id)
		if seen[p.text] || p.text == "" || !utf8.ValidString(p.text) {
			return l.errorf(key, "%q is empty, not UTF-8 or listed twice", p.text)
		}
		if p.kind == pieceUnused || p.kind > pieceByte {
			return l.errorf(key+".type", "%d is not supported", p.kind)
		}
		if p.kind == pieceUnknown {
			m.unk = int32(id)
		}
		seen[p.text], vocab[id] = true, entry{p.text, int64(id)}
	}
	if m.unk == missing {
		return l.errorf("pieces", "no piece is of type UNKNOWN")
	}
	l.tok.model = m
	if err := l.loadVocab(m, vocab); err != nil {
		return err
	}
	return l.spmMerges(m, spm)
}

func (l *loader) spmMerges(m *model, spm *spmModel) error {
	rank := scoreRanks(spm.pieces)
	type found struct {
		left, right int32
		merge       merge
	}
	var all []found
	for id, p := range spm.pieces {
		if p.kind != pieceNormal {
			continue
		}
		for i, c := range p.text {
			if lookup(m.ids, string(c)) == missing && len(p.text) > utf8.RuneLen(c) {
				return l.errorf(fmt.Sprintf("pieces[%d]", id), "%q has the character %q, which is no piece: not supported", p.text, c)
			}
			left, right := lookup(m.ids, p.text[:i]), lookup(m.ids, p.text[i:])
			if i > 0 && left != missing && right != missing {
				all = append(all, found{left, right, merge{rank[p.score], int32(id)}})
			}
		}
	}
	m.merges = newMergeTable(len(all))
	for _, f := range all {
		m.merges.set(f.left, f.right, f.merge)
	}
	return nil
}

// scoreRanks numbers the scores of normal pieces, the highest 0. Pieces of one score share a rank, so that between
// them the leftmost pair is joined first, as in SentencePiece.
func scoreRanks(pieces []spmPiece) map[float32]int32 {
	var scores []float32
	for _, p := range pieces {
		if p.kind == pieceNormal {
			scores = append(scores, p.score)
		}
	}
	slices.SortFunc(scores, func(a, b float32) int { return cmp.Compare(b, a) })
	ranks := make(map[float32]int32)
	for _, s := range slices.Compact(scores) {
		ranks[s] = int32(len(ranks))
	}
	return ranks
}

// spmPipeline sets what stands around the model.
func (l *loader) spmPipeline(spm *spmModel, legacy bool) {
	t := l.tok
	space := &metaspace{mark: spmMark, scheme: prependNever}
	steps := decoders{replaceDecoder{literalFinder(spmMark), " "}, byteFallbackDecoder{}, fuseDecoder{}}
	if spm.dummyPrefix {
		space.scheme = prependDummy
		if legacy {
			space.scheme = prependEverywhere
		}
		steps = append(steps, stripDecoder{content: ' ', start: 1})
	}
	t.splitters, t.decoder = []splitter{space}, steps
	t.sections = []string{fmt.Sprintf("sentencepiece prefix=%d", space.scheme)}
}

// spmAdded makes control, unknown and user-defined pieces added tokens; only the last kind is not special.
func (l *loader) spmAdded(spm *spmModel) error {
	t := l.tok
	t.byContent, t.special = make(map[string]int), make(map[string]bool)
	for id, p := range spm.pieces {
		if p.kind == pieceNormal || p.kind == pieceByte {
			continue
		}
		special := p.kind != pieceUserDefined
		t.added.tokens = append(t.added.tokens, addedToken{ID: id, Content: p.text, Special: special})
		t.byContent[p.text] = id
		if special {
			t.special[p.text] = true
		}
	}
	return l.indexAddedTokens()
}

// spmTemplate puts the beginning and end of text where the configuration wants them.
func (l *loader) spmTemplate(spm *spmModel, cfg *Config) {
	tpl := &template{}
	if n := len(spm.pieces); (cfg.AddBOS == nil || *cfg.AddBOS) && spm.bos >= 0 && spm.bos < n {
		tpl.before = []encoded{{id: int32(spm.bos), value: spm.pieces[spm.bos].text}}
	}
	if n := len(spm.pieces); cfg.AddEOS != nil && *cfg.AddEOS && spm.eos >= 0 && spm.eos < n {
		tpl.behind = []encoded{{id: int32(spm.eos), value: spm.pieces[spm.eos].text}}
	}
	l.tok.post = processors{tpl}
	l.tok.sections = append(l.tok.sections, fmt.Sprintf("template %v %v", tokenIDs(tpl.before), tokenIDs(tpl.behind)))
}

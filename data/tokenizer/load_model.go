package tokenizer

// Loading of the "model" section: vocabulary, merges and options of byte-pair encoding.

import (
	"encoding/json"
	"fmt"
	"strings"
)

// maxID bounds token ids so that a damaged file cannot ask for gigabytes of table.
const maxID = 1 << 24

// modelOptions is the "model" section of a BPE tokenizer.
type modelOptions struct {
	Type                    string           `json:"type"`
	Dropout                 *float64         `json:"dropout"`
	UnkToken                *string          `json:"unk_token"`
	ContinuingSubwordPrefix *string          `json:"continuing_subword_prefix"`
	EndOfWordSuffix         *string          `json:"end_of_word_suffix"`
	FuseUnk                 *bool            `json:"fuse_unk"`
	ByteFallback            *bool            `json:"byte_fallback"`
	IgnoreMerges            *bool            `json:"ignore_merges"`
	Vocab                   map[string]int64 `json:"vocab"`
	Merges                  json.RawMessage  `json:"merges"`
}

func (l *loader) loadModel(layout *fileLayout) error {
	if isNull(layout.Model) {
		return l.errorf("model", "is missing")
	}
	kind, err := l.typeOf("model", layout.Model)
	if err != nil {
		return err
	}
	if kind != "BPE" && kind != "" {
		return l.errorf("model.type", "%q is not supported: only BPE is", kind)
	}
	var opt modelOptions
	if err := l.options("model", layout.Model, &opt); err != nil {
		return err
	}
	for key, value := range map[string]*string{
		"model.continuing_subword_prefix": opt.ContinuingSubwordPrefix,
		"model.end_of_word_suffix":        opt.EndOfWordSuffix,
	} {
		if value != nil && *value != "" {
			return l.errorf(key, "%q is not supported", *value)
		}
	}
	if opt.Dropout != nil && *opt.Dropout != 0 {
		return l.errorf("model.dropout", "%g is not supported: set it to null", *opt.Dropout)
	}
	if opt.Vocab == nil || isNull(opt.Merges) {
		return l.errorf("model", "needs \"vocab\" and \"merges\"")
	}
	m := &model{
		unk:          missing,
		fuseUnk:      opt.FuseUnk != nil && *opt.FuseUnk,
		byteFallback: opt.ByteFallback != nil && *opt.ByteFallback,
		ignoreMerges: opt.IgnoreMerges != nil && *opt.IgnoreMerges,
	}
	l.tok.model = m
	if err := l.loadVocab(m, opt.Vocab); err != nil {
		return err
	}
	if opt.UnkToken != nil {
		id, ok := m.ids[*opt.UnkToken]
		if !ok {
			return l.errorf("model.unk_token", "%q is not in model.vocab", *opt.UnkToken)
		}
		m.unk = id
	}
	pairs, err := l.mergePairs(opt.Merges)
	if err != nil {
		return err
	}
	return l.loadMerges(m, pairs)
}

func (l *loader) loadVocab(m *model, vocab map[string]int64) error {
	size := int64(0)
	for tok, id := range vocab {
		if id < 0 || id >= maxID {
			return l.errorf("model.vocab", "id %d of %q is outside 0..%d", id, tok, maxID-1)
		}
		size = max(size, id+1)
	}
	m.ids = make(map[string]int32, len(vocab))
	m.tokens = make([]string, size)
	m.present = make([]bool, size)
	for tok, id := range vocab {
		if m.present[id] {
			first, second := min(tok, m.tokens[id]), max(tok, m.tokens[id])
			return l.errorf("model.vocab", "id %d belongs to both %q and %q", id, first, second)
		}
		m.ids[tok], m.tokens[id], m.present[id] = int32(id), tok, true
	}
	return nil
}

// mergePairs reads the merges, a list of "a b" or of ["a", "b"].
func (l *loader) mergePairs(raw json.RawMessage) ([][2]string, error) {
	var pairs [][]string
	if err := json.Unmarshal(raw, &pairs); err == nil {
		out := make([][2]string, len(pairs))
		for i, p := range pairs {
			if len(p) != 2 {
				return nil, l.errorf(mergeKey(i), "has %d parts, not 2", len(p))
			}
			out[i] = [2]string{p[0], p[1]}
		}
		return out, nil
	}
	var lines []string
	if err := json.Unmarshal(raw, &lines); err != nil {
		return nil, l.errorf("model.merges", "is neither a list of strings nor of pairs of strings")
	}
	out := make([][2]string, 0, len(lines))
	for i, line := range lines {
		if strings.HasPrefix(line, "#version") {
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || strings.Contains(right, " ") {
			return nil, l.errorf(mergeKey(i), "%q is not two tokens with a space between", line)
		}
		out = append(out, [2]string{left, right})
	}
	return out, nil
}

func mergeKey(i int) string { return fmt.Sprintf("model.merges[%d]", i) }

func (l *loader) loadMerges(m *model, pairs [][2]string) error {
	m.merges = newMergeTable(len(pairs))
	for rank, p := range pairs {
		left, okLeft := m.ids[p[0]]
		right, okRight := m.ids[p[1]]
		joined, okJoined := m.ids[p[0]+p[1]]
		if !okLeft || !okRight || !okJoined {
			return l.errorf(mergeKey(rank), "%q + %q: a part or the joined token is not in model.vocab", p[0], p[1])
		}
		m.merges.set(left, right, merge{int32(rank), joined})
	}
	return nil
}

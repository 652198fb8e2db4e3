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
	Type                    string          `json:"type"`
	Dropout                 *float64        `json:"dropout"`
	UnkToken                *string         `json:"unk_token"`
	ContinuingSubwordPrefix *string         `json:"continuing_subword_prefix"`
	EndOfWordSuffix         *string         `json:"end_of_word_suffix"`
	FuseUnk                 *bool           `json:"fuse_unk"`
	ByteFallback            *bool           `json:"byte_fallback"`
	IgnoreMerges            *bool           `json:"ignore_merges"`
	Vocab                   json.RawMessage `json:"vocab"`
	Merges                  json.RawMessage `json:"merges"`
}

func (l *loader) loadModel(layout *fileLayout) error {
	if isNull(layout.Model) {
		return l.errorf("model", "is missing")
	}
	opt, err := l.modelOptions(layout.Model)
	if err != nil {
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
	if isNull(opt.Vocab) || isNull(opt.Merges) {
		return l.errorf("model", "needs \"vocab\" and \"merges\"")
	}
	m := &model{
		unk:          missing,
		fuseUnk:      opt.FuseUnk != nil && *opt.FuseUnk,
		byteFallback: opt.ByteFallback != nil && *opt.ByteFallback,
		ignoreMerges: opt.IgnoreMerges != nil && *opt.IgnoreMerges,
	}
	l.tok.model = m
	entries, err := l.vocabEntries(opt.Vocab)
	if err != nil {
		return err
	}
	if err := l.loadVocab(m, entries); err != nil {
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

// modelOptions reads the section; its two long parts are cut out first.
func (l *loader) modelOptions(raw json.RawMessage) (opt modelOptions, err error) {
	short, long := cut(raw, "vocab", "merges")
	if wrong := l.options("model", short, &opt); wrong != nil {
		kind, err := l.typeOf("model", short) // another type has other keys
		if err != nil || kind == "BPE" || kind == "" {
			return opt, wrong
		}
		opt.Type = kind
	}
	if opt.Type != "BPE" && opt.Type != "" {
		return opt, l.errorf("model.type", "%q is not supported: only BPE is", opt.Type)
	}
	if v, there := long["vocab"]; there {
		opt.Vocab = v
	}
	if v, there := long["merges"]; there {
		opt.Merges = v
	}
	return opt, nil
}

func (l *loader) loadVocab(m *model, entries []entry) error {
	size := int64(0)
	m.ids = make(map[string]int32, len(entries))
	for _, e := range entries {
		if e.id < 0 || e.id >= maxID {
			return l.errorf("model.vocab", "id %d of %q is outside 0..%d", e.id, e.token, maxID-1)
		}
		size = max(size, e.id+1)
		m.ids[e.token] = int32(e.id)
	}
	m.tokens = make([]string, size)
	m.present = make([]bool, size)
	again := len(m.ids) < len(entries) // of a token that is there twice the last one counts
	for _, e := range entries {
		tok, id := e.token, e.id
		if again && (m.ids[tok] != int32(id) || m.present[id] && m.tokens[id] == tok) {
			continue
		}
		if m.present[id] {
			first, second := min(tok, m.tokens[id]), max(tok, m.tokens[id])
			return l.errorf("model.vocab", "id %d belongs to both %q and %q", id, first, second)
		}
		m.tokens[id], m.present[id] = tok, true
	}
	return nil
}

// mergePairs reads the merges, a list of "a b" or of ["a", "b"].
func (l *loader) mergePairs(raw json.RawMessage) ([][2]string, error) {
	if lists, ok := mergeLists(raw); ok {
		out := make([][2]string, len(lists))
		for i, p := range lists {
			if len(p) != 2 {
				return nil, l.errorf(mergeKey(i), "has %d parts, not 2", len(p))
			}
			out[i] = [2]string{p[0], p[1]}
		}
		return out, nil
	}
	lines, ok := mergeLines(raw)
	if !ok {
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

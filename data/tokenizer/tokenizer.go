// Package tokenizer turns text into token ids and back, exactly as Hugging Face's tokenizers library (0.23) does for
// byte-pair-encoding models: it runs the pipeline written in a tokenizer.json (added tokens, normalizer,
// pre-tokenizer, merges, post-processor, decoder). What it does not know it refuses at load, by name: an option that
// is skipped gives wrong ids without a word.
//
// Offsets count code points of the input, as in the Python binding. Truncation and padding settings of the file are
// not applied; as in transformers they are the caller's.
package tokenizer

import (
	"slices"
	"sync"
	"unicode/utf8"
)

// Tokenizer encodes and decodes text. It is immutable and safe for concurrent use.
type Tokenizer struct {
	model     *model
	added     addedSet
	byID      map[int]*addedToken
	byContent map[string]int
	special   map[string]bool // contents of special tokens

	normalizer normalizer
	splitters  []splitter
	post       processors
	decoder    decoder
	trackAlign bool // ids depend on where a piece began in the input

	before, behind []int // what post puts around a text
	size           int
	workers        sync.Pool // of *worker

	sections []string // canonical JSON of the parts around the model, for Hash
	hashOnce sync.Once
	hashed   string
}

// Encode returns the ids of text; special adds the tokens of the post-processor, such as <s>. Ill-formed UTF-8 is
// read as U+FFFD.
func (t *Tokenizer) Encode(text string, special bool) []int {
	w := t.worker()
	defer t.workers.Put(w)
	ids := make([]int, 0, len(text)/3+4)
	if special {
		ids = append(ids, t.before...)
	}
	for _, p := range t.pieces(w, validUTF8(text), t.trackAlign) {
		if p.id != notAdded {
			ids = append(ids, p.id)
			continue
		}
		w.tokens = t.model.encode(w, w.tokens[:0], p.text)
		for _, tok := range w.tokens {
			ids = append(ids, int(tok.id))
		}
	}
	if special {
		ids = append(ids, t.behind...)
	}
	return ids
}

// Template returns the ids that Encode with special puts before and behind a text, such as the id of <s>.
func (t *Tokenizer) Template() (before, behind []int) {
	return slices.Clone(t.before), slices.Clone(t.behind)
}

// templateIDs returns the ids that the post-processors put around every text.
func (t *Tokenizer) templateIDs() (before, behind []int) {
	for _, p := range t.post {
		if tpl, ok := p.(*template); ok {
			return tokenIDs(tpl.before), tokenIDs(tpl.behind)
		}
	}
	return nil, nil
}

func tokenIDs(list []encoded) []int {
	ids := make([]int, len(list))
	for i, tok := range list {
		ids[i] = int(tok.id)
	}
	return ids
}

// EncodeOffsets is Encode with the range of code points of text, [start, end), that each token covers. Added special
// tokens have [0, 0); tokens that share a code point have the same range.
func (t *Tokenizer) EncodeOffsets(text string, special bool) (ids []int, offsets [][2]int) {
	w := t.worker()
	defer t.workers.Put(w)
	text = validUTF8(text)
	points := newPointIndex(text)
	var list []encoded
	for _, p := range t.pieces(w, text, true) {
		if p.id != notAdded {
			list = append(list, encoded{int32(p.id), p.text, points.convert(p.origin(0, len(p.text)))})
			continue
		}
		w.tokens = t.model.encode(w, w.tokens[:0], p.text)
		at := 0
		for _, tok := range w.tokens {
			end := at + int(tok.size)
			list = append(list, encoded{tok.id, t.model.tokens[tok.id], points.convert(p.origin(at, end))})
			at = end
		}
	}
	list = t.post.process(list, special, true)
	ids = make([]int, len(list))
	offsets = make([][2]int, len(list))
	for i, tok := range list {
		ids[i], offsets[i] = int(tok.id), tok.offset
	}
	return ids, offsets
}

// pointIndex converts byte offsets to code-point offsets.
type pointIndex struct {
	points []int32 // per byte: index of its code point; nil when the text is ASCII
	count  int
}

func newPointIndex(text string) pointIndex {
	count := utf8.RuneCountInString(text)
	if count == len(text) {
		return pointIndex{count: count}
	}
	points := make([]int32, len(text))
	index := int32(-1)
	for i := range len(text) {
		if utf8.RuneStart(text[i]) {
			index++
		}
		points[i] = index
	}
	return pointIndex{points, count}
}

func (x pointIndex) convert(s span) [2]int {
	return [2]int{x.at(s.start), x.at(s.end)}
}

func (x pointIndex) at(offset int) int {
	switch {
	case x.points == nil:
		return offset
	case offset >= len(x.points):
		return x.count
	}
	return int(x.points[offset])
}

func (t *Tokenizer) worker() *worker {
	if w, ok := t.workers.Get().(*worker); ok {
		return w
	}
	return newWorker()
}

// pieces runs the pipeline up to the model. The result is valid until the worker is used again.
func (t *Tokenizer) pieces(w *worker, text string, track bool) []piece {
	from, to := t.added.pieces(w.from[:0], text, t.normalizer, track), w.to[:0]
	for _, s := range t.splitters {
		for _, p := range from {
			switch {
			case p.id != notAdded:
				to = append(to, p)
			case p.text != "":
				to = s.split(w, to, p, track)
			}
		}
		from, to = to, from[:0]
	}
	w.from, w.to = from, to
	return from
}

// Decode returns the text of ids; unknown ids are passed over. With skipSpecial special tokens are left out, except
// that, as in Hugging Face's library since 0.23, a special token that the normalizer changes ("normalized": true)
// is not recognised and stays: cut such ids off before decoding.
func (t *Tokenizer) Decode(ids []int, skipSpecial bool) string {
	s := t.Stream(skipSpecial)
	for _, id := range ids {
		s.feed(id)
	}
	s.chain.flush()
	return s.chain.take()
}

// Stream decodes ids as they come. The parts it returns, joined, are what Decode returns for all ids.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	chain       chain
}

// Stream starts a decoding; see Decode for skipSpecial. A Stream is for one goroutine.
func (t *Tokenizer) Stream(skipSpecial bool) *Stream {
	list, _ := t.decoder.stages(nil, false)
	return &Stream{t: t, skipSpecial: skipSpecial, chain: chain{list: list}}
}

// Push takes the next id and returns the text that is now settled, possibly none: bytes of an unfinished code point
// and runs of byte tokens wait for what follows.
func (s *Stream) Push(id int) string {
	s.feed(id)
	return s.chain.take()
}

// Flush ends the text and returns the rest of it.
func (s *Stream) Flush() string {
	s.chain.flush()
	return s.chain.take()
}

func (s *Stream) feed(id int) {
	tok, ok := s.t.written(id)
	if !ok || (s.skipSpecial && s.t.special[tok]) {
		return
	}
	s.chain.feed(0, tok)
}

// written returns the string that a token decodes from.
func (t *Tokenizer) written(id int) (string, bool) {
	if a, ok := t.byID[id]; ok {
		return a.written, true
	}
	return t.model.token(id)
}

// VocabSize returns the highest id plus one, added tokens included. A model's embedding may have more rows.
func (t *Tokenizer) VocabSize() int { return t.size }

// TokenID returns the id of a token as it is written in the vocabulary ("Ġthe", "▁the", "<s>").
func (t *Tokenizer) TokenID(tok string) (int, bool) {
	if id, ok := t.byContent[tok]; ok {
		return id, true
	}
	id, ok := t.model.ids[tok]
	return int(id), ok
}

// UnknownID returns the id that stands for text outside the vocabulary; there is none where all bytes have tokens of
// their own.
func (t *Tokenizer) UnknownID() (int, bool) { return int(t.model.unk), t.model.unk != missing }

// Token returns the token of an id as it is written in the vocabulary.
func (t *Tokenizer) Token(id int) (string, bool) {
	if a, ok := t.byID[id]; ok {
		return a.Content, true
	}
	return t.model.token(id)
}

// IsSpecial reports whether id is an added token marked special.
func (t *Tokenizer) IsSpecial(id int) bool {
	a, ok := t.byID[id]
	return ok && a.Special
}

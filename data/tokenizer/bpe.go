package tokenizer

// Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909): a word starts as its characters or bytes, and the
// neighbouring pair with the lowest merge rank, leftmost first, is joined until none can be.

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// token is a piece of a word: its id and the bytes of text it covers.
type token struct{ id, size int32 }

const missing = -1 // no such id

// merge is what a pair becomes: the joined token and its place in the list of merges.
type merge struct{ rank, id int32 }

// model holds the vocabulary and merges. It is immutable after load.
type model struct {
	ids    map[string]int32
	tokens []string // by id
	// present tells holes in the ids from tokens.
	present []bool
	merges  mergeTable

	unk          int32 // missing when none
	fuseUnk      bool
	byteFallback bool
	ignoreMerges bool

	// words maps what reaches the model to a token: ids, or with bytewise the raw bytes behind the byte-level tokens.
	words    map[string]int32
	bytewise bool
	bytes    [256]int32 // bytewise: the token of a byte; else of <0xNN>
	ascii    [utf8.RuneSelf]int32

	// Text can be cut before a mark (▁) without changing the result, and the parts kept in the cache, where no merge
	// joins the character in front to the mark: where it is not in glued. mark is empty when that is never so.
	mark  string
	glued map[rune]bool
	// looseASCII answers the same for ASCII characters: true where text can be cut.
	looseASCII [utf8.RuneSelf]bool

	walk *walk // for text that is not cut at spaces, else nil

	ranks int // number of merge ranks when buckets can order them, else 0
}

// bytewiseWords switches the model to raw bytes as input. It returns false, changing nothing, unless every byte has
// a token: otherwise Hugging Face's offsets depend on the length of the characters of the byte-level alphabet.
func (m *model) bytewiseWords() bool {
	var single [256]int32
	for b := range 256 {
		id, ok := m.ids[byteSymbols[b]]
		if !ok {
			return false
		}
		single[b] = id
	}
	words := make(map[string]int32, len(m.ids))
	for tok, id := range m.ids {
		if raw, ok := fromByteAlphabet(tok); ok {
			words[raw] = id
		}
	}
	m.words, m.bytes, m.bytewise = words, single, true
	return true
}

// charWords keeps characters as input.
func (m *model) charWords() {
	m.words = m.ids
	for c := range m.ascii {
		m.ascii[c] = lookup(m.ids, string(rune(c)))
	}
	for b := range m.bytes {
		m.bytes[b] = lookup(m.ids, byteToken(byte(b)))
	}
}

func lookup(ids map[string]int32, tok string) int32 {
	if id, ok := ids[tok]; ok {
		return id
	}
	return missing
}

// token returns the string of an id.
func (m *model) token(id int) (string, bool) {
	if id < 0 || id >= len(m.tokens) || !m.present[id] {
		return "", false
	}
	return m.tokens[id], true
}

// byteToken returns the name of a byte-fallback token, <0x0A>.
func byteToken(b byte) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{'<', '0', 'x', digits[b>>4], digits[b&15], '>'})
}

// findMark allows cutting before mark.
func (m *model) findMark(mark string) {
	if _, ok := m.ids[mark]; !ok || m.ignoreMerges || m.bytewise {
		return
	}
	m.mark, m.glued = mark, make(map[rune]bool)
	for key := range m.merges.all() {
		left, right := m.tokens[key>>32], m.tokens[uint32(key)]
		if strings.HasPrefix(right, mark) {
			last, _ := utf8.DecodeLastRuneInString(left)
			m.glued[last] = true
		}
	}
	for c, id := range m.ascii {
		m.looseASCII[c] = id != missing && !m.glued[rune(c)]
	}
}

// worker holds the buffers and the word cache of one goroutine.
type worker struct {
	cache    map[string][]token
	kept     []token // backing store of the cached words
	symbols  []symbol
	heap     mergeHeap
	buckets  buckets
	bucketed bool // the word at hand uses buckets
	tokens   []token
	dead     []uint64 // walk: a bit for each place from which there is no way on
	from, to []piece
	matcher  matcher
}

const (
	maxCachedWord  = 64      // bytes
	maxCachedWords = 1 << 15 // the cache is emptied when full
)

func newWorker() *worker { return &worker{cache: make(map[string][]token)} }

// encode appends the tokens of a piece of text.
func (m *model) encode(w *worker, dst []token, text string) []token {
	if m.ignoreMerges {
		if id, ok := m.words[text]; ok {
			return append(dst, token{id, int32(len(text))})
		}
	}
	if m.walk != nil {
		return m.walkAll(w, dst, text)
	}
	for m.mark != "" {
		at := m.cutPoint(text)
		if at < 0 {
			break
		}
		dst = m.word(w, dst, text[:at])
		text = text[at:]
	}
	return m.word(w, dst, text)
}

// cutPoint returns the first place behind the start where text can be cut before a mark, or -1.
func (m *model) cutPoint(text string) int {
	for at := 1; at < len(text); at++ {
		i := strings.Index(text[at:], m.mark)
		if i < 0 {
			return -1
		}
		at += i
		if m.loose(text[:at]) {
			return at
		}
	}
	return -1
}

// loose reports whether no merge can join the last character of text to a mark behind it.
func (m *model) loose(text string) bool {
	if last := text[len(text)-1]; last < utf8.RuneSelf {
		return m.looseASCII[last]
	}
	last, size := utf8.DecodeLastRuneInString(text)
	if m.glued[last] {
		return false
	}
	// A character outside the vocabulary becomes other tokens, whose merges glued does not know.
	_, known := m.ids[text[len(text)-size:]]
	return known
}

// word appends the tokens of a word, from the cache if it was seen before.
func (m *model) word(w *worker, dst []token, text string) []token {
	if text == "" {
		return dst
	}
	if len(text) > maxCachedWord {
		return m.merge(w, dst, text)
	}
	if known, ok := w.cache[text]; ok {
		return append(dst, known...)
	}
	start := len(dst)
	dst = m.merge(w, dst, text)
	if len(w.cache) >= maxCachedWords {
		clear(w.cache)
		w.kept = nil
	}
	from := len(w.kept)
	if cap(w.kept)-from < len(dst)-start {
		w.kept = make([]token, 0, 4096) // words cached so far keep the old block alive
		from = 0
	}
	w.kept = append(w.kept, dst[start:]...)
	w.cache[strings.Clone(text)] = w.kept[from:len(w.kept):len(w.kept)]
	return dst
}

// symbol is a token under construction in a doubly linked list; size 0 marks one that was joined to its left. joins
// is what it makes with the next symbol, or missing.
type symbol struct{ id, size, prev, next, joins int32 }

// merge computes the tokens of a word.
func (m *model) merge(w *worker, dst []token, text string) []token {
	w.symbols = w.symbols[:0]
	if m.bytewise {
		for i := range len(text) {
			w.push(m.bytes[text[i]], 1)
		}
	} else {
		m.chars(w, text)
	}
	m.mergeAll(w)
	for _, s := range w.symbols {
		if s.size > 0 {
			dst = append(dst, token{s.id, s.size})
		}
	}
	return dst
}

func (w *worker) push(id, size int32) {
	n := int32(len(w.symbols))
	w.symbols = append(w.symbols, symbol{id: id, size: size, prev: n - 1, next: n + 1})
}

// chars fills the symbols with the characters of text. One outside the vocabulary becomes its bytes (byte fallback,
// if all have tokens), else part of an unknown token, else nothing.
func (m *model) chars(w *worker, text string) {
	unknown := int32(0) // bytes of a pending unknown token
	flush := func() {
		if unknown > 0 {
			w.push(m.unk, unknown)
			unknown = 0
		}
	}
	for i := 0; i < len(text); {
		_, n := utf8.DecodeRuneInString(text[i:])
		char := text[i : i+n]
		i += n
		id := missing32
		if n == 1 {
			id = m.ascii[char[0]]
		} else if known, ok := m.words[char]; ok {
			id = known
		}
		switch {
		case id != missing:
			flush()
			w.push(id, int32(n))
		case m.byteFallback && m.hasBytes(char):
			// As in Hugging Face's library a pending unknown token stays pending here.
			for k := range n {
				w.push(m.bytes[char[k]], 1)
			}
		case m.unk != missing:
			if !m.fuseUnk {
				flush()
			}
			unknown += int32(n)
		}
	}
	flush()
}

const missing32 = int32(missing)

func (m *model) hasBytes(char string) bool {
	for i := range len(char) {
		if m.bytes[char[i]] == missing {
			return false
		}
	}
	return true
}

// mergeAll joins symbols, n log n in their number. A candidate whose pair has changed since is dropped, unless the
// new pair makes the same token, which Hugging Face's library lets pass at the old rank.
func (m *model) mergeAll(w *worker) {
	symbols := w.symbols
	if n := len(symbols); n > 0 {
		symbols[n-1].next, symbols[n-1].joins = missing, missing
	}
	m.candidates(w)
	for top, ok := w.dequeue(); ok; top, ok = w.dequeue() {
		pos := top.pos()
		left := &symbols[pos]
		if left.size == 0 || left.joins != top.id {
			continue
		}
		right := &symbols[left.next]
		left.id, left.next = top.id, right.next
		left.size += right.size
		right.size = 0
		left.joins = missing
		if left.next != missing {
			symbols[left.next].prev = pos
			left.joins = m.offer(w, pos, left.id, symbols[left.next].id)
		}
		if left.prev != missing {
			before := &symbols[left.prev]
			before.joins = m.offer(w, left.prev, before.id, left.id)
		}
	}
}

// candidates queues the pairs of the symbols as they are.
func (m *model) candidates(w *worker) {
	symbols := w.symbols
	w.heap = w.heap[:0]
	w.bucketed = len(symbols) >= minBucketed && m.ranks > 0 && m.ranks <= 64*len(symbols)
	if w.bucketed {
		w.buckets.reset(m.ranks)
	}
	for i := len(symbols) - 2; i >= 0; i-- {
		mg := m.merges.find(symbols[i].id, symbols[i+1].id)
		symbols[i].joins = mg.id
		switch {
		case mg.id == missing:
		case w.bucketed:
			w.buckets.push(newCandidate(mg, int32(i)))
		default:
			w.heap = append(w.heap, newCandidate(mg, int32(i)))
		}
	}
	w.heap.init()
}

// offer puts the pair that begins at pos on the heap, if it can be joined, and returns what it makes.
func (m *model) offer(w *worker, pos, left, right int32) int32 {
	mg := m.merges.find(left, right)
	if mg.id != missing {
		w.enqueue(newCandidate(mg, pos))
	}
	return mg.id
}

// sortedMerges returns the pairs in rank order as left<<32 | right.
func (m *model) sortedMerges() []uint64 {
	type ranked struct {
		key  uint64
		rank int32
	}
	var list []ranked
	for key, mg := range m.merges.all() {
		list = append(list, ranked{key, mg.rank})
	}
	slices.SortFunc(list, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.key, b.key)) })
	keys := make([]uint64, len(list))
	for i, r := range list {
		keys[i] = r.key
	}
	return keys
}

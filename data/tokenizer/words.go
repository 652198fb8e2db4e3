package tokenizer

// Access to the model alone, for adapters to other libraries that bring their own pipeline.

// WordToken is a token of a single word and the bytes of the word, [Start, End), that it covers.
type WordToken struct {
	ID         int
	Token      string
	Start, End int
}

// EncodeWord runs only the merges on a word that is already normalized and cut, written as in the vocabulary: a
// byte-level tokenizer takes the byte-level alphabet ("Ġthe"). Characters outside that alphabet are passed over.
func (t *Tokenizer) EncodeWord(word string) []WordToken {
	w := t.worker()
	defer t.workers.Put(w)
	input := word
	if t.model.bytewise {
		raw := make([]byte, 0, len(word))
		for _, c := range word {
			if b, ok := symbolBytes[c]; ok {
				raw = append(raw, b)
			}
		}
		input = string(raw)
	}
	w.tokens = t.model.encode(w, w.tokens[:0], input)
	out := make([]WordToken, len(w.tokens))
	at := 0
	for i, tok := range w.tokens {
		size := int(tok.size)
		if t.model.bytewise {
			size = len(t.model.tokens[tok.id])
		}
		out[i] = WordToken{int(tok.id), t.model.tokens[tok.id], at, at + size}
		at += size
	}
	return out
}

// Vocab returns a copy of the model's vocabulary, without added tokens that are not part of it.
func (t *Tokenizer) Vocab() map[string]int {
	vocab := make(map[string]int, len(t.model.ids))
	for tok, id := range t.model.ids {
		vocab[tok] = int(id)
	}
	return vocab
}

// Merges returns the pairs of tokens that can be joined, first those joined first.
func (t *Tokenizer) Merges() [][2]string {
	keys := t.model.sortedMerges()
	pairs := make([][2]string, len(keys))
	for i, key := range keys {
		pairs[i] = [2]string{t.model.tokens[key>>32], t.model.tokens[uint32(key)]}
	}
	return pairs
}

package demo

// The vocabulary: one token per word. Byte-pair encoding can only join two tokens at a time, so each word is
// reached through a chain of merges from its leading space, Ġ: Ġ+l, Ġl+i, Ġli+m, Ġlim+e. No merge joins tokens
// without a leading space; hence the chains cannot disturb each other and the order of the merges does not matter.

import (
	"slices"
	"strings"
)

// The special tokens and their ids.
const (
	BOSToken = "<s>"
	EOSToken = "</s>"
	BOS      = 0
	EOS      = 1
)

// space is how byte-level BPE writes a space.
const space = "Ġ"

// vocabulary is the tokens by id and the merges by rank.
type vocabulary struct {
	tokens []string
	merges [][2]string
	ids    map[string]int
}

// vocab is the vocabulary of the task.
var vocab = buildVocabulary()

// words returns all words of the task, each once, the most common first.
func words() []string {
	all := []string{noun}
	for _, w := range adjectives {
		all = append(all, w.name)
	}
	for _, w := range ingredients {
		all = append(all, w.name)
	}
	return all
}

// buildVocabulary lays out special tokens, the characters that occur, and then each word's chain.
func buildVocabulary() *vocabulary {
	v := &vocabulary{ids: map[string]int{}}
	for _, token := range []string{BOSToken, EOSToken, space, ":"} {
		v.add(token)
	}
	letters := strings.Split(strings.Join(words(), ""), "")
	slices.Sort(letters)
	for _, letter := range letters {
		v.add(letter)
	}
	for _, word := range words() {
		left := space
		for _, letter := range strings.Split(word, "") {
			if v.add(left + letter) {
				v.merges = append(v.merges, [2]string{left, letter})
			}
			left += letter
		}
	}
	return v
}

// add gives a token the next id and tells whether it is new.
func (v *vocabulary) add(token string) bool {
	if _, known := v.ids[token]; known {
		return false
	}
	v.ids[token] = len(v.tokens)
	v.tokens = append(v.tokens, token)
	return true
}

// VocabSize is the number of tokens.
func VocabSize() int { return len(vocab.tokens) }

// IngredientID returns the token id of ingredient i.
func IngredientID(i int) int { return vocab.ids[space+ingredients[i].name] }

// PromptIDs returns the prompt as the tokenizer encodes it with special tokens.
func PromptIDs(p Prompt) []int {
	ids := []int{BOS}
	for _, i := range p {
		ids = append(ids, vocab.ids[space+adjectives[i].name])
	}
	return append(ids, vocab.ids[space+noun], vocab.ids[":"])
}

// TextOf decodes ids up to the first </s>, without special tokens. An id outside the vocabulary becomes "?", which is
// part of no word.
func TextOf(ids []int) string {
	var b strings.Builder
	for _, id := range ids {
		switch {
		case id == EOS:
			return b.String()
		case id == BOS:
		case id < 0 || id >= len(vocab.tokens):
			b.WriteString("?")
		default:
			b.WriteString(strings.ReplaceAll(vocab.tokens[id], space, " "))
		}
	}
	return b.String()
}

// GoldIDs is Gold for token ids as a model sees and writes them.
func GoldIDs(promptIDs, completionIDs []int) (float64, error) {
	return Gold(TextOf(promptIDs), TextOf(completionIDs))
}

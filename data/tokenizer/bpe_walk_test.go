package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// randomModel makes a model whose merges join whatever they meet, marks included. Ranks may be equal, as those of a
// tokenizer.model are.
func randomModel(rng *rand.Rand) *model {
	m := &model{ids: map[string]int32{}, unk: missing}
	add := func(tok string) {
		if _, ok := m.ids[tok]; !ok {
			m.ids[tok] = int32(len(m.tokens))
			m.tokens, m.present = append(m.tokens, tok), append(m.present, true)
		}
	}
	for _, c := range []string{"<unk>", "a", "b", "é", "▁"} {
		add(c)
	}
	m.unk, m.fuseUnk = 0, rng.IntN(2) == 0
	n, rank, anyOrder := 3+rng.IntN(25), int32(0), rng.IntN(4) == 0
	m.merges = newMergeTable(n + 1)
	made := make(map[int32]int32)
	join := func(left, right int32) {
		if m.merges.find(left, right).id != missing {
			return // what a pair becomes must not change
		}
		switch {
		case anyOrder:
			rank = int32(rng.IntN(n))
		case rng.IntN(4) > 0 || rank < max(made[left], made[right]):
			rank++
		}
		tok := m.tokens[left] + m.tokens[right]
		add(tok)
		id := m.ids[tok]
		m.merges.set(left, right, merge{rank, id})
		made[id] = max(made[id], rank+1)
	}
	join(m.ids["a"], m.ids["▁"])
	for range n {
		join(1+int32(rng.IntN(len(m.tokens)-1)), 1+int32(rng.IntN(len(m.tokens)-1)))
	}
	add("▁bb▁") // a token that nothing makes
	m.findOrder()
	m.charWords()
	m.findMark("▁")
	m.findWalk()
	return m
}

// TestWalkEqualsMerging compares both ways to the same tokens on random models and texts.
func TestWalkEqualsMerging(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	chars := []string{"a", "a", "a", "b", "b", "é", "▁", "▁", "x", "世"}
	w, walked := newWorker(), 0
	for range 1500 {
		m := randomModel(rng)
		if m.walk == nil {
			continue // a later merge makes what an earlier one needs
		}
		walked++
		for range 20 {
			var text strings.Builder
			for range 1 + rng.IntN(60) {
				text.WriteString(chars[rng.IntN(len(chars))])
			}
			require.Equal(t, m.merge(w, nil, text.String()), m.walkAll(w, nil, text.String()), "%q with %q", text.String(), m.tokens)
		}
	}
	assert.Greater(t, walked, 500)
}

// TestWalkIsChosen holds that a walk replaces merging for text that is not cut at spaces, and only there.
func TestWalkIsChosen(t *testing.T) {
	for _, name := range goldenNames(t) {
		assert.Equal(t, name == "cross", loadGolden(t, name).model.walk != nil, name)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	m := randomModel(rng)
	for m.walk == nil {
		m = randomModel(rng)
	}
	m.walk, m.unk = nil, m.ids["a"]
	m.findWalk()
	assert.Nil(t, m.walk, "an unknown token that merges would cross the ends of a walk")
}

// FuzzWalk holds the walk to the merge loop on any text.
func FuzzWalk(f *testing.F) {
	tok := loadGolden(f, "cross")
	f.Add("▁of▁the▁Light▁世界,▁and\n\nthe▁▁▁<unk>▁in▁the▁thethethe")
	f.Fuzz(func(t *testing.T, text string) {
		text = validUTF8(text)
		w := newWorker()
		want, got := tok.model.merge(w, nil, text), tok.model.walkAll(w, nil, text)
		require.Equal(t, want, got, "%q", text)
	})
}

// TestSpellings finds the longest beginning among tokens that share beginnings, bytes of characters and the mark.
func TestSpellings(t *testing.T) {
	tokens := []string{"a", "ab", "abcd", "▁", "▁a", "a▁b", "■", "é", "è", "absent"}
	s := newSpellings(tokens, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8})
	for text, want := range map[string]int32{
		"a": 0, "abc": 1, "abcd": 2, "abcde": 2, "▁": 3, "▁▁": 3, "▁ab": 4, "a▁": 0, "a▁bc": 5, "■▁": 6, "éa": 7, "è": 8, "absent": 1,
		"": missing, "b": missing, "ê": missing, "▂": missing, "\xe2\x96": missing,
	} {
		assert.Equal(t, want, s.longest(text), "%q", text)
	}
	assert.Equal(t, int32(missing), newSpellings(tokens, nil).longest("a"))
}

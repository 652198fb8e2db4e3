package data

// Odd sizes and types are met with words, not with memory.

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A model whose context has no end packs everything into one row, and no table is made of the context's size.
func TestPackingIntoAnEndlessContext(t *testing.T) {
	rows := []Example{{IDs: []int{1, 2}, Mask: []bool{false, true}}, {IDs: []int{3, 4, 5}, Mask: []bool{false, true, true}}}
	for _, how := range []Packing{PackBFD, PackBFDSplit, PackWrapped} {
		packed, cut, err := PackExamples(rows, math.MaxInt, how)
		require.NoError(t, err)
		assert.Zero(t, cut)
		require.Len(t, packed, 1, how)
		assert.Len(t, packed[0].IDs, 5)
	}
}

func TestWrongTypesAreSaidInJSONsWords(t *testing.T) {
	for value, want := range map[string]any{
		"a whole number": new(int), "a number": new(float64), "a string": new(string), "a list": new([]int),
		"a text or a list of messages": new([]Message), "an object": new(Message),
	} {
		err := object{"key": []byte("true")}.decode("key", want)
		assert.EqualError(t, err, `"key" holds a JSON bool where `+value+" is needed")
	}
}

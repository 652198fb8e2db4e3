package data

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// exampleOf returns an example of n tokens first, first+1, …, all targets but the first.
func exampleOf(first, n int) Example {
	x := Example{IDs: make([]int, n), Mask: make([]bool, n), PromptLen: 1}
	for i := range n {
		x.IDs[i], x.Mask[i] = first+i, i > 0
	}
	return x
}

// The worked example of METHODS.md: lengths 5, 2, 3, 1 in rows of 4.
func TestPackingWorkedExample(t *testing.T) {
	docs := []Example{exampleOf(10, 5), exampleOf(20, 2), exampleOf(30, 3), exampleOf(40, 1)}
	cases := []struct {
		how     Packing
		lengths [][]int
		ids     [][]int
		cut     int
	}{
		{PackBFD, [][]int{{4}, {3, 1}, {2}}, [][]int{{10, 11, 12, 13}, {30, 31, 32, 40}, {20, 21}}, 1},
		{PackBFDSplit, [][]int{{4}, {3, 1}, {2, 1}}, [][]int{{10, 11, 12, 13}, {30, 31, 32, 14}, {20, 21, 40}}, 0},
		{PackWrapped, [][]int{{4}, {1, 2, 1}, {2, 1}}, [][]int{{10, 11, 12, 13}, {14, 20, 21, 30}, {31, 32, 40}}, 0},
	}
	for _, c := range cases {
		rows, cut, err := PackExamples(docs, 4, c.how)
		require.NoError(t, err)
		assert.Equal(t, c.cut, cut)
		require.Len(t, rows, len(c.ids), c.how)
		for i, row := range rows {
			assert.Equal(t, c.lengths[i], row.Lengths, "%s row %d", c.how, i)
			assert.Equal(t, c.ids[i], row.IDs, "%s row %d", c.how, i)
		}
	}
	rows, _, err := PackExamples(docs, 4, PackBFD)
	require.NoError(t, err)
	assert.InDelta(t, 10.0/12, Fill(rows, 4), 1e-12)
	assert.Equal(t, "[3 1]", rows[1].String())
}

// Each document keeps its origin, and its first token, which the one before it would have to predict, is no target.
func TestPackedDocumentsStayApart(t *testing.T) {
	one, two := exampleOf(10, 3), exampleOf(20, 2)
	one.Row, two.Row = &Row{Line: 1}, &Row{Line: 2}
	two.Mask[0] = true
	rows, _, err := PackExamples([]Example{one, two}, 6, PackBFD)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	assert.Equal(t, []bool{false, true, true, false, true}, rows[0].Mask)
	assert.Equal(t, []*Row{one.Row, two.Row}, rows[0].Rows)
	split, _, err := PackExamples([]Example{one}, 2, PackWrapped)
	require.NoError(t, err)
	assert.Same(t, one.Row, split[1].Rows[0], "both pieces of a document know it")
}

func TestPackingKeepsEveryTargetButAtCuts(t *testing.T) {
	var docs []Example
	targets := 0
	for i := range 200 {
		docs = append(docs, exampleOf(1000*i, 1+(i*37)%23))
		targets += docs[i].Targets()
	}
	for _, how := range []Packing{PackBFD, PackBFDSplit, PackWrapped} {
		rows, cut, err := PackExamples(docs, 24, how)
		require.NoError(t, err)
		assert.Zero(t, cut)
		got, tokens := 0, 0
		for _, r := range rows {
			assert.LessOrEqual(t, len(r.IDs), 24)
			x := Example{Mask: r.Mask}
			got, tokens = got+x.Targets(), tokens+len(r.IDs)
		}
		assert.Equal(t, targets+200, tokens)
		if how != PackWrapped { // wrapping cuts documents, and each piece loses its first target
			assert.Equal(t, targets, got)
		}
		assert.Greater(t, Fill(rows, 24), 0.95)
	}
}

func TestPackingDoesNotChangeTheExamples(t *testing.T) {
	x := exampleOf(10, 5)
	x.Mask[3] = true
	_, _, err := PackExamples([]Example{x}, 3, PackWrapped)
	require.NoError(t, err)
	assert.Equal(t, []bool{false, true, true, true, true}, x.Mask)
	_, _, err = PackExamples(nil, 1, PackBFD)
	assert.ErrorContains(t, err, "at least 2")
	_, _, err = PackExamples(nil, 8, "tight")
	assert.ErrorContains(t, err, "choose bfd, bfd_split or wrapped")
}

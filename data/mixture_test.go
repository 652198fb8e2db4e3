package data

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mixed are the rows of files of the given sizes, laid end to end, with weights.
func mixed(t *testing.T, sizes []int, weights []float64) []*Row {
	t.Helper()
	files := make([]string, len(sizes))
	for i := range files {
		files[i] = fmt.Sprintf("f%d.jsonl", i)
	}
	mix, err := NewMix(files, weights)
	require.NoError(t, err)
	var rows []*Row
	for i, n := range sizes {
		for range n {
			rows = append(rows, &Row{Mix: mix, Source: i})
		}
	}
	return rows
}

func walkOf(t *testing.T, sizes []int, weights []float64, seed uint64) Walk {
	t.Helper()
	w, err := NewWalk(mixed(t, sizes, weights), seed, true)
	require.NoError(t, err)
	return w
}

func TestMixtureKeepsItsProportions(t *testing.T) {
	sizes, weights := []int{10, 4, 5}, []float64{3, 1, 0}
	rows := mixed(t, sizes, weights)
	w, err := NewWalk(rows, 1, true)
	require.NoError(t, err)
	assert.Equal(t, 14, w.Len(), "a file of weight 0 adds nothing to an epoch")
	counts := make([]int, 3)
	seen := make([]int, len(rows))
	for n := 1; n <= 400; n++ {
		item := w.Next(1)[0]
		seen[item]++
		counts[rows[item].Source]++
		assert.InDelta(t, 0.75*float64(n), float64(counts[0]), 1, "after %d draws", n)
	}
	assert.Equal(t, []int{300, 100, 0}, counts)
	assert.InDelta(t, 400.0/14, w.Epochs(), 1e-12)
	for i := range 14 { // each file takes its rows in turn
		want := 30
		if i >= 10 {
			want = 25
		}
		assert.Equal(t, want, seen[i], "row %d", i)
	}
}

func TestMixtureShufflesInsideAFile(t *testing.T) {
	order := func(seed uint64, shuffle bool) []int {
		w, err := NewWalk(mixed(t, []int{8, 8}, []float64{1, 1}), seed, shuffle)
		require.NoError(t, err)
		first := w.Next(16)
		return slices.DeleteFunc(first, func(i int) bool { return i >= 8 })
	}
	assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7}, order(1, false))
	assert.NotEqual(t, order(1, false), order(1, true))
	assert.NotEqual(t, order(2, true), order(1, true))
	assert.ElementsMatch(t, order(1, false), order(1, true))
}

func TestMixtureResumes(t *testing.T) {
	for _, done := range []int{0, 1, 17, 60} {
		w := walkOf(t, []int{10, 3, 4}, []float64{2, 0, 1}, 1)
		w.Next(done)
		saved, err := w.State()
		require.NoError(t, err)
		resumed := walkOf(t, []int{10, 3, 4}, []float64{2, 0, 1}, 1)
		require.NoError(t, resumed.Restore(saved))
		assert.Equal(t, w.Epochs(), resumed.Epochs())
		assert.Equal(t, w.Next(30), resumed.Next(30))
	}
	saved, err := walkOf(t, []int{10, 4}, []float64{2, 1}, 1).State()
	require.NoError(t, err)
	assert.ErrorContains(t, walkOf(t, []int{10, 4}, []float64{1, 1}, 1).Restore(saved), "saved with weights [2 1], now [1 1]")
	assert.ErrorContains(t, walkOf(t, []int{10, 5}, []float64{2, 1}, 1).Restore(saved), "f1.jsonl: data order: saved over 4 rows")
	assert.ErrorContains(t, walkOf(t, []int{10, 4}, []float64{2, 1}, 1).Restore([]byte("{")), "saved state")
	plain, err := NewOrder(14, 1, true).State()
	require.NoError(t, err)
	assert.ErrorContains(t, walkOf(t, []int{10, 4}, []float64{2, 1}, 1).Restore(plain), "saved with weights []")
	assert.ErrorContains(t, NewOrder(14, 1, true).Restore(saved), "resume with the same data and flags")
}

func TestMixtureSaysWhatItDraws(t *testing.T) {
	w := walkOf(t, []int{10, 4, 2}, []float64{3, 1, 0}, 1)
	assert.Equal(t, `mixture of 3 files, an epoch is 14 draws:
  f0.jsonl: weight 3, 10 to draw from, 75% of the draws, walked 1.05 times an epoch
  f1.jsonl: weight 1, 4 to draw from, 25% of the draws, walked 0.875 times an epoch
  f2.jsonl: weight 0, 2 to draw from, 0% of the draws`, fmt.Sprint(w))
	w.Next(8)
	assert.Contains(t, fmt.Sprint(w), "25% of the draws, walked 0.875 times an epoch; drawn 2 of 8")
}

func TestMixtureRefusesBadWeights(t *testing.T) {
	for _, c := range []struct {
		weights []float64
		says    string
	}{
		{[]float64{1}, "1 weights for 2 data files; give one weight per file"},
		{[]float64{0, 0}, "make at least one positive"},
		{[]float64{-1, 2}, "the weight of a is -1; weights are relative shares"},
		{[]float64{1, math.NaN()}, "the weight of b is NaN"},
		{[]float64{1, math.Inf(1)}, "the weight of b is +Inf"},
	} {
		_, err := NewMix([]string{"a", "b"}, c.weights)
		assert.ErrorContains(t, err, c.says)
	}
	_, err := NewWalk(mixed(t, []int{4, 0}, []float64{1, 1}), 1, true)
	assert.ErrorContains(t, err, "f1.jsonl: none of its rows is left to draw from")
}

package data

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOrderVisitsEverythingOnceAnEpoch(t *testing.T) {
	o := NewOrder(10, 7, true)
	first, second := o.Next(10), o.Next(10)
	assert.NotEqual(t, first, second, "each epoch has its own shuffle")
	for _, epoch := range [][]int{first, second} {
		slices.Sort(epoch)
		assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, epoch)
	}
	assert.Equal(t, 2.0, o.Epochs())
	assert.Equal(t, []int{0, 1, 2, 0}, NewOrder(3, 7, false).Next(4))
}

// These very numbers are part of every saved run: changing them breaks resuming.
func TestOrderIsPinned(t *testing.T) {
	pinned := []int{3, 1, 2, 4, 5, 0, 7, 6, 7, 2, 0, 6, 5, 3, 4, 1}
	assert.Equal(t, pinned, NewOrder(8, 42, true).Next(16))
	assert.NotEqual(t, pinned, NewOrder(8, 43, true).Next(16))
}

func TestOrderEndsEpochsShortWhenAsked(t *testing.T) {
	o := NewOrder(5, 0, false)
	var sizes []int
	for range 6 {
		sizes = append(sizes, len(o.NextInEpoch(2)))
	}
	assert.Equal(t, []int{2, 2, 1, 2, 2, 1}, sizes)
}

func TestOrderResumesMidEpoch(t *testing.T) {
	for _, done := range []int{0, 3, 7, 8, 21} {
		o := NewOrder(7, 3, true)
		o.Next(done)
		saved, err := o.State()
		require.NoError(t, err)
		resumed := NewOrder(7, 3, true)
		require.NoError(t, resumed.Restore(saved))
		assert.Equal(t, o.Next(20), resumed.Next(20))
		assert.Equal(t, o.Epochs(), resumed.Epochs())
	}
}

func TestOrderRefusesForeignStates(t *testing.T) {
	saved, err := NewOrder(7, 3, true).State()
	require.NoError(t, err)
	assert.ErrorContains(t, NewOrder(8, 3, true).Restore(saved), "saved over 7 rows (seed 3, shuffle true), now 8 rows")
	assert.ErrorContains(t, NewOrder(7, 4, true).Restore(saved), "resume with the same data and flags")
	assert.ErrorContains(t, NewOrder(7, 3, true).Restore([]byte(`{"n":7,"seed":3,"shuffle":true,"pos":9}`)), "cursor 9 of 7")
	assert.ErrorContains(t, NewOrder(7, 3, true).Restore([]byte(`{`)), "saved state")
	assert.Panics(t, func() { NewOrder(0, 1, true) })
}

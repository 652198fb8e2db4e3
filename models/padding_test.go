package models_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/tensor"
)

// TestPaddedBatches feeds transformers' padded batches, ids and mask, and compares with what it computes from them.
func TestPaddedBatches(t *testing.T) {
	eachCase(t, func(t *testing.T, dir string, g golden) {
		run(t, func() {
			var m models.Model
			var s *models.Scorer
			if g.Scores == nil {
				m = load(t, dir, float32CPU)
			} else {
				var err error
				s, err = models.LoadScorer(dir, float32CPU)
				require.NoError(t, err)
			}
			for side, want := range map[string]batch{"left": g.Left, "right": g.Right} {
				in, rows, err := models.FromMask(want.IDs, want.Mask)
				require.NoError(t, err)
				assert.Equal(t, g.Rows, rows)
				assert.Equal(t, side == "left", in.Start != nil)
				if s != nil {
					require.Len(t, want.Scores, len(rows))
					assert.InDeltaSlice(t, want.Scores, s.Rewards(in).Float64s(), 1e-4)
					continue
				}
				at := in.Targets(rows, nil)
				got := byRow(at, models.LogProbs(m, in, at, 1).LogP)
				assert.Equal(t, logProbs(m, rows), got, "the side changes no bit")
				for b := range rows {
					// Where transformers lets frequencies follow the batch, only its longest row is what salsa computes.
					if g.Greedy.Batched || len(rows[b]) == in.IDs.Dim(1) {
						assert.InDeltaSlice(t, want.LogProbs[b], got[b], 1e-4, "%s, row %d", side, b)
					}
				}
			}
		})
	})
}

// TestLeftPaddedCache stores a left-padded batch and goes on with the next token of each row.
func TestLeftPaddedCache(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, g golden) {
		m := load(t, dir, float32CPU)
		require.NoError(t, tensor.NoGrad(func() error {
			ids, mask := make([][]int, len(g.Rows)), make([][]int, len(g.Rows))
			next, lens := make([][]int, len(g.Rows)), make([]int, len(g.Rows))
			for b, row := range g.Rows {
				n := len(row) - 1
				gap := len(g.Rows[0]) - 1 - n // row 0 is the longest
				ids[b], mask[b] = make([]int, gap, gap+n), make([]int, gap, gap+n)
				ids[b] = append(ids[b], row[:n]...)
				for range n {
					mask[b] = append(mask[b], 1)
				}
				next[b], lens[b] = row[n:], n
			}
			in, _, err := models.FromMask(ids, mask)
			require.NoError(t, err)
			kv := models.NewCache(m.Config(), len(g.Rows), 32)
			defer kv.Free()
			m.Hidden(in, kv)
			assert.Equal(t, lens, kv.Lens)
			h := m.Hidden(models.Collate(next), kv)
			full := m.Hidden(models.Collate(g.Rows), nil)
			for b, n := range lens {
				assert.Less(t, maxDiff(h.Select(0, b).Select(0, 0), full.Select(0, b).Select(0, n)), 1e-4, "row %d", b)
			}
			return nil
		}))
	})
}

func TestFromMask(t *testing.T) {
	run(t, func() {
		in, rows, err := models.FromMask([][]int{{0, 5, 6, 0}, {7, 8, 9, 4}, {0, 0, 0, 0}}, [][]int{{0, 1, 1, 0}, {1, 1, 1, 1}, {0, 0, 0, 0}})
		require.NoError(t, err)
		assert.Equal(t, [][]int{{5, 6}, {7, 8, 9, 4}, {}}, rows)
		assert.Equal(t, []int{1, 0, 0}, in.Start)
		assert.Equal(t, []int{2, 4, 0}, in.Lens)
		assert.Equal(t, []int{1, 4, 5, 6}, in.Targets(rows, nil).Index.Ints())
		for want, mask := range map[string][][]int{
			"row 0: its mask":                     {{1, 0, 1}},
			"is not one run of ones among zeros;": {{1, 2, 0}},
			"3 ids and a mask of 2":               {{1, 1}},
			"mask: has 0 rows and ids 1":          {},
		} {
			_, _, err := models.FromMask([][]int{{1, 2, 3}}, mask)
			assert.ErrorContains(t, err, want)
		}
		_, _, err = models.FromMask([][]int{{1, 2, 3}, {1}}, [][]int{{1, 1, 1}, {1}})
		assert.ErrorContains(t, err, "row 1: has 1 ids")

		m := load(t, "testdata/llama-gqa", float32CPU)
		in.Pos = tensor.Ints(make([]int, 12), 3, 4)
		assert.ErrorContains(t, tensor.NoGrad(func() error { m.Hidden(in, nil); return nil }), "neither Pos nor Seg")
	})
}

package tensor_test

// Attention in a line of rows against the formula with a mask over the whole line.

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"salsa/tensor"
)

// someRows are rows of 1, 70, 73, 9 and 130 tokens: the second and the third share 64, the last two five.
func someRows() *tensor.Rows {
	var slots []int
	upTo := func(from, to int) {
		for i := from; i < to; i++ {
			slots = append(slots, i)
		}
	}
	upTo(0, 1)
	upTo(1, 71)
	upTo(1, 65)
	upTo(71, 80)
	upTo(80, 89)
	upTo(80, 85)
	upTo(89, 214)
	return tensor.NewRows(slots, []int{0, 1, 71, 144, 153, 283}, []int{1, 70, 9, 9, 125}, []int{0, 1, 3, 5})
}

// visible is the mask of the line, [N, N].
func visible(rows *tensor.Rows, window int) tensor.Tensor {
	n := rows.Tokens()
	mask := make([]int, n*n)
	for r := range rows.Own {
		path := rows.Path(r)
		for i := len(path) - rows.Own[r]; i < len(path); i++ {
			for j := 0; j <= i; j++ {
				if window == 0 || i-j < window {
					mask[path[i]*n+path[j]] = 1
				}
			}
		}
	}
	return tensor.Ints(mask, n, n).Gt(0)
}

// masked is attention by its formula: q [1, H, N, K], k and v [1, G, N, K].
func masked(q, k, v, mask tensor.Tensor, scale, softcap float64) tensor.Tensor {
	share := q.Dim(1) / k.Dim(1)
	repeat := func(x tensor.Tensor) tensor.Tensor {
		s := x.Shape()
		return x.Unsqueeze(2).Expand(1, s[1], share, s[2], s[3]).Reshape(1, s[1]*share, s[2], s[3])
	}
	z := q.Matmul(repeat(k).Transpose(-1, -2)).MulScalar(scale)
	if softcap > 0 {
		z = z.DivScalar(softcap).Tanh().MulScalar(softcap)
	}
	return z.MaskedFill(mask.Not(), math.Inf(-1)).Softmax(-1).Matmul(repeat(v))
}

func TestAttentionRows(t *testing.T) {
	for _, d := range bothTypes {
		for _, c := range []struct {
			heads, groups, dim, window int
			softcap                    float64
		}{{2, 2, 64, 0, 0}, {4, 2, 20, 0, 0}, {3, 1, 5, 0, 0.7}, {2, 2, 16, 1, 0}, {2, 1, 32, 19, 0}, {2, 2, 16, 33, 2}, {1, 1, 96, 500, 0}} {
			run(t, func() {
				rows := someRows()
				n := rows.Tokens()
				q, k, v := tensor.Randn(1, 1, c.heads, n, c.dim), tensor.Randn(2, 1, c.groups, n, c.dim), tensor.Randn(3, 1, c.groups, n, c.dim)
				scale := 1.5 / math.Sqrt(float64(c.dim))
				mask := visible(rows, c.window)
				want := gradsOf(tensor.Float64, func(x []tensor.Tensor) tensor.Tensor { return masked(x[0], x[1], x[2], mask, scale, c.softcap) }, q.To(d), k.To(d), v.To(d))
				got := gradsOf(d, func(x []tensor.Tensor) tensor.Tensor {
					return tensor.AttentionRows(x[0], x[1], x[2], rows, c.window, scale, c.softcap)
				}, q, k, v)
				holds(t, d, want, got, fmt.Sprintf("%+v", c))
			})
		}
	}
}

// TestAttentionRowsReach: what a row does not see changes none of its bits, and what is not a number shows.
func TestAttentionRowsReach(t *testing.T) {
	run(t, func() {
		rows := someRows()
		n := rows.Tokens()
		q, k := tensor.Randn(1, 1, 2, n, 16), tensor.Randn(2, 1, 2, n, 16)
		y := tensor.AttentionRows(q, k, k, rows, 0, 0.25, 0)
		bad := tensor.Zeros(tensor.Float32, tensor.CPU, 1, 2, n, 16)
		bad.Narrow(2, 71, 1).Copy(tensor.Scalar(math.NaN())) // the first own token of the third row
		z := tensor.AttentionRows(q, k.Add(bad), k, rows, 0, 0.25, 0)
		for i := range n {
			a, b := y.Select(2, i).Float64s(), z.Select(2, i).Float64s()
			if i >= 71 && i < 80 {
				assert.True(t, math.IsNaN(b[0]), "token %d sees it", i)
			} else {
				assert.Equal(t, a, b, "token %d does not", i)
			}
		}
		assert.ErrorContains(t, tensor.Try(func() { tensor.AttentionRows(q.Narrow(2, 0, 4), k, k, rows, 0, 1, 0) }), "rows' tokens")
	})
}

func TestRectangles(t *testing.T) {
	run(t, func() {
		rows := someRows()
		laid := rows.Rectangles(tensor.CPU)
		var flat []int
		for _, r := range laid.All {
			assert.Equal(t, []int{r.Rows * r.Width}, r.Slots.Shape())
			flat = append(flat, r.Slots.Ints()...)
		}
		for token, at := range laid.Back.Ints() {
			assert.Equal(t, token, flat[at])
		}
		assert.Len(t, laid.All, 4, "130; 73 and 70; 9; 1")
	})
}

package bench

// Scaled dot-product attention: causal prefill with as many and with fewer key heads, and one decode step.

import (
	"fmt"
	"math"
	"testing"

	"salsa/tensor"
)

func BenchmarkAttention(b *testing.B) {
	for _, s := range []struct {
		name          string
		batch, heads  int
		kvHeads       int
		queries, keys int
		dim           int
		causal, train bool
	}{
		{"causal", 1, 8, 8, 512, 512, 64, true, false},
		{"causal", 1, 8, 8, 2048, 2048, 64, true, false},
		{"gqa", 1, 8, 2, 512, 512, 64, true, false},
		{"gqa", 1, 8, 2, 2048, 2048, 64, true, false},
		{"train", 2, 8, 2, 512, 512, 64, true, true},
		{"decode", 8, 8, 2, 1, 1024, 64, false, false},
	} {
		b.Run(fmt.Sprintf("%s/B%d-H%d-KV%d-T%d-S%d", s.name, s.batch, s.heads, s.kvHeads, s.queries, s.keys), func(b *testing.B) {
			run(b, func() error {
				q := normal(s.batch, s.heads, s.queries, s.dim).Detach().RequireGrad(s.train)
				k := normal(s.batch, s.kvHeads, s.keys, s.dim).Detach().RequireGrad(s.train)
				v := normal(s.batch, s.kvHeads, s.keys, s.dim).Detach().RequireGrad(s.train)
				scale := 1 / math.Sqrt(float64(s.dim))
				step := func() tensor.Tensor {
					y := tensor.Attention(q, k, v, tensor.Tensor{}, s.causal, scale)
					if !s.train {
						return y
					}
					tensor.Backward(y.Sum())
					g := q.Grad()
					tensor.ZeroGrads([]tensor.Tensor{q, k, v})
					return g
				}
				// Two products of T·S·D multiply-adds; half of them under a causal mask; backward is 2.5 forwards.
				work := 4 * float64(s.batch*s.heads*s.queries*s.keys*s.dim)
				if s.causal {
					work /= 2
				}
				timed := inference
				if s.train {
					timed, work = loop, 3.5*work
				}
				err := timed(b, step)
				flops(b, work)
				return err
			})
		})
	}
}

// BenchmarkAttentionRows is the same work on a line of rows, as training does it: rows of one length beside the kernel for
// rectangles, and rows of lengths between an eighth and all of it.
func BenchmarkAttentionRows(b *testing.B) {
	for _, s := range []struct{ rows, heads, kvHeads, length int }{{16, 8, 8, 128}, {4, 8, 8, 512}, {4, 8, 2, 512}, {1, 8, 8, 2048}, {1, 8, 2, 8192}} {
		for _, kind := range []string{"rectangle", "rows", "ragged"} {
			b.Run(fmt.Sprintf("%s/R%d-H%d-KV%d-T%d", kind, s.rows, s.heads, s.kvHeads, s.length), func(b *testing.B) {
				lens := make([]int, s.rows)
				for i := range lens {
					lens[i] = s.length
					if kind == "ragged" {
						lens[i] = s.length * (1 + i%8) / 8
					}
				}
				run(b, func() error { return attentionRows(b, lens, s.heads, s.kvHeads, kind == "rectangle") })
			})
		}
	}
}

// attentionRows times a forward and a backward pass over rows of lens tokens with heads of 64.
func attentionRows(b *testing.B, lens []int, heads, kvHeads int, rectangle bool) error {
	n, work := 0, 0.0
	starts, own, trees := []int{0}, lens, []int{0}
	for i, t := range lens {
		n += t
		work += 4 * float64(t*t*heads*64) / 2 * 3.5 // as above
		starts, trees = append(starts, n), append(trees, i+1)
	}
	slots := make([]int, n)
	for i := range slots {
		slots[i] = i
	}
	rows := tensor.NewRows(slots, starts, own, trees)
	shape := func(h int) []int {
		if rectangle {
			return []int{len(lens), h, lens[0], 64}
		}
		return []int{1, h, n, 64}
	}
	q := normal(shape(heads)...).Detach().RequireGrad(true)
	k, v := normal(shape(kvHeads)...).Detach().RequireGrad(true), normal(shape(kvHeads)...).Detach().RequireGrad(true)
	err := loop(b, func() tensor.Tensor {
		var y tensor.Tensor
		if rectangle {
			y = tensor.Attention(q, k, v, tensor.Tensor{}, true, 0.125)
		} else {
			y = tensor.AttentionRows(q, k, v, rows, 0, 0.125, 0)
		}
		tensor.Backward(y.Square().Sum())
		g := q.Grad()
		tensor.ZeroGrads([]tensor.Tensor{q, k, v})
		return g
	})
	flops(b, work)
	return err
}

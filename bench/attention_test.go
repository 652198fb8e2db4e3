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

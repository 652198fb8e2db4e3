package bench

// Log-probabilities and entropies of targets under a vocabulary head, in chunks of tokens: the last layer of
// every loss, forward alone (a frozen reference) and with backward (the policy).

import (
	"fmt"
	"testing"

	"salsa/tensor"
)

func BenchmarkLinearLogProb(b *testing.B) {
	for _, s := range []struct{ tokens, dim, vocab int }{{512, 256, 4096}, {512, 768, 32000}} {
		name := fmt.Sprintf("N%d-D%d-V%d", s.tokens, s.dim, s.vocab)
		targets := func() tensor.Tensor {
			ids := make([]int, s.tokens)
			for i := range ids {
				ids[i] = i * 7919 % s.vocab
			}
			return tensor.Ints(ids, s.tokens).OnDevice(device)
		}
		product := 2 * float64(s.tokens) * float64(s.dim) * float64(s.vocab)
		b.Run(name+"/forward", func(b *testing.B) {
			run(b, func() error {
				h, w, t := normal(s.tokens, s.dim), normal(s.vocab, s.dim), targets()
				err := inference(b, func() tensor.Tensor {
					return tensor.LinearLogProb(h, w, t, 1, 0).LogP
				})
				tokens(b, float64(s.tokens))
				flops(b, product)
				return err
			})
		})
		b.Run(name+"/train", func(b *testing.B) {
			run(b, func() error {
				h, w, t := weight(s.tokens, s.dim), weight(s.vocab, s.dim), targets()
				err := loop(b, func() tensor.Tensor {
					logp := tensor.LinearLogProb(h, w, t, 1, 0).LogP
					tensor.Backward(logp.Mean())
					g := w.Grad()
					tensor.ZeroGrads([]tensor.Tensor{h, w})
					return g
				})
				tokens(b, float64(s.tokens))
				flops(b, 4*product) // forward, again in backward, and the two gradients
				return err
			})
		})
	}
}

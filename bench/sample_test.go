package bench

// Drawing the next token of every row of a batch.

import (
	"fmt"
	"testing"

	"salsa/tensor"
)

func BenchmarkSample(b *testing.B) {
	for _, s := range []struct {
		name    string
		sampler tensor.Sampler
	}{
		{"greedy", tensor.Sampler{TopP: 1}},
		{"temperature", tensor.Sampler{Temperature: 1, TopP: 1}},
		{"top-k50", tensor.Sampler{Temperature: 0.7, TopK: 50, TopP: 1}},
		{"top-p0.9", tensor.Sampler{Temperature: 0.7, TopP: 0.9}},
	} {
		for _, size := range []struct{ rows, vocab int }{{8, 4096}, {8, 32000}} {
			b.Run(fmt.Sprintf("%s/B%d-V%d", s.name, size.rows, size.vocab), func(b *testing.B) {
				run(b, func() error {
					logits := normal(size.rows, size.vocab).MulScalar(3) // as unequal as a trained model's
					rng := tensor.NewRNG(1, 0)
					u := make([]float64, size.rows)
					err := inference(b, func() tensor.Tensor {
						for i := range u {
							u[i] = rng.Float64()
						}
						ids, _ := tensor.Sample(logits, u, s.sampler)
						return ids
					})
					tokens(b, float64(size.rows))
					return err
				})
			})
		}
	}
}

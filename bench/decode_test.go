package bench

// Generation with a model of 58 million parameters: tokens per second of decoding, greedy and sampled, and what part
// that is of the speed at which this machine can read the weights once per step.

import (
	"context"
	"fmt"
	"testing"
	"time"

	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// decodeBytes is what a step must read: all weights but the embedding, of which it needs a few rows.
func decodeBytes(m models.Model) float64 {
	var all []tensor.Tensor
	for p := range nn.Params(m) {
		if p.Name != "model.embed_tokens.weight" {
			all = append(all, *p.Tensor)
		}
	}
	return bytesOf(all...)
}

var samplers = []struct {
	name    string
	sampler tensor.Sampler
}{
	{"greedy", tensor.Sampler{TopP: 1}},
	{"temperature", tensor.Sampler{Temperature: 1, TopP: 1}},
	{"top-p", tensor.Sampler{Temperature: 0.8, TopP: 0.95}},
}

// BenchmarkDecode times the tokens after the first of 64, prompts of 16. %limit is steps per second as a share of
// what reading the weights once per step allows.
func BenchmarkDecode(b *testing.B) {
	for _, batch := range []int{1, 8, 32} {
		for _, s := range samplers {
			b.Run(fmt.Sprintf("B%d/%s", batch, s.name), func(b *testing.B) {
				run(b, func() error {
					m, err := newModelOf(wideLlama, false)
					if err != nil {
						return err
					}
					return decode(b, m, batch, s.sampler)
				})
			})
		}
	}
}

func decode(b *testing.B, m models.Model, batch int, s tensor.Sampler) error {
	const fresh = 64
	var first time.Time
	var spent time.Duration
	opt := models.GenOptions{MaxNewTokens: fresh, IgnoreEOS: true, BatchSize: batch, Sampler: s}
	written := 0
	opt.OnToken = func(int, int, float32) {
		if written++; written == batch {
			first = time.Now()
		}
	}
	steps := 0
	for b.Loop() {
		written = 0
		if _, err := models.Generate(context.Background(), m, prompts(batch, 16), opt); err != nil {
			return err
		}
		spent += time.Since(first)
		steps += fresh - 1
	}
	rate := float64(steps) / spent.Seconds()
	b.ReportMetric(rate*float64(batch), "tokens/s")
	b.ReportMetric(100*rate*decodeBytes(m)/readSpeed(), "%limit")
	return nil
}

// BenchmarkRollout is PPO's sampling: 16 prompts of 8 to 64 ids, 64 new ones each.
func BenchmarkRollout(b *testing.B) {
	run(b, func() error {
		m, err := newModelOf(wideLlama, false)
		if err != nil {
			return err
		}
		var rows [][]int
		for i := range 16 {
			rows = append(rows, prompts(1, 8+i*56/15)[0])
		}
		opt := models.GenOptions{MaxNewTokens: 64, IgnoreEOS: true, BatchSize: 16, Sampler: tensor.Sampler{Temperature: 1, TopP: 1}}
		for b.Loop() {
			if _, err := models.Generate(context.Background(), m, rows, opt); err != nil {
				return err
			}
		}
		tokens(b, 16*64)
		return nil
	})
}

// BenchmarkFirstToken times a prompt of n ids up to its first new one.
func BenchmarkFirstToken(b *testing.B) {
	for _, n := range []int{16, 512, 1536} {
		b.Run(fmt.Sprintf("T%d", n), func(b *testing.B) {
			run(b, func() error {
				m, err := newModelOf(wideLlama, false)
				if err != nil {
					return err
				}
				opt := models.GenOptions{MaxNewTokens: 1, IgnoreEOS: true, BatchSize: 1}
				for b.Loop() {
					if _, err := models.Generate(context.Background(), m, prompts(1, n), opt); err != nil {
						return err
					}
				}
				tokens(b, float64(n))
				return nil
			})
		})
	}
}

package tensor_test

// Sampling of tokens: a function of row and draw, in the right frequencies, with the filters as sorting has them.

import (
	"github.com/stretchr/testify/assert"
	"math"
	"salsa/tensor"
	"sort"
	"testing"
)

func TestSampleIsARowwiseFunction(t *testing.T) {
	run(t, func() {
		logits := tensor.Randn(1, 5, 40)
		u := []float64{0.1, 0.5, 0.9, 0.99, 0}
		s := tensor.Sampler{Temperature: 0.8, TopK: 10, TopP: 0.9}
		ids, logp := tensor.Sample(logits, u, s)
		all := logits.DivScalar(0.8).LogSoftmax(-1).Gather(1, ids.Unsqueeze(1)).Squeeze(1)
		assert.InDelta(t, 0, all.Sub(logp).Abs().Max().Item(), 1e-5)
		for b := range u {
			one, _ := tensor.Sample(logits.Narrow(0, b, 1), u[b:b+1], s)
			assert.Equal(t, ids.Ints()[b], one.Ints()[0], "row %d depends on its companions", b)
		}
		greedy, _ := tensor.Sample(logits, u, tensor.Sampler{TopP: 1})
		assert.Equal(t, logits.Argmax(-1).Ints(), greedy.Ints())
	})
}

// TestSampleFrequencies: with inverse-CDF sampling a fine grid of uniforms gives each token its probability.
func TestSampleFrequencies(t *testing.T) {
	run(t, func() {
		logits := tensor.Floats([]float32{0, 1, 2, -1, 0.5}, 1, 5)
		p := logits.Softmax(-1).Float64s()
		count := make([]float64, 5)
		const n = 2000
		for i := range n {
			ids, _ := tensor.Sample(logits, []float64{(float64(i) + 0.5) / n}, tensor.Sampler{Temperature: 1, TopP: 1})
			count[ids.Ints()[0]]++
		}
		for i := range p {
			assert.InDelta(t, p[i], count[i]/n, 1e-3)
		}
		ids, _ := tensor.Sample(logits, []float64{0.999}, tensor.Sampler{Temperature: 1, TopP: 0.5})
		assert.Equal(t, 2, ids.Ints()[0], "top-p keeps the token that crosses the threshold only")
	})
}

func TestSampleRefusesNaN(t *testing.T) {
	run(t, func() {
		err := tensor.Scope(func() error {
			tensor.Sample(tensor.Floats([]float32{1, float32(math.NaN())}, 1, 2), []float64{0.5}, tensor.Sampler{Temperature: 1, TopP: 1})
			return nil
		})
		assert.ErrorContains(t, err, "not finite")
	})
}

// TestSampleFilters holds the filters, which sort one bin of the weights, to a sort of all of them.
func TestSampleFilters(t *testing.T) {
	run(t, func() {
		const v = 3000
		z := tensor.Randn(5, 1, v).MulScalar(2)
		z.Narrow(1, 100, 40).Copy(z.Narrow(1, 200, 40)) // equal weights: the lower id goes first
		logits := z.Float32s()
		for _, s := range []tensor.Sampler{
			{Temperature: 0.7, TopK: 50, TopP: 1}, {Temperature: 1, TopP: 0.9}, {Temperature: 1.3, TopK: 300, TopP: 0.6},
			{Temperature: 1, TopP: 1, MinP: 0.05}, {Temperature: 1, TopK: 1, TopP: 1}, {Temperature: 0.2, TopP: 1e-9}, {Temperature: 1, TopP: 1},
			{Temperature: 0.3, TopP: 0.95}, {Temperature: 1, TopK: 20, TopP: 1}, {Temperature: 0.1, TopK: 40, TopP: 0.9}, {Temperature: 1, TopP: 0.999}, {Temperature: 1, TopP: 0.99995}, {Temperature: 9, TopP: 0.5},
		} {
			kept := keptBySort(logits, s)
			for _, u := range []float64{0, 0.2, 0.5, 0.9, 0.999999} {
				ids, _ := tensor.Sample(z, []float64{u}, s)
				assert.Equal(t, drawn(logits, kept, u, s.Temperature), ids.Ints()[0], "%+v, u %v", s, u)
			}
		}
	})
}

// keptBySort tells which ids pass the filters of s, in transformers' order.
func keptBySort(z []float32, s tensor.Sampler) map[int]bool {
	order := make([]int, len(z))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return z[order[a]] > z[order[b]] })
	if s.TopK > 0 {
		order = order[:s.TopK]
	}
	weight := func(i int) float64 { return math.Exp(float64(z[i]-z[order[0]]) / s.Temperature) }
	total := 0.0
	for _, i := range order {
		total += weight(i)
	}
	kept, mass := map[int]bool{}, 0.0
	for n, i := range order {
		if n > 0 && mass >= s.TopP*total {
			break
		}
		mass += weight(i)
		if weight(i) >= s.MinP {
			kept[i] = true
		}
	}
	return kept
}

// drawn is the id at which the running sum of the kept weights passes u of their total.
func drawn(z []float32, kept map[int]bool, u, temperature float64) int {
	total, id := 0.0, -1
	for i := range z {
		if kept[i] {
			total += math.Exp(float64(z[i]) / temperature)
		}
	}
	target, at := u*total, 0.0
	for i := range z {
		if !kept[i] {
			continue
		}
		id = i
		if at += math.Exp(float64(z[i]) / temperature); at > target {
			break
		}
	}
	return id
}

package job

// The formulas of salsa plan: what a forward pass, a backward pass, a key-value cache and a log-probability take.
//
// Letters: D hidden size, I inner size of the MLP, Q = heads·K and G = key-value heads·K with K the head dimension, H
// heads, V vocabulary, L layers, T tokens of a row, n tokens of a micro-batch (rows · T), s bytes of an element.

import (
	"math"

	"salsa/models"
	"salsa/tensor"
)

// processBytes is what the program takes before a model is loaded, as measured: libtorch's code and operator tables
// make up most of it.
const processBytes = 150 << 20

// holes is the share of the working memory of a step that is lost between tensors of different sizes, as a divisor.
const holes = 32

// layer holds the bytes per token of one layer.
type layer struct {
	saved int64 // kept for the backward pass
	all   int64 // made in the forward pass, and alive together until the layer ends
}

// layerOf counts a layer's tensors for rows of t tokens. Saved are the input and output of both norms (4D), rotated
// queries and keys, values and attention's result (2Q + 2G), and of the MLP gate, up and the product (3I); norms and attention keep statistics in float32. Alive in the forward pass are also queries
// and keys before rotation and the outputs of both halves.
func (p *planner) layerOf(c *models.Config, t int64) layer {
	d, i, q, g := int64(c.Hidden), int64(c.Inner), int64(c.Heads*c.HeadDim), int64(c.KVHeads*c.HeadDim)
	h := int64(c.Heads)
	saved := 4*d + 2*q + 2*g + 3*i
	if !p.cpu {
		saved += q + i // attention's result in another layout, the gate's activation
	}
	if c.Family == "Gemma2" || c.Family == "Gemma3" || c.Family == "Gemma3Text" {
		saved += 2 * d // what the two norms behind attention and MLP take in
	}
	if c.QKNorm {
		saved += q + g
	}
	all := saved + q + g + 2*d
	bytes := layer{saved: saved*p.elem + 4*(2+h), all: all*p.elem + 4*(2+h)}
	switch {
	case p.cpu: // the kernel for rows of a line keeps nothing else
	case c.AttentionSoftcap > 0:
		// Scores exist: tanh's and soft-max's results are kept, and keys and values spread over the query heads.
		bytes.saved += h*t*(p.elem+4) + 2*q*p.elem
		bytes.all += 7*h*t*4 + 2*q*p.elem
	case c.Heads != c.KVHeads && p.elem == 4:
		// No fused kernel takes shared key-value heads here: the probabilities are kept, and keys and values spread.
		bytes.saved += h*t*p.elem + 2*q*p.elem
		bytes.all += 3*h*t*p.elem + 3*q*p.elem
	}
	return bytes
}

// tokens is how many are computed of so many rows of up to t tokens: neither padding nor what rows begin with alike.
// Batches of longer rows than the average come up: two deviations are a margin for them.
func (p *planner) tokens(rows, t int64) int64 {
	less := p.shorter - 2*p.spread/math.Sqrt(float64(rows))
	return rows*t - int64(float64(rows)*max(0, min(less, float64(t-1))))
}

// forward is the peak of a pass without gradients over rows of up to t tokens: one layer is alive at a time.
func (p *planner) forward(c *models.Config, rows, t int64) int64 {
	n := p.tokens(rows, t)
	return n * (p.layerOf(c, t).all + 2*int64(c.Hidden)*p.elem)
}

// activations is the peak of a pass with gradients: what all layers keep, and on top the gradients inside one layer.
// With checkpointing all layers keep their inputs alone, and one of them everything.
func (p *planner) activations(c *models.Config, rows, t int64, checkpointing bool) int64 {
	n := p.tokens(rows, t)
	one, layers, ends := p.layerOf(c, t), int64(c.Layers), 3*int64(c.Hidden)*p.elem
	if checkpointing {
		return n * (layers*int64(c.Hidden)*p.elem + one.saved + one.all + ends)
	}
	return n * (layers*one.saved + one.all + ends)
}

// head is the peak of log-probabilities of n targets: gathered states, and for one chunk of tokens the [chunk, V]
// float32 buffers: logits, what temperature makes of them, and probabilities; backward also their gradients.
func (p *planner) head(c *models.Config, n int64, backward bool) int64 {
	chunk := min(n, tensor.LogProbChunk)
	if p.cpu { // the logits alone, which their gradients overwrite
		return (n*int64(c.Hidden) + chunk*int64(c.Vocab)) * p.elem
	}
	buffers := int64(3)
	if backward {
		buffers = 6
	}
	bytes := n*int64(c.Hidden)*p.elem + chunk*int64(c.Vocab)*4*buffers
	if p.elem != 4 {
		bytes += chunk * int64(c.Vocab) * p.elem
	}
	return bytes
}

// spareGradients are gradients that stand beside the activations: the head's, which come first, and from the second
// micro-batch on those of all weights.
func (p *planner) spareGradients(c *models.Config, parts int64) int64 {
	table, all := int64(c.Vocab*c.Hidden)*p.elem, c.Declared()
	if c.Scores {
		table, all = 0, c.DeclaredScorer()
	}
	if parts > 1 {
		return parameters(all)*p.elem + table
	}
	return table
}

// cache is the key-value cache of rows with t tokens each, 2·L·G·t elements a row, and the copy of one layer that is
// made while it grows.
func (p *planner) cache(c *models.Config, rows, t int64) int64 {
	one := 2 * rows * int64(c.KVHeads*c.HeadDim) * t * p.elem
	return one*int64(c.Layers) + one
}

// decode is the peak of one new token for each of rows with t tokens: the scores and, where key-value heads are shared,
// keys and values of one layer spread over the query heads; then the logits, with the sampler's copies in float64.
func (p *planner) decode(c *models.Config, rows, t int64) int64 {
	attention := rows * (p.layerOf(c, t).all + 2*int64(c.Hidden)*p.elem)
	if c.Heads != c.KVHeads && (p.cpu || p.elem == 4) {
		attention += 3 * rows * t * int64(c.Heads*c.HeadDim) * p.elem
	}
	logits := rows*int64(c.Vocab)*3*4 + 2*int64(c.Vocab)*8
	return max(attention, logits)
}

// optimizerWork is what AdamW's step takes on top: half-precision gradients are widened, a few weights at a time.
func optimizerWork(r PlanRole) int64 { return r.Masters / 4 }

// largest is the largest single weight in bytes: saving holds two of them in Go's memory.
func (p *planner) largest(configs ...*models.Config) int64 {
	most := int64(0)
	for _, c := range configs {
		most = max(most, int64(c.Hidden)*int64(max(c.Vocab, c.Inner))*p.elem)
	}
	return most
}

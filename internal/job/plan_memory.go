package job

// The formulas of salsa plan: what a forward pass, a backward pass, a key-value cache and a log-probability take.
//
// Letters: D hidden size, I inner size of the MLP, Q = heads·K and G = key-value heads·K with K the head dimension, H
// heads, V vocabulary, L layers, T tokens of a row, n tokens of a micro-batch without those that rows share, s bytes of an
// element. plan_lines.go counts the tokens.

import (
	"os"
	"path/filepath"

	"salsa/models"
	"salsa/tensor"
)

// processBytes is what the program takes before a model is loaded, as measured: libtorch's code and operator tables
// make up most of it.
const processBytes = 150 << 20

// halfBytes is what comes to it on the CPU with the first product in half precision, as measured: oneDNN's code and the kernels
// that it writes, or each thread's panels of our own products. Vocabulary and width make no difference.
func halfBytes() int64 {
	if tensor.HalfGEMM() != tensor.GEMMLibtorch {
		return int64(tensor.Threads()) << 20
	}
	return 48 << 20
}

// tokenizerShare is how many bytes a tokenizer takes of Go's memory for each byte of its file, as measured from 0.5 to
// 9 MB: tables of vocabulary and merges, and what reading them left behind.
const tokenizerShare = 9

// readsTexts counts the tokenizer of a folder, if it has one.
func (p *planner) readsTexts(dir string) {
	if base, err := models.BaseOf(dir); err == nil {
		dir = base
	}
	if file, err := os.Stat(filepath.Join(dir, "tokenizer.json")); err == nil {
		p.Process += tokenizerShare * file.Size()
	}
}

// holes is the share of the working memory of a step that is lost between tensors of different sizes, as a divisor.
const holes = 32

// layer holds the bytes of one layer: per token, and where attention pads rows per place of a row.
type layer struct {
	saved, savedAt int64 // kept for the backward pass
	behind         int64 // of saved: what comes behind attention
	all, allAt     int64 // made in the forward pass, and alive together until the layer ends
}

// kept and made are the bytes for a batch.
func (l layer) kept(x line) int64 { return x.tokens*l.saved + x.places*l.savedAt }
func (l layer) made(x line) int64 { return x.tokens*l.all + x.places*l.allAt }

// layerOf counts a layer's tensors for rows of t tokens. Saved are the input of both norms (2D), rotated queries and keys,
// values and attention's result (2Q + 2G), and of the MLP gate and up (2I); norms and attention keep statistics in float32. What comes
// out of norms and their product (2D + I) is made again on the way back where the CPU's kernels do it, see adapted. Alive in
// the forward pass are also one of these, queries and keys before rotation and the outputs of both halves.
func (p *planner) layerOf(c *models.Config, t int64) layer {
	d, i, q, g := int64(c.Hidden), int64(c.Inner), int64(c.Heads*c.HeadDim), int64(c.KVHeads*c.HeadDim)
	h := int64(c.Heads)
	saved, behind, passing := 2*d+2*q+2*g+2*i, d+2*i, max(d, i)
	if !p.cpu { // also attention's result in another layout and the gate's activation
		saved, behind, passing = saved+2*d+q+2*i, behind+d+2*i, 0
	}
	if c.Family == "Gemma2" || c.Family == "Gemma3" || c.Family == "Gemma3Text" {
		saved += 2 * d // what the two norms behind attention and MLP take in
	}
	if c.QKNorm {
		saved += q + g
	}
	all := saved + passing + q + g + 2*d
	bytes := layer{saved: saved*p.elem + 4*(2+h), behind: behind * p.elem, all: all*p.elem + 4*(2+h)}
	switch {
	case p.cpu: // the kernel for rows of a line keeps nothing else
	case c.AttentionSoftcap > 0:
		// Scores exist: tanh's and soft-max's results are kept, and keys and values spread over the query heads.
		bytes.savedAt, bytes.allAt = h*t*(p.elem+4)+2*q*p.elem, 7*h*t*4+2*q*p.elem
	case c.Heads != c.KVHeads && p.elem == 4:
		// No fused kernel takes shared key-value heads here: the probabilities are kept, and keys and values spread.
		bytes.savedAt, bytes.allAt = h*t*p.elem+2*q*p.elem, 3*h*t*p.elem+3*q*p.elem
	}
	return bytes
}

// spreading is the copy of the states in which each place of the batch has its token's; a batch without padding and
// shared beginnings needs none.
func (p *planner) spreading(c *models.Config, x line) int64 {
	if x.places == x.tokens {
		return 0
	}
	return x.places * int64(c.Hidden) * p.elem
}

// forward is the peak of a pass without gradients: one layer is alive at a time.
func (p *planner) forward(c *models.Config, x line) int64 {
	return p.layerOf(c, x.t).made(x) + x.tokens*2*int64(c.Hidden)*p.elem + p.spreading(c, x)
}

// head is the peak of log-probabilities of n targets: gathered states, and for one chunk of tokens the [chunk, V]
// float32 buffers: logits, what temperature makes of them, and probabilities; backward also their gradients.
func (p *planner) head(c *models.Config, n int64, backward bool) int64 {
	chunk := min(n, tensor.LogProbChunk)
	if p.cpu { // the logits alone, which their gradients overwrite; the states have gradients too
		states := n * int64(c.Hidden)
		if backward {
			states *= 2
		}
		return (states + chunk*int64(c.Vocab)) * p.elem
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

// cache is the key-value cache of rows with t tokens each, 2·L·G·t elements a row, and the copy of one layer that is
// made while it grows.
func (p *planner) cache(c *models.Config, rows, t int64) int64 {
	one := 2 * rows * int64(c.KVHeads*c.HeadDim) * t * p.elem
	return one*int64(c.Layers) + one
}

// drawing is what rows completions of fresh tokens each take while they are drawn, each of them prompts. The CPU's kernel
// reads prompts by the handful; elsewhere all are one forward pass.
func (p *planner) drawing(cfg *models.Config, x answers) []PlanItem {
	read := line{tokens: x.prompts * x.prompt.most, places: x.prompts * x.prompt.most, t: x.prompt.most}
	if p.cpu {
		read.tokens = min(read.tokens, models.PrefillTokens)
		read.places = read.tokens
	}
	t := x.prompt.most + x.fresh
	items := []PlanItem{{"key-value cache", p.cache(cfg, x.rows, t)}, {"forward pass", max(p.forward(cfg, read), p.decode(cfg, x.rows, t))}}
	if panels := models.PanelBytes(cfg, int(x.fresh), p.elem); p.cpu && panels > 0 {
		items = append(items, PlanItem{"weights in panels", panels})
	}
	if p.folded > 0 {
		items = append(items, PlanItem{"weights with adapters", p.folded})
	}
	return items
}

// decode is the peak of one new token for each of rows with t tokens: the scores and, on a GPU where key-value heads are
// shared, keys and values of one layer spread over the query heads; then the logits, with the sampler's copies in float64.
func (p *planner) decode(c *models.Config, rows, t int64) int64 {
	attention := p.forward(c, line{tokens: rows, places: rows, t: t})
	if c.Heads != c.KVHeads && !p.cpu && p.elem == 4 {
		attention += 3 * rows * t * int64(c.Heads*c.HeadDim) * p.elem
	}
	logits := rows*int64(c.Vocab)*3*4 + 2*int64(c.Vocab)*8
	return max(attention, logits)
}

// masterBytes is what the optimizer keeps of a float32 weight beside one in half precision: on the CPU, where that is
// bfloat16, the other half.
func (p *planner) masterBytes() int64 {
	if p.cpu {
		return 2
	}
	return 4
}

// optimizerWork is what AdamW's step takes on top: half-precision gradients are widened, a few weights at a time, but on
// the CPU.
func (p *planner) optimizerWork(r PlanRole) int64 {
	if p.cpu {
		return 0
	}
	return r.Masters / 4
}

// largest is the largest single weight in bytes: saving holds two of them in Go's memory.
func (p *planner) largest(configs ...*models.Config) int64 {
	most := int64(0)
	for _, c := range configs {
		most = max(most, int64(c.Hidden)*int64(max(c.Vocab, c.Inner))*p.elem)
	}
	return most
}

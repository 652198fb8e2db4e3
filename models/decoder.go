package models

// The decoder that all families share: embedding, layers, final norm, head.

import (
	"salsa/nn"
	"salsa/tensor"
)

// Model is a decoder with a language-model head. Hidden and Logits are apart because rewards, values,
// log-probabilities of a few tokens and prefill need no logits.
type Model interface {
	Config() *Config
	// Hidden returns the states after the final norm [B, T, D]. With a cache, which needs NoGrad, the ids are
	// the next tokens of each row, and their keys and values are stored.
	Hidden(in Input, kv *Cache) tensor.Tensor
	// HiddenAt returns those of them at the places b·T + t of at [N] int64: [N, D]. It costs less than Hidden, since the
	// last layer's attention is all that is computed in it for the other tokens, and nothing for those behind a row's last.
	HiddenAt(in Input, at tensor.Tensor) tensor.Tensor
	// Logits maps states [..., D] to fp32 logits [..., V].
	Logits(h tensor.Tensor) tensor.Tensor
	// HeadWeight is the head's matrix [V, D], the embedding if tied.
	HeadWeight() tensor.Tensor
}

// family is an architecture: how to read its config keys, and its layer.
type family struct {
	read   func(r *reader, c *Config)
	block  func(c *Config) block
	strict bool   // config.json must say num_key_value_heads; in the others it is num_attention_heads
	scorer string // the name before ForSequenceClassification where it is another
}

// families by Hugging Face's architecture name, less ForCausalLM or ForSequenceClassification.
var families = map[string]family{
	"Llama":      {read: readLlama, block: newPreNorm},
	"Mistral":    {read: readMistral, block: newPreNorm, strict: true},
	"Qwen2":      {read: readQwen2, block: newPreNorm, strict: true},
	"Qwen3":      {read: readQwen3, block: newPreNorm, strict: true},
	"Gemma":      {read: readGemma, block: newPreNorm, strict: true},
	"Gemma2":     {read: readGemma2, block: newSandwich, strict: true},
	"Gemma3":     {read: readGemma3, block: newSandwich, strict: true, scorer: "Gemma3Text"},
	"Gemma3Text": {read: readGemma3, block: newSandwich, strict: true},
}

// block is one layer.
type block interface {
	forward(x tensor.Tensor, at nn.Place) tensor.Tensor // [B, T, D] to [B, T, D], or [B, M, D] of the tokens that at reads
	kernel() tensor.DecoderLayer                        // the weights as the decoding kernel takes them
}

// decoder is the Model of every family.
type decoder struct {
	Trunk trunk      `hf:"model"`
	Head  *nn.Linear `hf:"lm_head,optional"` // nil if tied, or in a scorer

	cfg        *Config
	checkpoint bool           // recompute layers in the backward pass
	adapter    *AdapterConfig // of the adapters on Trunk, nil if there are none
}

type trunk struct {
	Embed  *nn.Embedding `hf:"embed_tokens"`
	Layers []block       `hf:"layers"`
	Norm   *nn.RMSNorm   `hf:"norm"`
}

// newDecoder declares the weights of a model; none are there yet.
func newDecoder(c *Config) *decoder {
	d := &decoder{cfg: c, Trunk: trunk{Embed: nn.NewEmbedding(c.Vocab, c.Hidden), Norm: newNorm(c, c.Hidden)}}
	for range c.Layers {
		d.Trunk.Layers = append(d.Trunk.Layers, families[c.Family].block(c))
	}
	if !c.Tied && !c.Scores {
		d.Head = nn.NewLinear(c.Hidden, c.Vocab, false)
	}
	return d
}

func newNorm(c *Config, dim int) *nn.RMSNorm { return nn.NewRMSNorm(dim, c.NormEps, c.NormPlusOne) }

// newAttention declares a layer's attention.
func newAttention(c *Config) *nn.Attention {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	a := &nn.Attention{
		Q: nn.NewLinear(c.Hidden, q, c.QKVBias), K: nn.NewLinear(c.Hidden, kv, c.QKVBias),
		V: nn.NewLinear(c.Hidden, kv, c.QKVBias), O: nn.NewLinear(q, c.Hidden, c.OBias),
		HeadDim: c.HeadDim, Scale: c.AttentionScale, Softcap: c.AttentionSoftcap,
	}
	if c.QKNorm {
		a.QNorm, a.KNorm = newNorm(c, c.HeadDim), newNorm(c, c.HeadDim)
	}
	return a
}

// Config implements Model.
func (d *decoder) Config() *Config { return d.cfg }

// Hidden implements Model.
func (d *decoder) Hidden(in Input, kv *Cache) tensor.Tensor {
	if in.Start != nil {
		return moved(d.Hidden(in.aligned(), kv), in.Start, -1)
	}
	if kv == nil {
		l := newLine(d.cfg, in)
		in = l.input().onDevice(d.device())
		return l.spread(d.states(in, l.places(d, in.Pos)))
	}
	in = in.onDevice(d.device())
	h := d.states(in, newPlaces(d.cfg, in, kv))
	kv.advance(in)
	return h
}

// HiddenAt implements Model.
func (d *decoder) HiddenAt(in Input, at tensor.Tensor) tensor.Tensor {
	if in.Start != nil || at.Dim(0) == 0 {
		return statesAt(d.Hidden(in, nil), at)
	}
	wanted := at.Ints()
	l := newLineTo(d.cfg, in, wanted)
	read, back := l.read(wanted)
	in = l.input().onDevice(d.device())
	ways := l.places(d, in.Pos)
	if len(read) < len(l.ids) {
		ways.read = tensor.Ints(read, len(read)).OnDevice(d.device())
	}
	return statesAt(d.states(in, ways), tensor.Ints(back, len(back))) // [1, M, D] to [N, D]
}

// statesAt picks those at the places b·T + t of at [N] from h [B, T, D]: [N, D].
func statesAt(h, at tensor.Tensor) tensor.Tensor {
	return h.Reshape(-1, h.Dim(-1)).IndexSelect(0, at.OnDevice(h.Device()))
}

func (d *decoder) device() tensor.Device { return d.Trunk.Embed.Weight.Device() }

// states runs all layers on the tokens of a batch: [B, T, D], or [1, M, D] of those that ways has read.
func (d *decoder) states(in Input, ways places) tensor.Tensor {
	x := d.Trunk.Embed.Forward(in.IDs) // [B, T, D]
	if s := d.cfg.EmbedScale; s != 1 {
		x = x.Mul(tensor.Scalar(s).To(x.DType()).OnDevice(x.Device())) // the scale is rounded to x's dtype first
	}
	for i, layer := range d.Trunk.Layers {
		at := ways.layer(i)
		step := func(x tensor.Tensor) tensor.Tensor { return layer.forward(x, at) }
		if d.checkpoint && tensor.GradEnabled() {
			x = tensor.Checkpoint(step, x)
		} else {
			x = tensor.Scoped(func() tensor.Tensor { return step(x) })
		}
	}
	return d.Trunk.Norm.Forward(x)
}

// Logits implements Model.
func (d *decoder) Logits(h tensor.Tensor) tensor.Tensor {
	z := h.Linear(d.HeadWeight(), tensor.Tensor{}).To(tensor.Float32) // [..., V]
	if c := d.cfg.FinalSoftcap; c > 0 {
		z = z.DivScalar(c).Tanh().MulScalar(c)
	}
	return z
}

// HeadWeight implements Model.
func (d *decoder) HeadWeight() tensor.Tensor {
	switch {
	case d.Head != nil:
		return d.Head.Effective()
	case d.cfg.Tied:
		return d.Trunk.Embed.Weight
	}
	panic(&tensor.Error{Op: "head", Msg: d.cfg.Architecture() + " has no language-model head"})
}

package models

// Llama 1 to 3 (Touvron et al., arXiv 2302.13971, 2307.09288; Grattafiori et al., arXiv 2407.21783), and the
// layer that most families share with it.

import (
	"salsa/nn"
	"salsa/tensor"
)

func readLlama(r *reader, c *Config) {
	c.Tied = get(r, "tie_word_embeddings", false)
	c.readActivation(r, "hidden_act")
	c.QKVBias = get(r, "attention_bias", false)
	c.OBias = c.QKVBias
	c.MLPBias = get(r, "mlp_bias", false)
}

// preNorm is a layer that normalises what goes into attention and into the MLP.
type preNorm struct {
	Norm      *nn.RMSNorm   `hf:"input_layernorm"`
	Attention *nn.Attention `hf:"self_attn"`
	MLPNorm   *nn.RMSNorm   `hf:"post_attention_layernorm"`
	MLP       *nn.MLP       `hf:"mlp"`
}

func newPreNorm(c *Config) block {
	return &preNorm{
		Norm: newNorm(c, c.Hidden), Attention: newAttention(c),
		MLPNorm: newNorm(c, c.Hidden), MLP: nn.NewMLP(c.Hidden, c.Inner, c.Activation, c.MLPBias),
	}
}

func (l *preNorm) forward(x tensor.Tensor, at nn.Place) tensor.Tensor {
	x = at.Wanted(x).Add(l.Attention.Forward(x, l.Norm, at)) // [B, M, D]
	return x.Add(l.MLP.Forward(x, l.MLPNorm))                // [B, M, D]
}

func (l *preNorm) kernel() tensor.DecoderLayer {
	k := tensor.DecoderLayer{Norm: l.Norm.Weight, MLPNorm: l.MLPNorm.Weight}
	kernelAttention(&k, l.Attention)
	kernelMLP(&k, l.MLP)
	return k
}

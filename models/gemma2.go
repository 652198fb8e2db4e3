package models

// Gemma 2 (Gemma Team, arXiv 2408.00118): Gemma with a norm before and after attention and MLP, soft caps on
// scores and logits, and a window on every other layer.

import (
	"math"

	"salsa/nn"
	"salsa/tensor"
)

func readGemma2(r *reader, c *Config) {
	readGemmaSandwich(r, c)
	r.setDefault("attn_logit_softcapping", "50") // an explicit null means none
	r.setDefault("final_logit_softcapping", "30")
	c.AttentionSoftcap = get(r, "attn_logit_softcapping", 0.0)
	c.FinalSoftcap = get(r, "final_logit_softcapping", 0.0)
	c.readWindow(r, func(layer int) bool { return layer%2 == 0 })
}

// readGemmaSandwich reads what Gemma 2 and 3 share.
func readGemmaSandwich(r *reader, c *Config) {
	readGemmaCommon(r, c)
	c.readActivation(r, "hidden_activation")
	c.AttentionScale = 1 / math.Sqrt(r.positive("query_pre_attn_scalar", 256))
	r.setDefault("sliding_window", "4096")
}

// sandwich is a layer that normalises what goes into attention and MLP, and what comes out of them.
type sandwich struct {
	Norm          *nn.RMSNorm   `hf:"input_layernorm"`
	Attention     *nn.Attention `hf:"self_attn"`
	AttentionNorm *nn.RMSNorm   `hf:"post_attention_layernorm"`
	PreMLP        *nn.RMSNorm   `hf:"pre_feedforward_layernorm"`
	MLP           *nn.MLP       `hf:"mlp"`
	PostMLP       *nn.RMSNorm   `hf:"post_feedforward_layernorm"`
}

func newSandwich(c *Config) block {
	return &sandwich{
		Norm: newNorm(c, c.Hidden), Attention: newAttention(c), AttentionNorm: newNorm(c, c.Hidden),
		PreMLP: newNorm(c, c.Hidden), MLP: nn.NewMLP(c.Hidden, c.Inner, c.Activation, c.MLPBias), PostMLP: newNorm(c, c.Hidden),
	}
}

func (l *sandwich) forward(x tensor.Tensor, at nn.Place) tensor.Tensor {
	x = at.Wanted(x).Add(l.AttentionNorm.Forward(l.Attention.Forward(x, l.Norm, at))) // [B, M, D]
	return x.Add(l.PostMLP.Forward(l.MLP.Forward(x, l.PreMLP)))                       // [B, M, D]
}

func (l *sandwich) kernel() tensor.DecoderLayer {
	k := tensor.DecoderLayer{
		Norm: l.Norm.Weight, PostNorm: l.AttentionNorm.Weight, MLPNorm: l.PreMLP.Weight, PostMLPNorm: l.PostMLP.Weight,
	}
	kernelAttention(&k, l.Attention)
	kernelMLP(&k, l.MLP)
	return k
}

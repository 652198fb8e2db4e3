package models

// Gemma 1 (Gemma Team, arXiv 2403.08295): Llama's layer with gelu gates, norms that scale by 1+w, embeddings
// multiplied by the root of the hidden size, heads whose size is free, and a tied head.

import (
	"math"

	"salsa/nn"
)

func readGemma(r *reader, c *Config) {
	readGemmaCommon(r, c)
	if c.readActivation(r, "hidden_activation", "hidden_act"); c.Activation == nn.Gelu {
		c.Activation = nn.GeluTanh // the first configs say gelu; the weights were trained with its tanh form
	}
}

// readGemmaCommon reads what all Gemmas share.
func readGemmaCommon(r *reader, c *Config) {
	c.Tied = get(r, "tie_word_embeddings", true)
	c.setHeadDim(r.size("head_dim", 256))
	c.EmbedScale = math.Sqrt(float64(c.Hidden))
	c.NormPlusOne = true
	c.QKVBias = get(r, "attention_bias", false)
	c.OBias = c.QKVBias
}

package models

// Qwen 2 and 3 (Qwen Team, arXiv 2407.10671, 2505.09388): Llama's layer, with biases on q, k and v in the former,
// norms over the heads of q and k in the latter, and an optional window on the upper layers.

func readQwen2(r *reader, c *Config) {
	readQwen(r, c)
	c.QKVBias = true
}

func readQwen3(r *reader, c *Config) {
	readQwen(r, c)
	c.setHeadDim(r.size("head_dim", 128))
	c.QKNorm = true
	c.QKVBias = get(r, "attention_bias", false)
	c.OBias = c.QKVBias
}

func readQwen(r *reader, c *Config) {
	c.Tied = get(r, "tie_word_embeddings", false)
	c.readActivation(r, "hidden_act")
	on, from := get(r, "use_sliding_window", false), get(r, "max_window_layers", 28)
	c.readWindow(r, func(layer int) bool { return on && layer >= from })
}

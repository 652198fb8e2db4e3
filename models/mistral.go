package models

// Mistral 7B (Jiang et al., arXiv 2310.06825): Llama's layer with a sliding window on every layer.

func readMistral(r *reader, c *Config) {
	c.Tied = get(r, "tie_word_embeddings", false)
	c.readActivation(r, "hidden_act")
	r.setDefault("sliding_window", "4096") // only an explicit null means that there is none
	windowed := r.has("sliding_window")
	c.readWindow(r, func(int) bool { return windowed })
}

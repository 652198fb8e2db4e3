package models

// Mistral 7B (Jiang et al., arXiv 2310.06825): Llama's layer with a sliding window.

func readMistral(r *reader, c *Config) {
	c.Tied = get(r, "tie_word_embeddings", false)
	c.readActivation(r, "hidden_act")
	hasWindow := r.has("sliding_window")
	c.readWindow(r, func(int) bool { return hasWindow })
}

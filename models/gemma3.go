package models

// Gemma 3's text models (Gemma Team, arXiv 2503.19786): Gemma 2's layer with norms over the heads of q and k instead
// of the cap on scores, five windowed layers to each that sees all, and a base of rotary positions for either.

import "salsa/nn"

func readGemma3(r *reader, c *Config) {
	readGemmaSandwich(r, c)
	r.refuse("attn_logit_softcapping", "give a model without it")
	c.FinalSoftcap = get(r, "final_logit_softcapping", 0.0)
	c.QKNorm = true
	pattern := r.size("sliding_window_pattern", r.size("_sliding_window_pattern", 6))
	c.readWindow(r, func(layer int) bool { return (layer+1)%pattern != 0 })
	r.setDefault("rope_theta", "1000000")
	c.Rope = readRope(r, c)
	local := nn.Rope{Kind: nn.RopeDefault, Dim: c.HeadDim, Theta: r.positive("rope_local_base_freq", 10000)}
	if r.has("rope_parameters") && r.object("rope_parameters").has("sliding_attention") {
		local = ropeOf(r, c, "sliding_attention", local.Theta)
	}
	c.LocalRope = &local
}

package models

// The rotary positions that a config asks for.

import (
	"maps"
	"slices"

	"salsa/nn"
)

// readRope reads rope_parameters, or rope_theta and rope_scaling as transformers 4 wrote them.
func readRope(r *reader, c *Config) nn.Rope {
	theta := 10000.0
	if r.has("rope_theta") {
		theta = r.positive("rope_theta", 0)
	}
	switch {
	case r.has("rope_parameters"):
		inner := r.object("rope_parameters")
		if inner.has("full_attention") { // one set for each kind of layer
			return ropeOf(r, c, "full_attention", theta)
		}
		return readScaling(r, inner, c, theta)
	case r.has("rope_scaling"):
		return readScaling(r, r.object("rope_scaling"), c, theta)
	}
	return nn.Rope{Kind: nn.RopeDefault, Dim: c.HeadDim, Theta: theta}
}

// ropeOf reads the set that rope_parameters holds for one kind of layer.
func ropeOf(r *reader, c *Config, kind string, theta float64) nn.Rope {
	return readScaling(r, r.object("rope_parameters").object(kind), c, theta)
}

// ropeKeys are the keys that each kind may have beside those in commonRopeKeys.
var ropeKeys = map[nn.RopeKind][]string{
	nn.RopeDefault: {},
	nn.RopeLinear:  {"factor"},
	nn.RopeDynamic: {"factor"},
	nn.RopeLlama3:  {"factor", "low_freq_factor", "high_freq_factor"},
	nn.RopeYarn:    {"factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"},
}

var commonRopeKeys = []string{"rope_type", "type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings"}

// readScaling reads one set of parameters from r; theta is that of the file's top level.
func readScaling(outer, r *reader, c *Config, theta float64) (rope nn.Rope) {
	defer func() { outer.adopt(r) }()
	kind := nn.RopeKind(get(r, "rope_type", get(r, "type", "default")))
	keys, ok := ropeKeys[kind]
	if !ok {
		r.fail("rope_type %q is not one that salsa computes; give a model with one of %v", kind, nn.RopeKinds)
		return rope
	}
	r.refuse("partial_rotary_factor", "give a model without it", "1", "1.0")
	for _, key := range slices.Sorted(maps.Keys(r.raw)) {
		if !slices.Contains(keys, key) && !slices.Contains(commonRopeKeys, key) && r.has(key) {
			r.fail("key %q does not belong to rope_type %q; remove it or name the right type", key, kind)
		}
	}
	rope = nn.Rope{Kind: kind, Dim: c.HeadDim, Theta: r.positive("rope_theta", theta)}
	if kind != nn.RopeDefault {
		rope.Factor = r.positive("factor", 0)
	}
	switch kind {
	case nn.RopeDynamic:
		rope.MaxPositions = c.MaxPositions
	case nn.RopeLlama3:
		rope.Original = r.size("original_max_position_embeddings", 0)
		rope.LowFreq, rope.HighFreq = r.positive("low_freq_factor", 0), r.positive("high_freq_factor", 0)
		if rope.LowFreq >= rope.HighFreq {
			r.fail("low_freq_factor %v is not below high_freq_factor %v; correct them", rope.LowFreq, rope.HighFreq)
		}
	case nn.RopeYarn:
		readYarn(r, c, &rope)
	}
	return rope
}

func readYarn(r *reader, c *Config, rope *nn.Rope) {
	rope.Original = r.size("original_max_position_embeddings", c.MaxPositions)
	rope.BetaFast, rope.BetaSlow = r.positive("beta_fast", 32), r.positive("beta_slow", 1)
	rope.NoTruncate = !get(r, "truncate", true)
	switch m, all := get(r, "mscale", 0.0), get(r, "mscale_all_dim", 0.0); {
	case r.has("attention_factor"):
		rope.Attention = r.positive("attention_factor", 0)
	case m != 0 && all != 0:
		rope.Attention = nn.YarnScale(rope.Factor, m, all)
	}
}

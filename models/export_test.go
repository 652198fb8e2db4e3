package models

import "salsa/tensor"

// ForgetText drops the text that c was read from, so that configs compare by what they mean.
func (c *Config) ForgetText() { c.raw = nil }

// KernelTakes tells whether Generate computes m with the decoding kernel.
func KernelTakes(m Model) bool { return kernelTakes(m.(*decoder)) }

// Computed returns how many tokens of a batch Hidden computes.
func Computed(c *Config, in Input) int { return len(newLine(c, in).ids) }

// Read returns how many tokens of a batch HiddenAt computes, which of them it reads, and which of these stands at each place.
func Read(c *Config, in Input, at []int) (computed int, tokens, back []int) {
	l := newLineTo(c, in, at)
	tokens, back = l.read(at)
	return len(l.ids), tokens, back
}

// LaidByLayer lists what rectangles each layer of m is given for a batch.
func LaidByLayer(m Model, in Input) []*tensor.Rectangles {
	d := m.(*decoder)
	l := newLine(d.cfg, in)
	ways := l.places(d, l.input().onDevice(d.device()).Pos)
	laid := make([]*tensor.Rectangles, d.cfg.Layers)
	for i := range laid {
		laid[i] = ways.layer(i).Laid
	}
	return laid
}

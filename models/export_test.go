package models

// ForgetText drops the text that c was read from, so that configs compare by what they mean.
func (c *Config) ForgetText() { c.raw = nil }

// KernelTakes tells whether Generate computes m with the decoding kernel.
func KernelTakes(m Model) bool { return kernelTakes(m.(*decoder)) }

// Computed returns how many tokens of a batch Hidden computes.
func Computed(c *Config, in Input) int { return len(newLine(c, in).ids) }

// Read returns which of a batch's computed tokens HiddenAt reads, and which of them stands at each place.
func Read(c *Config, in Input, at []int) (tokens, back []int) {
	l := newLine(c, in)
	return l.read(at)
}

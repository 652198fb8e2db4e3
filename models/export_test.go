package models

// ForgetText drops the text that c was read from, so that configs compare by what they mean.
func (c *Config) ForgetText() { c.raw = nil }

// KernelTakes tells whether Generate computes m with the decoding kernel.
func KernelTakes(m Model) bool { return kernelTakes(m.(*decoder)) }

// Computed returns how many tokens of a batch Hidden computes.
func Computed(c *Config, in Input) int { return len(newLine(c, in).ids) }

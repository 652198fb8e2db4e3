// Truncation of pairs: both completions must answer the same prompt, or their log-probabilities cannot be compared.
package data

// sameCut takes as many tokens from the shorter side's prompt as truncation on the left took from the longer one's. At
// least one token of the prompt stays.
func (e *Encoder) sameCut(p Pair) Pair {
	if e.Overlong != OverlongTruncateLeft {
		return p
	}
	more := p.Chosen.Cut - p.Rejected.Cut
	if more >= 0 {
		p.Rejected = e.cutMore(p.Rejected, more)
	} else {
		p.Chosen = e.cutMore(p.Chosen, -more)
	}
	return p
}

// cutMore removes up to n further tokens of the prompt on the left.
func (e *Encoder) cutMore(x Example, n int) Example {
	n = min(n, x.PromptLen-1)
	if n <= 0 {
		return x
	}
	x.IDs, x.Mask = e.cutLeft(x.IDs, n), append([]bool{false}, x.Mask[n+1:]...)
	x.PromptLen -= n
	x.Cut += n
	return x
}

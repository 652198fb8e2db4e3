// Completions of one prompt: both sides of a pair are cut alike, for they must answer the same prompt if their
// log-probabilities are to be compared; and a completion that was sampled is a sequence as it stands.
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

// Answered is the prompt with a completion as it was sampled, all of whose tokens are targets.
func (p *Prompt) Answered(completion []int) Example {
	n := len(p.IDs)
	x := Example{IDs: append(append(make([]int, 0, n+len(completion)), p.IDs...), completion...), PromptLen: n, Row: p.Row}
	x.Mask = make([]bool, len(x.IDs))
	for i := n; i < len(x.Mask); i++ {
		x.Mask[i] = true
	}
	return x
}

package tokenizer

// Matching of compiled patterns over UTF-8 text.

import "unicode/utf8"

// frame is a place to go back to: at pc with the text consumed up to pos; a run can be shortened down to low.
type frame struct{ pc, pos, low int }

// matcher holds the backtracking stack so that it is allocated once.
type matcher struct{ stack []frame }

// each calls found with every match in text, left to right and not overlapping, as Oniguruma's iterator does: an
// empty match right behind another match is passed over.
func (p *pattern) each(m *matcher, text string, found func(start, end int)) {
	lastEnd := -1
	for at := 0; at <= len(text); {
		if p.first != nil {
			for at < len(text) && !p.first[text[at]] {
				at++
			}
			if at == len(text) {
				return
			}
		}
		end := p.run(m, text, 0, at)
		if end < 0 || (end == at && at == lastEnd) {
			_, size := utf8.DecodeRuneInString(text[at:])
			at += max(size, 1)
			continue
		}
		found(at, end)
		lastEnd, at = end, end
	}
}

// run executes the program from pc at text[pos:] and returns the end of the match, or -1.
func (p *pattern) run(m *matcher, text string, pc, pos int) int {
	base := len(m.stack)
	for {
		next, end := p.step(m, text, pc, pos)
		if next == stepDone {
			m.stack = m.stack[:base]
			return end
		}
		if next != stepFail {
			pc, pos = next, end
			continue
		}
		if len(m.stack) == base {
			return -1
		}
		top := &m.stack[len(m.stack)-1]
		pc, pos = top.pc, top.pos
		if pos <= top.low {
			m.stack = m.stack[:len(m.stack)-1]
			continue
		}
		_, size := utf8.DecodeLastRuneInString(text[:pos])
		top.pos -= size
	}
}

const (
	stepFail = -1
	stepDone = -2
)

// step executes instructions from pc until one fails or the match is complete; see run.
func (p *pattern) step(m *matcher, text string, pc, pos int) (next, end int) {
	for {
		in := &p.code[pc]
		pc++
		switch in.op {
		case opMatch:
			return stepDone, pos
		case opSet:
			if pos >= len(text) {
				return stepFail, 0
			}
			c, size := rune(text[pos]), 1
			if c >= utf8.RuneSelf {
				c, size = utf8.DecodeRuneInString(text[pos:])
			}
			if !in.set.has(c) {
				return stepFail, 0
			}
			pos += size
		case opRun, opRunAtom:
			low, high := in.repeat(text, pos)
			if low < 0 {
				return stepFail, 0
			}
			if high > low && in.op == opRun {
				// The longest run goes on now; the stack holds the next shorter one.
				_, size := utf8.DecodeLastRuneInString(text[:high])
				m.stack = append(m.stack, frame{pc, high - size, low})
			}
			pos = high
		case opSplit:
			if in.first != nil && (pos >= len(text) || !in.first[text[pos]]) {
				pc = in.y
				continue
			}
			m.stack = append(m.stack, frame{in.y, pos, pos})
			pc = in.x
		case opJump:
			pc = in.x
		default:
			if pos = p.assert(m, text, in, pc, pos); pos < 0 {
				return stepFail, 0
			}
			if in.op != opAnchor {
				pc = in.x
			}
		}
	}
}

// assert handles the instructions that look around or run a body: it returns the new position, or -1.
func (p *pattern) assert(m *matcher, text string, in *instruction, pc, pos int) int {
	switch in.op {
	case opLook:
		if (p.run(m, text, pc, pos) >= 0) == in.negated {
			return -1
		}
		return pos
	case opAtomic:
		return p.run(m, text, pc, pos)
	}
	if p.anchored(in, text, pos) == in.negated {
		return -1
	}
	return pos
}

// anchored reports whether the condition of an opAnchor holds at pos.
func (p *pattern) anchored(in *instruction, text string, pos int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:pos])
	after, _ := utf8.DecodeRuneInString(text[pos:])
	start, end := pos == 0, pos == len(text)
	switch in.anchor {
	case '^':
		return start || (before == '\n' && !end)
	case '$':
		return end || after == '\n'
	case 'A':
		return start
	case 'z':
		return end
	case 'Z':
		return end || text[pos:] == "\n"
	case '<':
		return !start && in.set.has(before)
	}
	return (!start && p.word.has(before)) != (!end && p.word.has(after))
}

// repeat consumes up to max members of the set from pos; low is the end after min of them (-1: too few), high after all.
func (in *instruction) repeat(text string, pos int) (low, high int) {
	low = -1
	count := 0
	for ; count != in.max; count++ {
		if count == in.min {
			low = pos
		}
		if pos >= len(text) {
			break
		}
		c, size := rune(text[pos]), 1
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRuneInString(text[pos:])
		}
		if !in.set.has(c) {
			break
		}
		pos += size
	}
	if count == in.min {
		low = pos
	}
	return low, pos
}

package tokenizer

// Matching of patterns: a backtracking machine over UTF-8 bytes. Alternatives are entered only when the next byte can
// open them, and a repeated class is one instruction, so the split patterns of published tokenizers run in one pass.

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

type opcode uint8

const (
	opMatch   opcode = iota // the pattern (or the look-ahead body) fits
	opSet                   // one code point of set
	opRun                   // min..max code points of set, as many as fit, giving back one at a time
	opRunAtom               // the same, giving nothing back
	opSplit                 // try x, then y
	opJump                  // go to x
	opLook                  // body at pc+1 up to its opMatch must (not: negated) fit here; go on at x
	opAtomic                // body at pc+1 up to its opMatch must fit; go on at x after it
	opAnchor                // a condition on the place, see node.anchor
)

type instruction struct {
	op       opcode
	negated  bool
	anchor   byte
	set      *charSet
	min, max int
	x, y     int
	first    *[256]bool // opSplit: bytes that can open branch x; nil when it can be empty
}

// pattern is a compiled pattern; safe for concurrent use.
type pattern struct {
	code  []instruction
	first *[256]bool // bytes that can open a match; nil when a match can be empty
	word  *charSet
}

const maxProgram = 20000 // instructions; beyond this the file is damaged or hostile

func compilePattern(src string) (*pattern, error) {
	root, err := parsePattern(src)
	if err != nil {
		return nil, err
	}
	p := &pattern{word: classSet("word")}
	if err := p.emit(root); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", src, err)
	}
	p.add(instruction{op: opMatch})
	p.first = root.firstBytes()
	return p, nil
}

func (p *pattern) add(in instruction) int {
	p.code = append(p.code, in)
	return len(p.code) - 1
}

func (p *pattern) emit(n *node) error {
	if len(p.code) > maxProgram {
		return errors.New("too large")
	}
	switch n.kind {
	case nodeEmpty:
	case nodeSet:
		p.add(instruction{op: opSet, set: n.set})
	case nodeConcat:
		for _, sub := range n.subs {
			if err := p.emit(sub); err != nil {
				return err
			}
		}
	case nodeAlt:
		return p.emitAlt(n.subs)
	case nodeRepeat:
		return p.emitRepeat(n)
	case nodeLook:
		return p.emitBody(instruction{op: opLook, negated: n.negated}, n.subs[0])
	case nodeAtomic:
		return p.emitBody(instruction{op: opAtomic}, n.subs[0])
	case nodeAnchor:
		p.add(instruction{op: opAnchor, negated: n.negated, anchor: n.anchor, set: n.set})
	}
	return nil
}

func (p *pattern) emitBody(in instruction, body *node) error {
	at := p.add(in)
	if err := p.emit(body); err != nil {
		return err
	}
	p.add(instruction{op: opMatch})
	p.code[at].x = len(p.code)
	return nil
}

func (p *pattern) emitAlt(branches []*node) error {
	var ends []int
	for i, branch := range branches {
		split := -1
		if i < len(branches)-1 {
			split = p.add(instruction{op: opSplit, first: branch.firstBytes()})
			p.code[split].x = len(p.code)
		}
		if err := p.emit(branch); err != nil {
			return err
		}
		if split >= 0 {
			ends = append(ends, p.add(instruction{op: opJump}))
			p.code[split].y = len(p.code)
		}
	}
	for _, end := range ends {
		p.code[end].x = len(p.code)
	}
	return nil
}

func (p *pattern) emitRepeat(n *node) error {
	body := n.subs[0]
	if body.kind == nodeSet && n.greed != lazy {
		op := opRun
		if n.greed == possessive {
			op = opRunAtom
		}
		p.add(instruction{op: op, set: body.set, min: n.min, max: n.max})
		return nil
	}
	if n.greed == possessive {
		greedyTwin := *n
		greedyTwin.greed = greedy
		return p.emitBody(instruction{op: opAtomic}, &greedyTwin)
	}
	if n.max < 0 && body.minLength() == 0 {
		return errors.New("repeats a part that can be empty, which is not supported")
	}
	for range n.min {
		if err := p.emit(body); err != nil {
			return err
		}
	}
	if n.max < 0 {
		return p.emitLoop(n, body)
	}
	var splits []int
	for range n.max - n.min {
		splits = append(splits, p.emitBranch(n, body))
		if err := p.emit(body); err != nil {
			return err
		}
	}
	for _, at := range splits {
		p.leave(at, n.greed)
	}
	return nil
}

// emitBranch adds the choice between the body that follows and leaving it.
func (p *pattern) emitBranch(n, body *node) int {
	in := instruction{op: opSplit, x: len(p.code) + 1, y: len(p.code) + 1}
	if n.greed == greedy {
		in.first = body.firstBytes()
	}
	return p.add(in)
}

// leave points the leaving side of the choice at the next instruction.
func (p *pattern) leave(at int, g greed) {
	if g == lazy {
		p.code[at].x = len(p.code)
		return
	}
	p.code[at].y = len(p.code)
}

func (p *pattern) emitLoop(n, body *node) error {
	at := p.emitBranch(n, body)
	if err := p.emit(body); err != nil {
		return err
	}
	p.add(instruction{op: opJump, x: at})
	p.leave(at, n.greed)
	return nil
}

// minLength returns the least number of code points n consumes.
func (n *node) minLength() int {
	switch n.kind {
	case nodeSet:
		return 1
	case nodeConcat:
		total := 0
		for _, sub := range n.subs {
			total += sub.minLength()
		}
		return total
	case nodeAlt:
		least := n.subs[0].minLength()
		for _, sub := range n.subs[1:] {
			least = min(least, sub.minLength())
		}
		return least
	case nodeRepeat:
		return n.min * n.subs[0].minLength()
	case nodeAtomic:
		return n.subs[0].minLength()
	}
	return 0
}

// firstBytes returns the bytes that can open a match of n, nil when n can match nothing.
func (n *node) firstBytes() *[256]bool {
	if n.minLength() == 0 {
		return nil
	}
	mark := new([256]bool)
	n.markFirst(mark)
	return mark
}

// markFirst marks the opening bytes of n; it returns whether n must consume something.
func (n *node) markFirst(mark *[256]bool) bool {
	switch n.kind {
	case nodeSet:
		n.set.firstBytes(mark)
		return true
	case nodeConcat:
		return slices.ContainsFunc(n.subs, func(sub *node) bool { return sub.markFirst(mark) })
	case nodeAlt:
		all := true
		for _, sub := range n.subs {
			all = sub.markFirst(mark) && all
		}
		return all
	case nodeRepeat:
		return n.max != 0 && n.subs[0].markFirst(mark) && n.min > 0
	case nodeAtomic:
		return n.subs[0].markFirst(mark)
	}
	return false
}

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

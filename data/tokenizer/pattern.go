package tokenizer

// Compilation of patterns to the program of a backtracking machine. Alternatives are entered only when the next byte
// can open them, and a repeated class is one instruction, so the split patterns of published tokenizers run in one pass.

import (
	"errors"
	"fmt"
	"slices"
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

package tokenizer

// Parsing of the regular expressions found in tokenizer.json. The dialect is the part of Oniguruma's (Ruby) syntax
// that published tokenizers use. Anything else is refused by name: Go's regexp has no look-ahead and other tables,
// and a pattern that is read differently gives other ids without a word.

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type nodeKind uint8

const (
	nodeEmpty  nodeKind = iota
	nodeSet             // one code point of set
	nodeConcat          // subs in order
	nodeAlt             // the first of subs that fits
	nodeRepeat          // subs[0], min to max times
	nodeLook            // subs[0] must (not) follow
	nodeAtomic          // subs[0] without backtracking into it
	nodeAnchor          // a condition on the place: see node.anchor
)

type greed uint8

const (
	greedy greed = iota
	lazy
	possessive
)

// node is a parsed pattern.
type node struct {
	kind     nodeKind
	set      *charSet
	subs     []*node
	min, max int // nodeRepeat; max < 0 is no limit
	greed    greed
	negated  bool // nodeLook, nodeAnchor
	// anchor is b (\b), ^, $, A, z, Z (as after a backslash) or < (the code point before is in set).
	anchor byte
}

// patternParser reads a pattern from left to right.
type patternParser struct {
	src   string
	pos   int
	depth int
	fold  bool // inside (?i:...)
}

const maxPatternDepth = 100 // nesting beyond this is a damaged file, not a tokenizer

func parsePattern(src string) (*node, error) {
	p := &patternParser{src: src}
	n, err := p.alternation()
	if err != nil {
		return nil, err
	}
	if p.pos < len(src) {
		return nil, p.errorf("unmatched %q", src[p.pos:p.pos+1])
	}
	return n, nil
}

func (p *patternParser) errorf(format string, args ...any) error {
	return fmt.Errorf("pattern %q at byte %d: %s", p.src, p.pos, fmt.Sprintf(format, args...))
}

func (p *patternParser) more() bool { return p.pos < len(p.src) }

func (p *patternParser) accept(prefix string) bool {
	if !strings.HasPrefix(p.src[p.pos:], prefix) {
		return false
	}
	p.pos += len(prefix)
	return true
}

func (p *patternParser) next() rune {
	c, size := utf8.DecodeRuneInString(p.src[p.pos:])
	p.pos += size
	return c
}

func (p *patternParser) alternation() (*node, error) {
	if p.depth++; p.depth > maxPatternDepth {
		return nil, p.errorf("nested deeper than %d", maxPatternDepth)
	}
	defer func() { p.depth-- }()
	alt := &node{kind: nodeAlt}
	for {
		branch, err := p.concat()
		if err != nil {
			return nil, err
		}
		alt.subs = append(alt.subs, branch)
		if !p.accept("|") {
			break
		}
	}
	if len(alt.subs) == 1 {
		return alt.subs[0], nil
	}
	return alt, nil
}

func (p *patternParser) concat() (*node, error) {
	seq := &node{kind: nodeConcat}
	for p.more() && p.src[p.pos] != '|' && p.src[p.pos] != ')' {
		atom, err := p.atom()
		if err != nil {
			return nil, err
		}
		if atom, err = p.quantified(atom); err != nil {
			return nil, err
		}
		seq.subs = append(seq.subs, atom)
	}
	switch len(seq.subs) {
	case 0:
		return &node{kind: nodeEmpty}, nil
	case 1:
		return seq.subs[0], nil
	}
	return seq, nil
}

// quantified wraps atom in the quantifiers that follow it.
func (p *patternParser) quantified(atom *node) (*node, error) {
	for p.more() {
		rep := &node{kind: nodeRepeat, subs: []*node{atom}, max: -1}
		switch {
		case p.accept("*"):
		case p.accept("+"):
			rep.min = 1
		case p.accept("?"):
			rep.max = 1
		case p.src[p.pos] == '{':
			if err := p.interval(rep); err != nil {
				return nil, err
			}
			atom = rep
			continue
		default:
			return atom, nil
		}
		switch {
		case p.accept("?"):
			rep.greed = lazy
		case p.accept("+"):
			rep.greed = possessive
		}
		atom = rep
	}
	return atom, nil
}

// interval reads {n}, {n,}, {,m} and {n,m}. As in Ruby, ? behind a range makes it lazy but behind {n} makes it
// optional, and + repeats the whole.
func (p *patternParser) interval(rep *node) error {
	end := strings.IndexByte(p.src[p.pos:], '}')
	if end < 0 {
		return p.errorf("{ without }; write \\{ for the character")
	}
	low, high, isRange := strings.Cut(p.src[p.pos+1:p.pos+end], ",")
	var err error
	if low != "" || !isRange {
		if rep.min, err = strconv.Atoi(low); err != nil {
			return p.errorf("bad repeat count %q", low)
		}
	}
	switch {
	case !isRange:
		rep.max = rep.min
	case high != "":
		if rep.max, err = strconv.Atoi(high); err != nil {
			return p.errorf("bad repeat count %q", high)
		}
	}
	if rep.min < 0 || rep.min > 1000 || rep.max > 1000 || (rep.max >= 0 && rep.max < rep.min) {
		return p.errorf("repeat count outside 0..1000 or descending")
	}
	p.pos += end + 1
	if isRange && p.accept("?") {
		rep.greed = lazy
	}
	return nil
}

func (p *patternParser) atom() (*node, error) {
	switch c := p.src[p.pos]; c {
	case '(':
		p.pos++
		return p.group()
	case '[':
		p.pos++
		ranges, err := p.class()
		if err != nil {
			return nil, err
		}
		return &node{kind: nodeSet, set: newCharSet(ranges)}, nil
	case '\\':
		return p.escapeAtom()
	case '.':
		p.pos++
		return &node{kind: nodeSet, set: newCharSet(complement([]runeRange{{'\n', '\n'}}))}, nil
	case '^', '$':
		p.pos++
		return &node{kind: nodeAnchor, anchor: c}, nil
	case '*', '+', '?', '{':
		return nil, p.errorf("%q is not supported here", string(c))
	}
	return p.literal(p.next()), nil
}

func (p *patternParser) literal(c rune) *node {
	return &node{kind: nodeSet, set: newCharSet(p.folded(runeRange{c, c}))}
}

// folded adds the case variants of a range inside (?i:...).
func (p *patternParser) folded(r runeRange) []runeRange {
	out := []runeRange{r}
	for c := r.first; p.fold && c <= r.last; c++ {
		for f := unicode.SimpleFold(c); f != c; f = unicode.SimpleFold(f) {
			out = append(out, runeRange{f, f})
		}
	}
	return out
}

// group reads what follows "(" up to its ")".
func (p *patternParser) group() (*node, error) {
	outer := p.fold
	defer func() { p.fold = outer }()
	wrap := func(n *node) *node { return n }
	behind := func(negated bool) func(*node) *node {
		return func(n *node) *node { return &node{kind: nodeAnchor, anchor: '<', subs: []*node{n}, negated: negated} }
	}
	look := func(negated bool) func(*node) *node {
		return func(n *node) *node { return &node{kind: nodeLook, subs: []*node{n}, negated: negated} }
	}
	switch {
	case p.accept("?:"):
	case p.accept("?i:"):
		p.fold = true
	case p.accept("?-i:"):
		p.fold = false
	case p.accept("?="):
		wrap = look(false)
	case p.accept("?!"):
		wrap = look(true)
	case p.accept("?<="):
		wrap = behind(false)
	case p.accept("?<!"):
		wrap = behind(true)
	case p.accept("?>"):
		wrap = func(n *node) *node { return &node{kind: nodeAtomic, subs: []*node{n}} }
	case p.accept("?i)"):
		// Ruby: the option holds to the end of the enclosing group, alternatives included.
		p.fold = true
		n, err := p.alternation()
		return n, err
	case p.more() && p.src[p.pos] == '?':
		return nil, p.errorf("group (%.3s is not supported", p.src[p.pos:])
	}
	n, err := p.alternation()
	if err != nil {
		return nil, err
	}
	if !p.accept(")") {
		return nil, p.errorf("( without )")
	}
	n = wrap(n)
	if n.anchor == '<' {
		if n.subs[0].kind != nodeSet {
			return nil, p.errorf("look-behind of more than one character is not supported")
		}
		n.set, n.subs = n.subs[0].set, nil
	}
	return n, nil
}

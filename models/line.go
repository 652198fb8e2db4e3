package models

// A batch as it is computed: one line of tokens, each of them once. Padding is not in it, and neither is a token whose
// whole past stands in another row too: attention is causal, so its states are the same. Pairs with one prompt, groups
// of completions and packed documents cost what differs between them.

import (
	"slices"

	"salsa/nn"
	"salsa/tensor"
)

// sharedLeast is how many tokens rows must have in common at their beginning to be computed as one. Below it there is
// little to gain, and rows that share are not computed side by side in the backward pass.
const sharedLeast = 8

// line is a batch without padding.
type line struct {
	ids, pos []int // [N]
	lens     []int // [N] length of the row or document that a token belongs to
	rows     *tensor.Rows
	back     []int // [B·T] the token at each place of the batch; that of padding is 0
	b, t     int
}

// node is a token after a certain past: the same for all rows that have both.
type node struct{ parent, id, pos int }

// opening is what the documents of one tree begin with.
type opening [sharedLeast]int

// document is a row, or a part of one that does not see the rest: places from to to of the batch, end to end. Where what
// follows is not wanted it has more tokens.
type document struct{ from, to, tokens int }

// newLine lays out a batch. No tokens are shared where rotary frequencies depend on a row's length.
func newLine(c *Config, in Input) line { return lineOf(c, in, documents(in)) }

// newLineTo lays out what a batch needs for the states at some of its places: of each document its tokens up to the last that
// is read.
func newLineTo(c *Config, in Input, at []int) line {
	var docs []document
	places := slices.Sorted(slices.Values(at))
	for _, d := range documents(in) {
		end, _ := slices.BinarySearch(places, d.to) // of the places before d.to
		if end > 0 && places[end-1] >= d.from {
			docs = append(docs, document{d.from, places[end-1] + 1, d.tokens})
		}
	}
	return lineOf(c, in, docs)
}

func lineOf(c *Config, in Input, docs []document) line {
	b, t := in.IDs.Dim(0), in.IDs.Dim(1)
	l := line{b: b, t: t, back: make([]int, b*t)}
	if len(docs) == 0 { // nothing but padding
		docs = []document{{0, 1, 1}}
	}
	ids, pos := in.IDs.Ints(), counted(in, docs)
	w := newWeaver(&l, c.Rope.Kind != nn.RopeDynamic)
	for _, d := range docs {
		w.add(d, ids, pos)
	}
	l.rows = w.rows()
	return l
}

// LineTokens is how many tokens Hidden computes of these rows in one batch: none of the padding, and what rows begin with
// alike once.
func LineTokens(rows [][]int) int {
	l := line{}
	w := newWeaver(&l, true)
	for _, row := range rows {
		pos := make([]int, len(row))
		for i := range pos {
			pos[i] = i
		}
		l.back = make([]int, len(row))
		w.add(document{0, len(row), len(row)}, row, pos)
	}
	return len(l.ids)
}

// documents lists the rows of a batch, or the documents in them.
func documents(in Input) []document {
	t := in.IDs.Dim(1)
	var seg []int
	if in.Seg.Defined() {
		seg = in.Seg.Ints()
	}
	var docs []document
	for b, n := range in.lens() {
		from := b * t
		for i := from + 1; i <= b*t+n; i++ {
			if i == b*t+n || seg != nil && seg[i] != seg[i-1] {
				docs = append(docs, document{from, i, i - from})
				from = i
			}
		}
	}
	return docs
}

// counted returns the position of each token, [B·T]: those of the batch if it has any, else counted from each document's
// first token.
func counted(in Input, docs []document) []int {
	if in.Pos.Defined() {
		return in.Pos.Expand(in.IDs.Shape()...).Contiguous().Ints()
	}
	pos := make([]int, in.IDs.Dim(0)*in.IDs.Dim(1))
	for _, d := range docs {
		for i := d.from; i < d.to; i++ {
			pos[i] = i - d.from
		}
	}
	return pos
}

// weaver puts documents into a line one by one.
type weaver struct {
	l     *line
	share bool
	trees map[opening]int // tree of the documents that begin so
	known map[node]int    // the line's token, and the next token's parent
	paths [][]int
	own   []int
	of    []int // tree of each path
	count int   // of trees
}

func newWeaver(l *line, share bool) *weaver {
	return &weaver{l: l, share: share, trees: map[opening]int{}, known: map[node]int{}}
}

// add puts a document into the line, from its first token on that no document before has.
func (w *weaver) add(d document, ids, pos []int) {
	tree := w.tree(ids[d.from:d.to])
	parent := -1 - tree // no token's index
	path := make([]int, 0, d.to-d.from)
	own := 0
	for i := d.from; i < d.to; i++ {
		at := node{parent, ids[i], pos[i]}
		token, ok := w.known[at]
		if !ok {
			token = len(w.l.ids)
			w.l.ids, w.l.pos, w.l.lens = append(w.l.ids, ids[i]), append(w.l.pos, pos[i]), append(w.l.lens, d.tokens)
			own++
			if w.share {
				w.known[at] = token
			}
		}
		w.l.back[i] = token
		path = append(path, token)
		parent = token
	}
	if own > 0 {
		w.paths, w.own, w.of = append(w.paths, path), append(w.own, own), append(w.of, tree)
	}
}

// tree returns the tree of a document: that of those which begin so, or a new one.
func (w *weaver) tree(ids []int) int {
	var key opening
	if w.share && len(ids) >= sharedLeast {
		copy(key[:], ids)
		if tree, ok := w.trees[key]; ok {
			return tree
		}
		w.trees[key] = w.count
	}
	w.count++
	return w.count - 1
}

// rows returns the paths, those of a tree side by side.
func (w *weaver) rows() *tensor.Rows {
	order := make([]int, len(w.paths))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return w.of[a] - w.of[b] })
	var slots, own, trees []int
	starts := []int{0}
	for r, i := range order {
		if r == 0 || w.of[i] != w.of[order[r-1]] {
			trees = append(trees, r)
		}
		slots, own = append(slots, w.paths[i]...), append(own, w.own[i])
		starts = append(starts, len(slots))
	}
	return tensor.NewRows(slots, starts, own, append(trees, len(order)))
}

// input is the line as a batch of one row.
func (l *line) input() Input {
	n := len(l.ids)
	return Input{IDs: tensor.Ints(l.ids, 1, n), Pos: tensor.Ints(l.pos, 1, n)}
}

// read returns the line's tokens at some places of the batch, each once and in the line's order, and which of them every
// place has.
func (l *line) read(at []int) (tokens, back []int) {
	for _, place := range at {
		tokens = append(tokens, l.back[place])
	}
	slices.Sort(tokens)
	tokens = slices.Compact(tokens)
	for _, place := range at {
		i, _ := slices.BinarySearch(tokens, l.back[place])
		back = append(back, i)
	}
	return tokens, back
}

// spread puts states x [1, N, D] where the batch has their tokens: [B, T, D].
func (l *line) spread(x tensor.Tensor) tensor.Tensor {
	d := x.Dim(-1)
	for i, token := range l.back {
		if i != token || len(l.ids) != len(l.back) {
			index := tensor.Ints(l.back, len(l.back)).OnDevice(x.Device())
			return x.Reshape(-1, d).IndexSelect(0, index).Reshape(l.b, l.t, d)
		}
	}
	return x.Reshape(l.b, l.t, d)
}

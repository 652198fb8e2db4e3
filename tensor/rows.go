package tensor

// Attention over rows that lie in one line of tokens, without padding.

import (
	"slices"

	"github.com/sugarme/gotch/libtch"

	"salsa/tensor/native"
)

// Rows say how the rows of a batch lie in a line of N tokens. Row r sees the tokens Slots[Starts[r]:Starts[r+1]] in this
// order, its path. The last Own[r] of them are its own: they follow one another in the line, stand in no row before, and
// are the queries. What comes before them are tokens of other rows that begin alike.
type Rows struct {
	Slots  []int // [S] of all rows, end to end
	Starts []int // [R+1]
	Own    []int // [R], at least 1 each
	// Trees are the first rows of each run of rows that share tokens with one another and with no others, and R: such
	// runs are computed independently.
	Trees []int

	kernel [4]Tensor // the same for the kernel
}

// NewRows makes Rows of the given tables, whose tensors live in the current scope.
func NewRows(slots, starts, own, trees []int) *Rows {
	r := &Rows{Slots: slots, Starts: starts, Own: own, Trees: trees}
	for i, table := range [][]int{slots, starts, own, trees} {
		r.kernel[i] = Ints(table, len(table))
	}
	return r
}

// Tokens returns N.
func (r *Rows) Tokens() int {
	n := 0
	for _, own := range r.Own {
		n += own
	}
	return n
}

// Path returns the tokens that row i sees.
func (r *Rows) Path(i int) []int { return r.Slots[r.Starts[i]:r.Starts[i+1]] }

// Rectangle is rows of like length side by side.
type Rectangle struct {
	Rows, Width int
	Slots       Tensor // [Rows·Width] int64: token of the line at each place; padding repeats a row's last
}

// Rectangles are rows as kernels want them that know rectangles alone: padded on the right, at most a third of any row.
type Rectangles struct {
	All  []Rectangle
	Back Tensor // [N] int64: the place of each token in the rectangles, end to end
}

// Rectangles lays the rows out for a device, with tensors that live in the current scope: once, for all layers.
func (r *Rows) Rectangles(dev Device) *Rectangles {
	all, back := r.pad()
	out := &Rectangles{Back: Ints(back, len(back)).OnDevice(dev)}
	for _, p := range all {
		slots := Ints(p.slots, len(p.slots)).OnDevice(dev)
		out.All = append(out.All, Rectangle{p.rows, p.width, slots})
	}
	return out
}

// padded is a Rectangle to be.
type padded struct {
	rows, width int
	slots       []int
}

func (r *Rows) pad() (all []padded, back []int) {
	order := make([]int, len(r.Own))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(r.Path(b)) - len(r.Path(a)) })
	back = make([]int, r.Tokens())
	at := 0
	for _, i := range order {
		path := r.Path(i)
		if last := len(all) - 1; last < 0 || 3*len(path) < 2*all[last].width {
			all = append(all, padded{width: len(path)})
		}
		now := &all[len(all)-1]
		now.rows++
		now.slots = append(now.slots, path...)
		for range now.width - len(path) {
			now.slots = append(now.slots, path[len(path)-1])
		}
		for j := len(path) - r.Own[i]; j < len(path); j++ {
			back[path[j]] = at + j
		}
		at += now.width
	}
	return all, back
}

// HasRows tells whether AttentionRows takes tensors of this kind: fp32 and bf16 on the CPU.
func HasRows(t Tensor) bool {
	return t.Device() == CPU && (t.DType() == Float32 || t.DType() == BFloat16)
}

// AttentionRows is causal attention of q [1, H, N, K] to k, v [1, G, N, K] within the rows of a line; query head h reads
// key head h·G/H. A token sees itself and, if window is not 0, window-1 before it. Scores are limited to ±softcap
// unless it is 0. The result is [1, H, N, K], each token's heads side by side in memory. It needs HasRows.
func AttentionRows(q, k, v Tensor, rows *Rows, window int, scale, softcap float64) Tensor {
	var tables [4]libtch.Ctensor
	for i, t := range rows.kernel {
		tables[i] = t.must("attention rows")
	}
	if n := rows.Tokens(); q.Dim(2) != n {
		panic(&Error{Op: "attention rows", Shapes: [][]int{q.Shape(), {n}}, Msg: "the rows' tokens are not q's"})
	}
	c, err := native.AttentionRows(q.must("attention rows"), k.must("attention rows"), v.must("attention rows"), tables, window, scale, softcap)
	return checked("attention rows", c, err, q, k, v)
}

// Collation: rectangular batches of Go slices out of sequences of unequal length.
//
// Legend: B sequences, T positions. Padding is known by Lengths alone, so any id, eos included, can fill it.
package data

// Ignore marks a position without a target in Batch.Targets.
const Ignore = -100

// Batch is B padded sequences of T tokens.
type Batch struct {
	IDs     [][]int  // [B, T]
	Lengths []int    // [B] tokens that are not padding
	Mask    [][]bool // [B, T] the token is a target
	Pos     [][]int  // [B, T] position within its document; 0 on padding
	Docs    [][]int  // [B, T] number of its document within the row; -1 on padding
	Left    bool     // padding is on the left
}

// T returns the padded length.
func (b *Batch) T() int {
	if len(b.IDs) == 0 {
		return 0
	}
	return len(b.IDs[0])
}

// Targets returns, for every position, the next token if that is a target, else Ignore: [B, T].
func (b *Batch) Targets() [][]int {
	out := make([][]int, len(b.IDs))
	for i, ids := range b.IDs {
		row := make([]int, len(ids)) // [T]
		for t := range row {
			row[t] = Ignore
			if t+1 < len(ids) && b.Mask[i][t+1] {
				row[t] = ids[t+1]
			}
		}
		out[i] = row
	}
	return out
}

// NumTargets counts the targets, the denominator of a token mean.
func (b *Batch) NumTargets() int {
	n := 0
	for _, row := range b.Mask {
		for _, target := range row {
			if target {
				n++
			}
		}
	}
	return n
}

// Collate pads examples on the right with pad, as training wants it. pad may be any id.
func Collate(examples []Example, pad int) Batch {
	packs := make([]Pack, len(examples))
	for i, x := range examples {
		packs[i] = Pack{IDs: x.IDs, Mask: x.Mask, Lengths: []int{len(x.IDs)}}
	}
	return CollatePacks(packs, pad)
}

// CollatePacks pads packed rows on the right. Positions start at 0 in every document.
func CollatePacks(packs []Pack, pad int) Batch {
	width := 0
	for _, p := range packs {
		width = max(width, len(p.IDs))
	}
	b := newBatch(len(packs), width, pad)
	for i, p := range packs {
		b.Lengths[i] = len(p.IDs)
		copy(b.IDs[i], p.IDs)
		copy(b.Mask[i], p.Mask)
		at := 0
		for doc, length := range p.Lengths {
			for t := range length {
				b.Pos[i][at+t], b.Docs[i][at+t] = t, doc
			}
			at += length
		}
	}
	return b
}

// CollatePrompts pads prompts on the left with pad, as generation wants it. No token is a target.
func CollatePrompts(prompts [][]int, pad int) Batch {
	width := 0
	for _, ids := range prompts {
		width = max(width, len(ids))
	}
	b := newBatch(len(prompts), width, pad)
	b.Left = true
	for i, ids := range prompts {
		b.Lengths[i] = len(ids)
		skip := width - len(ids)
		copy(b.IDs[i][skip:], ids)
		for t := range ids {
			b.Pos[i][skip+t], b.Docs[i][skip+t] = t, 0
		}
	}
	return b
}

// newBatch returns a batch of nothing but padding.
func newBatch(rows, width, pad int) Batch {
	b := Batch{IDs: make([][]int, rows), Lengths: make([]int, rows), Mask: make([][]bool, rows),
		Pos: make([][]int, rows), Docs: make([][]int, rows)}
	for i := range rows {
		b.IDs[i], b.Docs[i] = make([]int, width), make([]int, width)
		b.Mask[i], b.Pos[i] = make([]bool, width), make([]int, width)
		for t := range width {
			b.IDs[i][t], b.Docs[i][t] = pad, -1
		}
	}
	return b
}

// Flatten lays the rows of a [B, T] slice end to end as int64, the form tensors are made from.
func Flatten(rows [][]int) []int64 {
	var flat []int64
	for _, row := range rows {
		for _, v := range row {
			flat = append(flat, int64(v))
		}
	}
	return flat
}

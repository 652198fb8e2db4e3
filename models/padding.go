package models

// Batches that come with a mask, padded on either side.

import (
	"slices"

	"salsa/internal/fault"
	"salsa/tensor"
)

// FromMask takes padded ids and their attention mask, 1 on tokens and 0 on padding, both [B, T], as transformers' own
// tokenizers and collators make them: padded on the right, the left or both. It also returns the rows without padding.
// A mask with a hole, another number or another shape is an error.
func FromMask(ids, mask [][]int) (in Input, rows [][]int, err error) {
	if len(ids) != len(mask) || len(ids) == 0 {
		return in, nil, fault.Inputf("mask: has %d rows and ids %d; give at least one row, and a mask for each", len(mask), len(ids))
	}
	t := width(ids)
	flat := make([]int, 0, len(ids)*t)
	for b, row := range ids {
		if len(row) != t || len(mask[b]) != t {
			return in, nil, fault.Inputf("row %d: has %d ids and a mask of %d where the batch is %d wide; pad it", b, len(row), len(mask[b]), t)
		}
		start, n, ones := max(0, slices.Index(mask[b], 1)), 0, 0
		for start+n < t && mask[b][start+n] == 1 {
			n++
		}
		for _, m := range mask[b] {
			if m != 0 {
				ones++
			}
		}
		if ones != n {
			return in, nil, fault.Inputf("row %d: its mask is not one run of ones among zeros; remove what is masked inside the row", b)
		}
		flat, rows = append(flat, row...), append(rows, row[start:start+n])
		in.Start, in.Lens = append(in.Start, start), append(in.Lens, n)
	}
	in.IDs = tensor.Ints(flat, len(ids), t)
	if slices.Max(in.Start) == 0 {
		in.Start = nil
	}
	return in, rows, nil
}

// moved returns x [B, T, …] with row b's columns moved sign·by[b] to the left, around the edge.
func moved(x tensor.Tensor, by []int, sign int) tensor.Tensor {
	shape := x.Shape()
	t := shape[1]
	index := make([]int, 0, len(by)*t)
	for b, n := range by {
		for i := range t {
			index = append(index, b*t+(i+sign*n+t)%t)
		}
	}
	flat := x.Reshape(append([]int{-1}, shape[2:]...)...)
	return flat.IndexSelect(0, tensor.Ints(index, len(index)).OnDevice(x.Device())).Reshape(shape...)
}

// aligned returns the batch with all rows at the left edge.
func (in Input) aligned() Input {
	if in.Pos.Defined() || in.Seg.Defined() {
		panic(&tensor.Error{Op: "input", Shapes: [][]int{in.IDs.Shape()}, Msg: "Start goes with neither Pos nor Seg"})
	}
	return Input{IDs: moved(in.IDs, in.Start, 1), Lens: in.lens()}
}

// start returns the column of row b's first token.
func (in Input) start(b int) int {
	if in.Start == nil {
		return 0
	}
	return in.Start[b]
}

package trainers

// From examples to the tensors of one micro-batch.

import (
	"cmp"
	"fmt"
	"slices"

	"salsa/data"
	"salsa/internal/profile"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// collate pads examples on the right and lists their targets, [B, T] and [N].
func collate(examples []data.Example) (models.Input, models.Targets) {
	defer profile.Begin(profile.Data).End()
	rows, masks := make([][]int, len(examples)), make([][]bool, len(examples))
	for i, x := range examples {
		rows[i], masks[i] = x.IDs, x.Mask
	}
	return models.Collate(rows), models.TargetsOf(rows, masks)
}

// packed is one row of the batch: the documents that lie in it end to end, often a single one.
type packed []data.Example

// tokens returns the length of the row.
func (p packed) tokens() int { return countTokens(p) }

// unpacked makes a row of each example.
func unpacked(examples []data.Example) []packed {
	rows := make([]packed, len(examples))
	for i := range examples {
		rows[i] = packed(examples[i : i+1])
	}
	return rows
}

// packRows lays examples into rows of at most length tokens if the options ask for it; files that are drawn by weight
// are packed one by one.
func packRows(examples []data.Example, o SFTOptions, length int) ([]packed, error) {
	if !o.Packing {
		return unpacked(examples), nil
	}
	var rows []packed
	for _, part := range bySource(examples) {
		packs, _, err := data.PackExamples(part, length, data.Packing(o.PackingStrategy))
		if err != nil {
			return nil, err
		}
		for _, p := range packs {
			at, row := 0, packed{}
			for i, n := range p.Lengths {
				row = append(row, data.Example{IDs: p.IDs[at : at+n], Mask: p.Mask[at : at+n], Row: p.Rows[i]})
				at += n
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// collatePacked is collate for rows of several documents, which do not see one another.
func collatePacked(rows []packed) (models.Input, models.Targets) {
	docs, masks := make([][][]int, len(rows)), make([][]bool, len(rows))
	single := true
	for i, row := range rows {
		single = single && len(row) == 1
		for _, x := range row {
			docs[i] = append(docs[i], x.IDs)
			masks[i] = append(masks[i], x.Mask...)
		}
	}
	if single {
		return collate(slices.Concat(rows...))
	}
	defer profile.Begin(profile.Data).End()
	in, joined := models.Pack(docs)
	return in, models.TargetsOf(joined, masks)
}

// countTargets adds up the target tokens of examples.
func countTargets(examples []data.Example) int {
	n := 0
	for i := range examples {
		n += examples[i].Targets()
	}
	return n
}

// countTokens adds up the tokens of examples.
func countTokens(examples []data.Example) int {
	n := 0
	for _, x := range examples {
		n += len(x.IDs)
	}
	return n
}

// pick returns the items at the given indices.
func pick[T any](items []T, at []int) []T {
	out := make([]T, len(at))
	for i, j := range at {
		out[i] = items[j]
	}
	return out
}

// byLength returns a batch in the order of falling length, so that micro-batches hold rows of like length and
// little padding. The sort is stable: the order is a function of the batch.
func byLength[T any](batch []T, length func(T) int) []T {
	sorted := slices.Clone(batch)
	slices.SortStableFunc(sorted, func(a, b T) int { return cmp.Compare(length(b), length(a)) })
	return sorted
}

// prefixed lists the trainable parameters of m under a prefix, for runs that train several networks.
func prefixed(prefix string, m models.Model) []nn.Param {
	var out []nn.Param
	for _, p := range models.Trainable(m) {
		out = append(out, nn.Param{Name: prefix + p.Name, Tensor: p.Tensor, Dropout: p.Dropout})
	}
	return out
}

// loadInto copies what keep wrote to dir into the live network.
func loadInto(dir string, m models.Model) error {
	if models.Adapted(m) {
		return models.LoadAdapter(dir, "", m)
	}
	saved, err := models.OpenCheckpoint(dir)
	if err != nil {
		return err
	}
	defer saved.Close()
	for p := range nn.Params(m) {
		err := tensor.NoGrad(func() error { // one weight at a time is in memory twice
			w, err := saved.Read(p.Name)
			if err != nil {
				return err
			}
			p.Tensor.Copy(w)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %s: %w", dir, p.Name, err)
		}
	}
	return nil
}

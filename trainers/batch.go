package trainers

// From examples to the tensors of one micro-batch.

import (
	"cmp"
	"fmt"
	"slices"

	"salsa/data"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// collate pads examples on the right and lists their targets, [B, T] and [N].
func collate(examples []data.Example) (models.Input, models.Targets) {
	rows, masks := make([][]int, len(examples)), make([][]bool, len(examples))
	for i, x := range examples {
		rows[i], masks[i] = x.IDs, x.Mask
	}
	return models.Collate(rows), models.TargetsOf(rows, masks)
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

// prefixed lists the parameters of module under a prefix, for runs that train several networks.
func prefixed(prefix string, module any) []nn.Param {
	var out []nn.Param
	for p := range nn.Params(module) {
		out = append(out, nn.Param{Name: prefix + p.Name, Tensor: p.Tensor})
	}
	return out
}

// loadInto copies the weights that dir holds into the live module.
func loadInto(dir string, module any) error {
	saved, err := models.OpenCheckpoint(dir)
	if err != nil {
		return err
	}
	defer saved.Close()
	for p := range nn.Params(module) {
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

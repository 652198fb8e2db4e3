// Package soup mixes checkpoints weight by weight: one tensor of each member is in memory at a time, sums are
// exact in float64, and every mismatch is found in the headers before a value is read. Each operator is a Recipe in a
// file of its own; its comment says where it departs from mergekit 0.1.5, and scripts/golden/soups.py made the
// numbers that hold it to mergekit where it does not.
//
// A soup of models that were fine-tuned from one pretrained checkpoint lies in a region of low loss (Wortsman et
// al., arXiv 2203.05482). SALSA takes such a soup as the reference of PPO's KL penalty (arXiv 2411.01798).
package soup

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// Inputs are one weight as every checkpoint of a soup has it: floats of one shape, in any float dtype.
type Inputs struct {
	Name    string
	Base    tensor.Tensor // the model that the members were fine-tuned from; absent if the soup was opened without
	Members []tensor.Tensor
}

// Recipe writes the mix of one weight into dst, of the inputs' shape and any float dtype. It computes in float64 and
// rounds once. What it writes depends on its inputs alone, not on the weights that came before or on threads.
type Recipe func(dst tensor.Tensor, in Inputs)

// Weights returns the n members' shares: uniform where given is empty, else given scaled to sum to 1. A share outside
// [0, 1] extrapolates and must be asked for.
func Weights(given []float64, n int, extrapolate bool) ([]float64, error) {
	if len(given) == 0 {
		given = slices.Repeat([]float64{1}, n)
	}
	if len(given) != n {
		return nil, fault.Inputf("%d weights for %d soup members; give one weight per member", len(given), n)
	}
	sum := 0.0
	for _, w := range given {
		sum += w
	}
	if !(sum > 1e-12) || math.IsInf(sum, 0) { // a negative sum would turn every sign around
		return nil, fault.Inputf("soup weights %v add up to %g; give weights with a positive sum", given, sum)
	}
	out := make([]float64, n)
	for i, w := range given {
		out[i] = w / sum
		if !extrapolate && (out[i] < 0 || out[i] > 1) {
			return nil, fault.Inputf("soup weight %g of member %d is outside [0, 1]; add --extrapolate if you mean it", out[i], i+1)
		}
	}
	return out, nil
}

// Members are the opened checkpoints of a soup that fit one another.
type Members struct {
	Checkpoints []*models.Checkpoint
	Base        *models.Checkpoint // what task vectors are taken from; nil: none
}

// Open opens the folders and compares their configs, tokenizers, names and shapes; no value is read. The
// error lists every difference with both sides.
func Open(dirs []string) (*Members, error) {
	if len(dirs) == 0 {
		return nil, fault.Inputf("a soup needs at least one member folder")
	}
	m := &Members{}
	for _, dir := range dirs {
		c, err := models.OpenCheckpoint(dir)
		if err != nil {
			m.Close()
			return nil, err
		}
		m.Checkpoints = append(m.Checkpoints, c)
	}
	var faults []string
	for _, c := range m.Checkpoints[1:] {
		faults = append(faults, differences(m.Checkpoints[0], c)...)
	}
	if len(faults) > 0 {
		m.Close()
		return nil, fault.Inputf("these folders cannot be mixed: %s; soup members must be fine-tunes of one base model", strings.Join(faults, "; "))
	}
	return m, nil
}

// OpenWithBase is Open, with the folder of the model that the members were fine-tuned from. It must fit them as they
// fit one another.
func OpenWithBase(base string, dirs []string) (*Members, error) {
	m, err := Open(dirs)
	if err != nil {
		return nil, err
	}
	if m.Base, err = models.OpenCheckpoint(base); err != nil {
		m.Close()
		return nil, err
	}
	if faults := differences(m.Checkpoints[0], m.Base); len(faults) > 0 {
		m.Close()
		return nil, fault.Inputf("%s cannot be the base of %s: %s; give the model that the members were fine-tuned from",
			base, dirs[0], strings.Join(faults, "; "))
	}
	return m, nil
}

// Close lets go of all files.
func (m *Members) Close() {
	for _, c := range m.Checkpoints {
		c.Close()
	}
	if m.Base != nil {
		m.Base.Close()
	}
}

// read returns one weight of every member and of the base.
func (m *Members) read(name string) (in Inputs, err error) {
	in = Inputs{Name: name, Members: make([]tensor.Tensor, len(m.Checkpoints))}
	for i, c := range m.Checkpoints {
		if in.Members[i], err = c.ReadExact(name); err != nil {
			return in, err
		}
	}
	if m.Base != nil {
		in.Base, err = m.Base.ReadExact(name)
	}
	return in, err
}

// Mix overwrites the weights of dst, a live model of the members' shape.
func (m *Members) Mix(dst models.Model, r Recipe) error {
	for p := range nn.Params(dst) {
		err := tensor.NoGrad(func() error {
			in, err := m.read(p.Name)
			if err != nil {
				return err
			}
			r(*p.Tensor, in)
			return nil
		})
		if err != nil {
			return fmt.Errorf("soup of %s: %w", p.Name, err)
		}
	}
	return nil
}

// WriteOptions say how a soup is written to disk.
type WriteOptions struct {
	DType         tensor.DType // 0 keeps the first member's
	MaxShardBytes int64        // 0 is one file
	Done          func(bytes int64)
}

// Write streams the soup into dir, a Hugging Face folder with the first member's config and tokenizer. Peak memory is
// one weight of every member and of the result.
func (m *Members) Write(dir string, r Recipe, opt WriteOptions) error {
	first := m.Checkpoints[0]
	var specs []safetensors.Spec
	dtypes := map[string]tensor.DType{}
	for _, name := range first.Names() {
		info, _ := first.Info(name)
		d := opt.DType
		if d == 0 {
			d = info.DType
		}
		dtypes[name] = d
		specs = append(specs, safetensors.Spec{Name: name, DType: models.FileType(d), Shape: info.Shape})
	}
	return checkpoint.Commit(dir, func(tmp string) error {
		var unread error // what a member's file said; it must not read as a fault of the file being written
		err := safetensors.WriteDir(tmp, specs, opt.MaxShardBytes, nil, func(name string) (data []byte, err error) {
			err = tensor.NoGrad(func() error {
				in, err := m.read(name)
				if err != nil {
					unread = err
					return err
				}
				dst := tensor.Zeros(dtypes[name], tensor.CPU, in.Members[0].Shape()...)
				r(dst, in)
				if !dst.IsFinite().All() {
					unread = fault.Inputf("%s of the soup is not finite in %s; mix nearer to the members, or choose a wider --store-dtype", name, dtypes[name])
					return unread
				}
				data = dst.Bytes()
				return nil
			})
			if opt.Done != nil {
				opt.Done(int64(len(data)))
			}
			return data, err
		})
		if unread != nil {
			return unread
		}
		if err != nil {
			return err
		}
		if err := models.SaveConfig(tmp, first.Config, dtypes[specs[0].Name]); err != nil || !models.HasTokenizer(first.Dir) {
			return err
		}
		return models.CopyTokenizer(tmp, first.Dir)
	})
}

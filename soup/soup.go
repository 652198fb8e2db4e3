// Package soup mixes checkpoints weight by weight: a few blocks of each member are in memory at a time, sums are
// exact in float64, and every mismatch is found in the headers before a value is read. Each operator is a Recipe in a
// file of its own; its comment says where it departs from mergekit 0.1.5, and scripts/golden/soups.py made the
// numbers that hold it to mergekit where it does not.
//
// A soup of models that were fine-tuned from one pretrained checkpoint lies in a region of low loss (Wortsman et
// al., arXiv 2203.05482). SALSA takes such a soup as the reference of PPO's KL penalty (arXiv 2411.01798).
package soup

import (
	"context"
	"fmt"
	"io"
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

// Recipe is an operator. It goes through a weight's blocks if it must know something of the whole weight first, and
// returns what mixes each of them. The compute goroutine calls it.
type Recipe func(in Inputs) (Mixer, error)

// Mixer writes the mix of a block into dst, of the block's size and any float dtype. It computes in float64 and rounds
// once. What it writes depends on the weight alone, not on weights or blocks that came before or on threads. Several
// goroutines call it at once, so it keeps nothing.
type Mixer func(dst tensor.Stretch, b *Block)

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

// inputs opens one weight of every member and of the base.
func (m *Members) inputs(name string) (in Inputs, err error) {
	info, _ := m.Checkpoints[0].Info(name)
	in = Inputs{Name: name, Shape: info.Shape, Members: make([]models.Source, len(m.Checkpoints))}
	for i, c := range m.Checkpoints {
		if in.Members[i], err = c.Source(name); err != nil {
			return in, err
		}
	}
	if m.Base != nil {
		in.Base, err = m.Base.Source(name)
	}
	return in, err
}

// Mix overwrites the weights of dst, a live model of the members' shape.
func (m *Members) Mix(dst models.Model, r Recipe) error {
	for p := range nn.Params(dst) {
		in, err := m.inputs(p.Name)
		if err == nil {
			err = r.Into(*p.Tensor, in)
		}
		if err != nil {
			return fmt.Errorf("soup of %s: %w", p.Name, err)
		}
	}
	return nil
}

// Into writes the mix of a weight into dst, a contiguous tensor of the weight's shape, of any float type and on any
// device. An error is that of an input.
func (r Recipe) Into(dst tensor.Tensor, in Inputs) error {
	return in.mix(r, dst.DType(), func(mixed tensor.Stretch, at int) error {
		return tensor.NoGrad(func() error {
			n := mixed.Numel()
			dst.Reshape(dst.Numel()).Narrow(0, at, n).Copy(tensor.FromBytes(mixed.Data, mixed.DType, n))
			return nil
		})
	})
}

// WriteOptions say how a soup is written to disk.
type WriteOptions struct {
	DType         tensor.DType // 0 keeps the first member's
	MaxShardBytes int64        // 0 is one file
	Done          func(bytes int64)
}

// Write streams the soup into dir, a Hugging Face folder with the first member's config and tokenizer. Peak memory is a
// few blocks of every member and of the result, however large a weight is. Beside them, of the weight in work, are the two
// matrices of a PEFT folder's adapter, and of a Direction a number for each row. When ctx is done it returns ctx's error and
// dir is what it was before.
func (m *Members) Write(ctx context.Context, dir string, r Recipe, opt WriteOptions) error {
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
		err := safetensors.StreamDir(tmp, specs, opt.MaxShardBytes, nil, func(name string, w io.Writer) error {
			n, unwritten, err := m.put(ctx, w, name, r, dtypes[name])
			if err != nil && !unwritten {
				unread = err
			}
			if opt.Done != nil {
				opt.Done(n)
			}
			return err
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

// put writes the mix of one weight. unwritten tells that an error is w's.
func (m *Members) put(ctx context.Context, w io.Writer, name string, r Recipe, d tensor.DType) (written int64, unwritten bool, err error) {
	in, err := m.inputs(name)
	if err != nil {
		return 0, false, err
	}
	in.ctx = ctx
	err = in.mix(r, d, func(mixed tensor.Stretch, _ int) error {
		if !mixed.Finite() {
			return fault.Inputf("%s of the soup is not finite in %s; mix nearer to the members, or choose a wider --store-dtype", name, d)
		}
		n, err := w.Write(mixed.Data)
		written, unwritten = written+int64(n), err != nil
		return err
	})
	return written, unwritten, err
}

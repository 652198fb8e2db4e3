// Package soup mixes checkpoints weight by weight: one tensor of each member is in memory at a time, sums are
// exact in float64, and every mismatch is found in the headers before a value is read.
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

// Recipe writes the mix of one weight into dst; same holds that weight of every member, in their order.
type Recipe func(dst tensor.Tensor, name string, same []tensor.Tensor)

// Linear is the weighted sum Σ w_k θ_k. Equal members give themselves bit for bit, as does a weight of 1 beside
// zeros.
func Linear(weights []float64) Recipe {
	return func(dst tensor.Tensor, _ string, same []tensor.Tensor) { tensor.Lincomb(dst, same, weights) }
}

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

// Close lets go of all files.
func (m *Members) Close() {
	for _, c := range m.Checkpoints {
		c.Close()
	}
}

// read returns one weight of every member.
func (m *Members) read(name string) ([]tensor.Tensor, error) {
	same := make([]tensor.Tensor, len(m.Checkpoints))
	for i, c := range m.Checkpoints {
		t, err := c.Read(name)
		if err != nil {
			return nil, err
		}
		same[i] = t
	}
	return same, nil
}

// Mix overwrites the weights of dst, a live model of the members' shape.
func (m *Members) Mix(dst models.Model, r Recipe) error {
	for p := range nn.Params(dst) {
		err := tensor.NoGrad(func() error {
			same, err := m.read(p.Name)
			if err != nil {
				return err
			}
			r(*p.Tensor, p.Name, same)
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
				same, err := m.read(name)
				if err != nil {
					unread = err
					return err
				}
				dst := tensor.Zeros(dtypes[name], tensor.CPU, same[0].Shape()...)
				r(dst, name, same)
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

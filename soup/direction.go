package soup

// Random directions in weight space: what lies around a soup and around its members.

import (
	"hash/fnv"
	"math"
	"slices"

	"salsa/tensor"
)

// Direction is a random vector over all weights of a model, of L2 norm 1. Its entries are normal numbers, each tensor's
// a function of the seed and the tensor's name; no more than one tensor of it is ever in memory.
type Direction struct {
	seed   uint64
	filter bool
	gain   float64 // 1 / the norm of what drawn returns over all tensors
}

// NewDirection makes the direction of a seed. Globally normalised, every weight of the model counts the same. With
// filter set, each row of a matrix, or a whole tensor of rank 1, first gets the norm that the first member has there, so
// that large weights move far and small ones little (Li et al., arXiv 1712.09913, §4).
func (m *Members) NewDirection(seed uint64, filter bool) (*Direction, error) {
	d := &Direction{seed: seed, filter: filter}
	sum := 0.0
	for _, name := range m.Checkpoints[0].Names() {
		err := tensor.NoGrad(func() error {
			w, err := m.Checkpoints[0].ReadExact(name)
			if err != nil {
				return err
			}
			sum += d.drawn(name, w).Square().Sum().Item()
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	d.gain = 1 / math.Sqrt(sum)
	return d, nil
}

// drawn is the direction in one tensor before it is brought to norm 1, float64.
func (d *Direction) drawn(name string, w tensor.Tensor) tensor.Tensor {
	h := fnv.New64a()
	h.Write([]byte(name))
	u := tensor.Randn(tensor.Mix(d.seed, h.Sum64()), w.Shape()...).To(tensor.Float64)
	if !d.filter {
		return u
	}
	rows := []int{1, w.Numel()}
	if shape := w.Shape(); len(shape) > 1 {
		rows = []int{shape[0], w.Numel() / shape[0]}
	}
	norm := func(t tensor.Tensor) tensor.Tensor { return t.Reshape(rows...).Square().Sum(1).Sqrt().Unsqueeze(1) }
	return u.Reshape(rows...).Mul(norm(w.To(tensor.Float64)).Div(norm(u))).Reshape(w.Shape()...)
}

// From is the linear soup moved by an L2 distance along the direction, of which it holds one weight in memory.
func (d *Direction) From(shares Shares, distance float64) Recipe {
	return func(in Inputs) (Mixer, error) {
		var u tensor.Stretch
		err := tensor.NoGrad(func() error {
			first, err := in.whole(in.Members[0])
			if err == nil {
				u = tensor.Stretch{Data: d.drawn(in.Name, first).Bytes(), DType: tensor.Float64}
			}
			return err
		})
		w := append(slices.Clone(shares(in.Name)), distance*d.gain)
		return func(dst tensor.Stretch, b *Block) {
			tensor.LincombStretch(dst, append(slices.Clone(b.members), u.From(b.at, b.size())), w)
		}, err
	}
}

// Distance is the L2 distance between the first two members over all weights.
func (m *Members) Distance() (float64, error) {
	sum := 0.0
	for _, name := range m.Checkpoints[0].Names() {
		in, err := m.inputs(name)
		if err != nil {
			return 0, err
		}
		in.Base = in.Members[0]
		dots, err := in.only(1).dots()
		if err != nil {
			return 0, err
		}
		sum += dots[0][0]
	}
	return math.Sqrt(sum), nil
}

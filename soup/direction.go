package soup

// Random directions in weight space: what lies around a soup and around its members.

import (
	"hash/fnv"
	"math"
	"slices"

	"salsa/models"
	"salsa/tensor"
)

// Direction is a random vector over all weights of a model, of L2 norm 1. Its entries are normal numbers, each a function
// of the seed, the tensor's name and the entry's place, drawn when a block needs them.
type Direction struct {
	seed   uint64
	filter bool
	gain   float64 // 1 / the norm over all tensors before
}

// NewDirection makes the direction of a seed. Globally normalised, every weight of the model counts the same. With
// filter set, each row of a matrix, or a whole tensor of rank 1, first gets the norm that the first member has there, so
// that large weights move far and small ones little (Li et al., arXiv 1712.09913, §4).
func (m *Members) NewDirection(seed uint64, filter bool) (*Direction, error) {
	d := &Direction{seed: seed, filter: filter}
	sum := 0.0
	for _, name := range m.Checkpoints[0].Names() {
		info, _ := m.Checkpoints[0].Info(name)
		w, err := m.Checkpoints[0].Source(name)
		if err != nil {
			return nil, err
		}
		weights, drawn, err := d.squares(Inputs{Name: name, Shape: info.Shape, Members: []models.Source{w}})
		if err != nil {
			return nil, err
		}
		if !filter {
			weights = drawn
		}
		for _, v := range weights {
			sum += v
		}
	}
	d.gain = 1 / math.Sqrt(sum)
	return d, nil
}

// stream is what the entries in a tensor are drawn from.
func (d *Direction) stream(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return tensor.Mix(tensor.Mix(d.seed, h.Sum64()))
}

// row is how many entries share a norm.
func (in Inputs) row() int {
	if len(in.Shape) < 2 {
		return max(1, in.numel())
	}
	return max(1, in.numel()/in.Shape[0])
}

// runs cuts the block at the ends of rows: entries from to to of it belong to a row.
func (b *Block) runs(row int, do func(r, from, to int)) {
	for from := 0; from < b.size(); {
		r := (b.at + from) / row
		to := min((r+1)*row-b.at, b.size())
		do(r, from, to)
		from = to
	}
}

// squares are the squared norms of the rows of the first member's weight, and of what is drawn.
func (d *Direction) squares(in Inputs) (weights, drawn []float64, err error) {
	row, stream := in.row(), d.stream(in.Name)
	rows := (in.numel() + row - 1) / row
	weights, drawn = make([]float64, rows), make([]float64, rows)
	in = in.only(0)
	in.Base = nil
	err = in.each(func(b *Block) error {
		tau, u := b.tau()
		tensor.NormalsAt(u, stream, b.at)
		b.partial = b.partial[:0]
		b.runs(row, func(_, from, to int) {
			b.partial = append(b.partial, tensor.Dot(tau[0][from:to], tau[0][from:to]), tensor.Dot(u[from:to], u[from:to]))
		})
		return nil
	}, func(b *Block) error {
		sums := b.partial
		b.runs(row, func(r, _, _ int) {
			weights[r] += sums[0]
			drawn[r] += sums[1]
			sums = sums[2:]
		})
		return nil
	})
	return weights, drawn, err
}

// gains are what the rows of a weight are multiplied by.
func (d *Direction) gains(in Inputs) ([]float64, error) {
	weights, drawn, err := d.squares(in)
	for r, v := range drawn {
		weights[r] = math.Sqrt(weights[r]) / math.Sqrt(v)
	}
	return weights, err
}

// From is the linear soup moved by an L2 distance along the direction.
func (d *Direction) From(shares Shares, distance float64) Recipe {
	return func(in Inputs) (Mixer, error) {
		row, stream := in.row(), d.stream(in.Name)
		var gains []float64
		if d.filter {
			var err error
			if gains, err = d.gains(in); err != nil {
				return nil, err
			}
		}
		w := append(slices.Clone(shares(in.Name)), distance*d.gain)
		return func(dst tensor.Stretch, b *Block) {
			b.zero = grown(b.zero, b.size())
			tensor.NormalsAt(b.zero, stream, b.at)
			if d.filter {
				b.runs(row, func(r, from, to int) {
					for i := from; i < to; i++ {
						b.zero[i] *= gains[r]
					}
				})
			}
			u := result(&b.moved, b.size(), tensor.Float64)
			u.Set(b.zero)
			tensor.LincombStretch(dst, append(slices.Clone(b.members), u), w)
		}, nil
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

package nn

// The blocks that hold weights: Linear with its optional adapter, Embedding, RMSNorm.

import (
	"slices"

	"salsa/tensor"
)

// Linear maps [..., In] to [..., Out].
type Linear struct {
	Weight  tensor.Tensor `hf:"weight"` // [Out, In]
	Bias    tensor.Tensor `hf:"bias"`   // [Out], absent unless HasBias
	In, Out int
	HasBias bool
	LoRA    *LoRA // nil unless adapted; see lora.go
}

// NewLinear declares a linear map whose weights are still to come.
func NewLinear(in, out int, bias bool) *Linear { return &Linear{In: in, Out: out, HasBias: bias} }

func (l *Linear) spec(tag string) ([]int, Init) {
	switch {
	case tag == "weight":
		return []int{l.Out, l.In}, Normal
	case l.HasBias:
		return []int{l.Out}, Zeros
	}
	return nil, Zeros
}

// Forward returns x W^T + b, plus the adapter's share; x [..., In], result [..., Out].
func (l *Linear) Forward(x tensor.Tensor) tensor.Tensor {
	if !l.LoRA.active() {
		return x.Linear(l.Weight, l.Bias)
	}
	return tensor.Scoped(func() tensor.Tensor { // no gradient needs the terms of the sum
		return x.Linear(l.Weight, l.Bias).Add(l.LoRA.delta(x))
	})
}

// Maps returns the maps of norm(x), or of x where norm is nil; x [..., In], results [..., Out]. Where it can, the norm's result
// is made again for the gradients instead of kept.
func Maps(x tensor.Tensor, norm *RMSNorm, maps ...*Linear) []tensor.Tensor {
	apart := func(l *Linear) bool { return l.Adapted() || l.HasBias != maps[0].HasBias }
	if norm != nil && tensor.HasRows(x) && !slices.ContainsFunc(maps, apart) {
		var weights, biases []tensor.Tensor
		for _, l := range maps {
			weights = append(weights, l.Weight)
			if l.HasBias {
				biases = append(biases, l.Bias)
			}
		}
		return tensor.NormedLinears(x, norm.Weight, weights, biases, norm.Eps, norm.PlusOne)
	}
	if norm != nil {
		x = norm.Forward(x)
	}
	out := make([]tensor.Tensor, len(maps))
	for i, l := range maps {
		out[i] = l.Forward(x)
	}
	return out
}

// Embedding maps ids [...] to rows [..., Dim].
type Embedding struct {
	Weight     tensor.Tensor `hf:"weight"` // [Vocab, Dim]
	Vocab, Dim int
}

// NewEmbedding declares an embedding whose weight is still to come.
func NewEmbedding(vocab, dim int) *Embedding { return &Embedding{Vocab: vocab, Dim: dim} }

func (e *Embedding) spec(string) ([]int, Init) { return []int{e.Vocab, e.Dim}, Normal }

// Forward returns the rows that the int64 ids name.
func (e *Embedding) Forward(ids tensor.Tensor) tensor.Tensor { return tensor.Embedding(e.Weight, ids) }

// RMSNorm divides the last axis by its root mean square (Zhang & Sennrich, arXiv 1910.07467).
type RMSNorm struct {
	Weight  tensor.Tensor `hf:"weight"` // [Dim]
	Dim     int
	Eps     float64
	PlusOne bool // scale by 1+w, as Gemma does
}

// NewRMSNorm declares a norm whose weight is still to come.
func NewRMSNorm(dim int, eps float64, plusOne bool) *RMSNorm {
	return &RMSNorm{Dim: dim, Eps: eps, PlusOne: plusOne}
}

func (n *RMSNorm) spec(string) ([]int, Init) {
	if n.PlusOne {
		return []int{n.Dim}, Zeros
	}
	return []int{n.Dim}, Ones
}

// Forward normalises x [..., Dim].
func (n *RMSNorm) Forward(x tensor.Tensor) tensor.Tensor {
	return tensor.RMSNorm(x, n.Weight, n.Eps, n.PlusOne)
}

package nn

// The blocks that hold weights: Linear with its optional adapter, Embedding, RMSNorm.

import "salsa/tensor"

// Linear maps [..., In] to [..., Out].
type Linear struct {
	Weight  tensor.Tensor `hf:"weight"` // [Out, In]
	Bias    tensor.Tensor `hf:"bias"`   // [Out], absent unless HasBias
	In, Out int
	HasBias bool
	LoRA    *LoRA // nil unless adapted
}

// LoRA is a low-rank change of a linear map, W + Scale·B A (Hu et al., arXiv 2106.09685, §4.1). Params passes
// it over: an adapter is trained, saved and counted apart from the model.
type LoRA struct {
	A     tensor.Tensor // [rank, In]
	B     tensor.Tensor // [Out, rank]
	Scale float64       // alpha/rank
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
	y := x.Linear(l.Weight, l.Bias)
	if l.LoRA == nil {
		return y
	}
	return y.Add(l.LoRA.delta(x))
}

// delta is Scale·x A^T B^T, [..., Out], in x's dtype whatever that of A and B.
func (l *LoRA) delta(x tensor.Tensor) tensor.Tensor {
	low := x.To(l.A.DType()).Linear(l.A, tensor.Tensor{}) // [..., rank]
	return low.Linear(l.B, tensor.Tensor{}).MulScalar(l.Scale).To(x.DType())
}

// Effective returns the weight [Out, In] with the adapter folded in, differentiable with respect to both.
func (l *Linear) Effective() tensor.Tensor {
	if l.LoRA == nil {
		return l.Weight
	}
	change := l.LoRA.B.Matmul(l.LoRA.A).MulScalar(l.LoRA.Scale) // [Out, In]
	return l.Weight.Add(change.To(l.Weight.DType()))
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

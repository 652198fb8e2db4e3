package nn

// Low-rank adapters of linear maps: their arithmetic, their names, folding them in and out.

import (
	"hash/fnv"
	"iter"
	"math"

	"salsa/tensor"
)

// LoRA is a low-rank change of a linear map, W + Scale·B A (Hu et al., arXiv 2106.09685, §4.1). Params passes
// it over: an adapter is trained, saved and counted apart from the model.
type LoRA struct {
	A       tensor.Tensor // [rank, In]
	B       tensor.Tensor // [Out, rank]
	Scale   float64       // alpha/rank, or alpha/√rank (Kalajdzievski, arXiv 2312.03732)
	Dropout *Dropout      // noise on the adapter's input while training; nil: none

	stream uint64        // tells this map's noise from that of others
	base   tensor.Tensor // while the adapter is merged: the map's own weight
}

// AdapterPrefix precedes the module names of an adapter's weights: PEFT wraps the model twice.
const AdapterPrefix = "base_model.model."

// NewLoRA makes the adapter of the map with the given full name: B is zero, so it begins as no change, and A is
// uniform in ±1/√In, Kaiming's rule with a = √5. Both are float32 on the weight's device and want gradients. A
// depends on seed and name alone. Both belong to the caller's scope.
func NewLoRA(l *Linear, name string, rank int, scale float64, seed uint64) *LoRA {
	stream := nameHash(name)
	rng := tensor.NewRNG(seed, stream)
	bound := 1 / math.Sqrt(float64(l.In))
	a := make([]float32, rank*l.In)
	for i := range a {
		a[i] = float32((2*rng.Float64() - 1) * bound)
	}
	dev := l.Weight.Device()
	return &LoRA{
		A: tensor.Floats(a, rank, l.In).OnDevice(dev).RequireGrad(true),
		B: tensor.Zeros(tensor.Float32, dev, l.Out, rank).RequireGrad(true), Scale: scale, stream: stream,
	}
}

func nameHash(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// Adapters walks the adapters' matrices of a module under PEFT's names, those of A before those of B.
func Adapters(module any) iter.Seq[Param] {
	return func(yield func(Param) bool) {
		for name, l := range Linears(module) {
			a := l.LoRA
			if a == nil {
				continue
			}
			rank := a.A.Dim(0)
			name = AdapterPrefix + name
			if !yield(Param{Name: name + ".lora_A.weight", Tensor: &a.A, Shape: []int{rank, l.In}, Dropout: a.Dropout}) ||
				!yield(Param{Name: name + ".lora_B.weight", Tensor: &a.B, Shape: []int{l.Out, rank}, Init: Zeros, Dropout: a.Dropout}) {
				return
			}
		}
	}
}

// active tells whether the adapter adds to the map's weight: there is one, and it is not merged.
func (a *LoRA) active() bool { return a != nil && !a.base.Defined() }

// Adapted tells whether an adapter adds to the map's weight when it is computed.
func (l *Linear) Adapted() bool { return l.LoRA.active() }

// delta is Scale·x A^T B^T, [..., Out], in x's dtype whatever that of A and B.
func (a *LoRA) delta(x tensor.Tensor) tensor.Tensor {
	low := a.Dropout.apply(x.To(a.A.DType()), a.stream).Linear(a.A, tensor.Tensor{}) // [..., rank]
	return low.Linear(a.B, tensor.Tensor{}).MulScalar(a.Scale).To(x.DType())
}

// Fold returns w + Scale·B A, [Out, In], computed in the matrices' dtype or w's, whichever is wider, and rounded to
// w's once.
func (a *LoRA) Fold(w tensor.Tensor) tensor.Tensor {
	return tensor.Scoped(func() tensor.Tensor { // the terms are as large as w
		return w.Add(a.B.Matmul(a.A).MulScalar(a.Scale)).To(w.DType())
	})
}

// Effective returns the weight [Out, In] with the adapter folded in, differentiable with respect to both. Dropout
// does not touch it.
func (l *Linear) Effective() tensor.Tensor {
	if !l.LoRA.active() {
		return l.Weight
	}
	return l.LoRA.Fold(l.Weight)
}

// Merge folds every adapter of a module into its map's weight, so that Forward costs what it costs without. The
// adapters stay, unused, and so do the maps' own weights, for Unmerge. New weights belong to the caller's scope.
func Merge(module any) error {
	return tensor.NoGrad(func() error {
		for _, l := range Linears(module) {
			if l.LoRA.active() {
				folded := l.Effective().Keep()
				l.LoRA.base, l.Weight = l.Weight, folded
			}
		}
		return nil
	})
}

// Unmerge gives every map of a module the weight that it had before Merge, bit for bit.
func Unmerge(module any) {
	for _, l := range Linears(module) {
		if l.LoRA != nil && l.LoRA.base.Defined() {
			l.Weight, l.LoRA.base = l.LoRA.base, tensor.Tensor{}
		}
	}
}

// Dropout zeroes a share Rate of an adapter's input and scales the rest by 1/(1-Rate) (Srivastava et al., JMLR 15,
// 2014). It does so between Begin and End only: outside training it is the identity. What is zeroed is a function
// of the seed, the step, the micro-batch and the map's name, so that a resumed run, and a layer that is computed a
// second time for its gradient, see the same noise.
type Dropout struct {
	Rate float64
	Seed uint64

	at uint64 // mix of seed, step and micro-batch
	on bool
}

// Begin switches the noise on for a micro-batch of an optimizer step.
func (d *Dropout) Begin(step, micro int) {
	d.at, d.on = tensor.Mix(d.Seed, uint64(step), uint64(micro)), true
}

// End switches the noise off.
func (d *Dropout) End() { d.on = false }

func (d *Dropout) apply(x tensor.Tensor, stream uint64) tensor.Tensor {
	if d == nil || !d.on || d.Rate == 0 {
		return x
	}
	// Of a standard normal z, P(z > √2·erf⁻¹(2p-1)) = 1-p.
	keep := tensor.Randn(tensor.Mix(d.at, stream), x.Shape()...).Gt(math.Sqrt2 * math.Erfinv(2*d.Rate-1))
	return x.Mul(keep.To(x.DType()).OnDevice(x.Device())).MulScalar(1 / (1 - d.Rate))
}

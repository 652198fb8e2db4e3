// Package optim is AdamW over named parameters, with fp32 weights behind those of half-precision models, and the
// learning-rate schedules.
package optim

import (
	"math"

	"salsa/nn"
	"salsa/tensor"
)

// Hyper are AdamW's settings but for the learning rate, which the schedule gives at every step.
type Hyper struct{ Beta1, Beta2, WeightDecay, Eps float64 }

// slot is the state of one parameter: moments and step count in fp32, and what a parameter that is stored in half precision
// lacks of its fp32 value: for bf16 on the CPU the low half (Rest; see tensor.AdamWState), else all of it.
type slot struct {
	name string
	tensor.AdamWState
	master tensor.Tensor
}

// AdamW is decoupled weight decay Adam (Loshchilov & Hutter, arXiv 1711.05101) with PyTorch's defaults of
// behaviour: decay applies to every parameter, and parameters without a gradient are left alone.
type AdamW struct {
	hyper  Hyper
	slots  []slot
	own    []tensor.AdamWState // of those slots that our kernel steps on
	others []slot              // that libtorch's does
}

// NewAdamW makes the optimizer's state, which lives until Close. Parameters must be leaves, and between steps nothing but
// the optimizer may change them.
func NewAdamW(params []nn.Param, h Hyper) *AdamW {
	o := &AdamW{hyper: h}
	for _, p := range params {
		t := *p.Tensor
		shape, dev := t.Shape(), t.Device()
		s := slot{name: p.Name, AdamWState: tensor.AdamWState{
			Param: t,
			M:     tensor.Zeros(tensor.Float32, dev, shape...).Hold(),
			V:     tensor.Zeros(tensor.Float32, dev, shape...).Hold(),
			Step:  tensor.Zeros(tensor.Float32, dev).Hold(),
		}}
		switch d := t.DType(); {
		case d == tensor.BFloat16 && dev == tensor.CPU:
			s.Rest = tensor.Zeros(tensor.Int16, dev, shape...).Hold()
		case d != tensor.Float32:
			s.master = t.Detach().To(tensor.Float32).Hold()
		}
		o.slots = append(o.slots, s)
		if dev == tensor.CPU && !s.master.Defined() {
			o.own = append(o.own, s.AdamWState)
		} else {
			o.others = append(o.others, s)
		}
	}
	return o
}

// Tensors returns the parameters in order.
func (o *AdamW) Tensors() []tensor.Tensor {
	ts := make([]tensor.Tensor, len(o.slots))
	for i, s := range o.slots {
		ts[i] = s.Param
	}
	return ts
}

// ClipFactor is what gradients of this global norm are multiplied by for a norm of at most most; 0 never clips. It is 1 for
// a norm that is not finite, with which no step should be taken.
func ClipFactor(norm, most float64) float64 {
	if most <= 0 || !(norm > most) || math.IsInf(norm, 1) {
		return 1
	}
	return most / (norm + 1e-6) // as PyTorch's clip_grad_norm_
}

// Step updates all parameters that have a gradient, of which it takes clip times: see ClipFactor. The gradients may be
// scaled in place.
func (o *AdamW) Step(lr, clip float64) error {
	hyper := tensor.AdamWHyper{LR: lr, Beta1: o.hyper.Beta1, Beta2: o.hyper.Beta2, WeightDecay: o.hyper.WeightDecay, Eps: o.hyper.Eps}
	var others []slot // that have a gradient
	err := tensor.NoGrad(func() error {
		for _, s := range o.others {
			if s.Param.Grad().Defined() {
				others = append(others, s)
			}
		}
		tensor.AdamWStep(o.own, hyper, clip)
		return nil
	})
	if err != nil {
		return err
	}
	return fusedStep(others, hyper, clip)
}

// widened is how many numbers of half-precision gradients are in fp32 at a time.
const widened = 1 << 20

// fusedStep updates parameters by libtorch's kernel. Gradients of half precision are widened a few parameters at a time.
func fusedStep(rest []slot, hyper tensor.AdamWHyper, clip float64) error {
	for len(rest) > 0 {
		n, numbers := 0, 0
		for n < len(rest) && (numbers < widened || !rest[n].master.Defined()) {
			if rest[n].master.Defined() {
				numbers += rest[n].Param.Numel()
			}
			n++
		}
		err := tensor.NoGrad(func() error {
			fuse(rest[:n], hyper, clip)
			return nil
		})
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// fuse takes libtorch's step on some slots, all of which have gradients.
func fuse(slots []slot, hyper tensor.AdamWHyper, clip float64) {
	var own, params, grads, m, v, steps, halves, masters []tensor.Tensor
	for _, s := range slots {
		own = append(own, s.Param)
	}
	if clip != 1 {
		tensor.ScaleGrads(own, clip)
	}
	for _, s := range slots {
		p, g := s.Param, s.Param.Grad()
		if s.master.Defined() {
			halves, masters = append(halves, p), append(masters, s.master)
			p, g = s.master, g.To(tensor.Float32)
		}
		params, grads = append(params, p), append(grads, g)
		m, v, steps = append(m, s.M), append(v, s.V), append(steps, s.Step)
	}
	tensor.FusedAdamWStep(params, grads, m, v, steps, hyper)
	for i := range halves {
		halves[i].Copy(masters[i])
	}
}

// Close frees the state.
func (o *AdamW) Close() {
	for _, s := range o.slots {
		s.M.Free()
		s.V.Free()
		s.Step.Free()
		s.Rest.Free()
		s.master.Free()
	}
	o.slots, o.own, o.others = nil, nil, nil
}

// Package optim is AdamW over named parameters, with fp32 master weights for half-precision models, and the
// learning-rate schedules.
package optim

import (
	"path/filepath"
	"slices"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/nn"
	"salsa/tensor"
)

// Hyper are AdamW's settings but for the learning rate, which the schedule gives at every step.
type Hyper struct{ Beta1, Beta2, WeightDecay, Eps float64 }

// slot is the state of one parameter: moments and step count in fp32, and the fp32 weights of a parameter that
// is stored in half precision.
type slot struct {
	name               string
	param              tensor.Tensor
	m, v, step, master tensor.Tensor
}

// AdamW is decoupled weight decay Adam (Loshchilov & Hutter, arXiv 1711.05101) with PyTorch's defaults of
// behaviour: decay applies to every parameter, and parameters without a gradient are left alone.
type AdamW struct {
	hyper Hyper
	slots []slot
}

// NewAdamW makes the optimizer's state, which lives until Close. Parameters must be leaves.
func NewAdamW(params []nn.Param, h Hyper) *AdamW {
	o := &AdamW{hyper: h}
	for _, p := range params {
		t := *p.Tensor
		shape, dev := t.Shape(), t.Device()
		s := slot{
			name: p.Name, param: t,
			m:    tensor.Zeros(tensor.Float32, dev, shape...).Hold(),
			v:    tensor.Zeros(tensor.Float32, dev, shape...).Hold(),
			step: tensor.Zeros(tensor.Float32, dev).Hold(),
		}
		if t.DType() != tensor.Float32 {
			s.master = t.Detach().To(tensor.Float32).Hold()
		}
		o.slots = append(o.slots, s)
	}
	return o
}

// Tensors returns the parameters in order.
func (o *AdamW) Tensors() []tensor.Tensor {
	ts := make([]tensor.Tensor, len(o.slots))
	for i, s := range o.slots {
		ts[i] = s.param
	}
	return ts
}

// widened is how many numbers of half-precision gradients are in fp32 at a time.
const widened = 1 << 20

// Step updates all parameters that have a gradient. Gradients of half precision are widened a few parameters at a time.
func (o *AdamW) Step(lr float64) error {
	for rest := o.slots; len(rest) > 0; {
		n, numbers := 0, 0
		for n < len(rest) && (numbers < widened || !rest[n].master.Defined()) {
			if rest[n].master.Defined() {
				numbers += rest[n].param.Numel()
			}
			n++
		}
		if err := o.step(rest[:n], lr); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// step updates the parameters of some slots.
func (o *AdamW) step(slots []slot, lr float64) error {
	return tensor.NoGrad(func() error {
		var params, grads, m, v, steps, halves, masters []tensor.Tensor
		for _, s := range slots {
			g := s.param.Grad()
			if !g.Defined() {
				continue
			}
			p := s.param
			if s.master.Defined() {
				halves, masters = append(halves, p), append(masters, s.master)
				p, g = s.master, g.To(tensor.Float32)
			}
			params, grads = append(params, p), append(grads, g)
			m, v, steps = append(m, s.m), append(v, s.v), append(steps, s.step)
		}
		tensor.AdamWStep(params, grads, m, v, steps, tensor.AdamWHyper{
			LR: lr, Beta1: o.hyper.Beta1, Beta2: o.hyper.Beta2, WeightDecay: o.hyper.WeightDecay, Eps: o.hyper.Eps,
		})
		for i := range halves {
			halves[i].Copy(masters[i])
		}
		return nil
	})
}

// Close frees the state.
func (o *AdamW) Close() {
	for _, s := range o.slots {
		s.m.Free()
		s.v.Free()
		s.step.Free()
		s.master.Free()
	}
	o.slots = nil
}

// state lists the tensors to save, with their names in the file.
func (o *AdamW) state() (names []string, tensors []tensor.Tensor) {
	add := func(name string, t tensor.Tensor) {
		if t.Defined() {
			names, tensors = append(names, name), append(tensors, t)
		}
	}
	for _, s := range o.slots {
		add("m."+s.name, s.m)
		add("v."+s.name, s.v)
		add("step."+s.name, s.step)
		add("master."+s.name, s.master)
	}
	return names, tensors
}

// Save writes the state to a safetensors file.
func (o *AdamW) Save(path string) error { return o.Part(filepath.Base(path)).Write(filepath.Dir(path)) }

// Part is the state as a safetensors file of this name: it is read as it is written, unless it is held.
func (o *AdamW) Part(file string) checkpoint.Part {
	names, tensors := o.state()
	specs := make([]safetensors.Spec, len(names))
	byName := make(map[string]tensor.Tensor, len(names))
	for i, name := range names {
		specs[i] = safetensors.Spec{Name: name, DType: "F32", Shape: tensors[i].Shape()}
		byName[name] = tensors[i]
	}
	read := func(name string) (data []byte, err error) {
		err = tensor.Scope(func() error { data = byName[name].Bytes(); return nil })
		return data, err
	}
	return safetensors.Part(specs, read, func(dir string, data safetensors.Source) error {
		return safetensors.WriteFile(filepath.Join(dir, file), specs, map[string]string{"format": "pt"}, data)
	})
}

// Load restores the state that Save wrote for the same parameters.
func (o *AdamW) Load(path string) error {
	file, err := safetensors.ReadHeader(path)
	if err != nil {
		return err
	}
	infos := make(map[string]safetensors.Info, len(file.Infos))
	for _, info := range file.Infos {
		infos[info.Name] = info
	}
	names, tensors := o.state()
	if len(names) != len(infos) {
		return fault.Inputf("%s holds %d tensors and this optimizer needs %d; resume with the options of the run's run.yaml", path, len(infos), len(names))
	}
	for i, name := range names { // all or nothing is loaded
		info, ok := infos[name]
		if !ok || !slices.Equal(info.Shape, tensors[i].Shape()) || info.DType != "F32" {
			return fault.Inputf("%s: %s is missing or has another shape; resume with the options of the run's run.yaml", path, name)
		}
	}
	for i, name := range names {
		info := infos[name]
		buf, err := file.Read(info, nil)
		if err != nil {
			return err
		}
		err = tensor.NoGrad(func() error {
			tensors[i].Copy(tensor.FromBytes(buf, tensor.Float32, info.Shape...))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

package optim

// The optimizer's state on disk: per parameter m, v, step and, for half precision, master, all in fp32, whatever form they
// have in memory.

import (
	"path/filepath"
	"slices"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/tensor"
)

// entry is one fp32 tensor of the file: its bytes, and how they are put back.
type entry struct {
	name  string
	shape []int
	read  func() []byte
	write func([]byte)
}

// entries lists what is saved. A second moment must be put back before the master whose signs it carries.
func (o *AdamW) entries() (all []entry) {
	whole := func(name string, t tensor.Tensor) entry {
		shape := t.Shape()
		return entry{name, shape, t.Bytes, func(data []byte) { t.Copy(tensor.FromBytes(data, tensor.Float32, shape...)) }}
	}
	for _, s := range o.slots {
		v := whole("v."+s.name, s.V)
		v.read = s.SecondMoment
		all = append(all, whole("m."+s.name, s.M), v, whole("step."+s.name, s.Step))
		switch {
		case s.Rest.Defined():
			all = append(all, entry{"master." + s.name, s.Param.Shape(), s.Master, s.SetMaster})
		case s.master.Defined():
			all = append(all, whole("master."+s.name, s.master))
		}
	}
	return all
}

// Save writes the state to a safetensors file.
func (o *AdamW) Save(path string) error { return o.Part(filepath.Base(path)).Write(filepath.Dir(path)) }

// Part is the state as a safetensors file of this name: it is read as it is written, unless it is held.
func (o *AdamW) Part(file string) checkpoint.Part {
	var specs []safetensors.Spec
	byName := map[string]entry{}
	for _, e := range o.entries() {
		specs = append(specs, safetensors.Spec{Name: e.name, DType: "F32", Shape: e.shape})
		byName[e.name] = e
	}
	read := func(name string) (data []byte, err error) {
		err = tensor.Scope(func() error { data = byName[name].read(); return nil })
		return data, err
	}
	return safetensors.Part(specs, read, func(dir string, data safetensors.Source) error {
		return safetensors.WriteFile(filepath.Join(dir, file), specs, map[string]string{"format": "pt"}, data)
	})
}

// Load restores the state that Save wrote for the same parameters; those in bf16 on the CPU become the rounded copies of
// their masters, which they were when it was saved.
func (o *AdamW) Load(path string) error {
	file, err := safetensors.ReadHeader(path)
	if err != nil {
		return err
	}
	infos := make(map[string]safetensors.Info, len(file.Infos))
	for _, info := range file.Infos {
		infos[info.Name] = info
	}
	entries := o.entries()
	if len(entries) != len(infos) {
		return fault.Inputf("%s holds %d tensors and this optimizer needs %d; resume with the options of the run's run.yaml", path, len(infos), len(entries))
	}
	for _, e := range entries { // all or nothing is loaded
		info, ok := infos[e.name]
		if !ok || !slices.Equal(info.Shape, e.shape) || info.DType != "F32" {
			return fault.Inputf("%s: %s is missing or has another shape; resume with the options of the run's run.yaml", path, e.name)
		}
	}
	for _, e := range entries {
		buf, err := file.Read(infos[e.name], nil)
		if err != nil {
			return err
		}
		err = tensor.NoGrad(func() error { e.write(buf); return nil })
		if err != nil {
			return err
		}
	}
	return nil
}

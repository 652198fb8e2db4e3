package models

// The weights of a PEFT folder, read one at a time, and the base model with them folded in.

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/nn"
	"salsa/tensor"
)

// pair are the headers of an adapter's two matrices.
type pair struct{ a, b safetensors.Info }

// adapterFile is an open PEFT folder.
type adapterFile struct {
	*peft
	file  *safetensors.File
	infos map[string]safetensors.Info // by the names in the file
	pairs map[string]pair             // by module
	pages *tensor.Map                 // nil until something is read
}

// openAdapter reads the folder's config and the header of its weights. Tensors that are not of a LoRA adapter of
// linear maps are refused by name.
func openAdapter(dir string) (*adapterFile, error) {
	config, err := readAdapterConfig(dir)
	if err != nil {
		return nil, err
	}
	if !hasFile(dir, AdapterFile) {
		return nil, fault.Inputf("%s: holds no %s; save the adapter with safe_serialization=True", dir, AdapterFile)
	}
	file, err := safetensors.ReadHeader(filepath.Join(dir, AdapterFile))
	if err != nil {
		return nil, err
	}
	a := &adapterFile{peft: config, file: file, infos: map[string]safetensors.Info{}, pairs: map[string]pair{}}
	for _, info := range file.Infos {
		if err := a.add(info); err != nil {
			return nil, err
		}
	}
	for name, p := range a.pairs {
		if p.a.Name == "" || p.b.Name == "" {
			return nil, fault.Inputf("%s: %q has one of lora_A and lora_B and not the other; save the adapter again", file.Path, name)
		}
	}
	return a, nil
}

// add sorts one tensor of the file.
func (a *adapterFile) add(info safetensors.Info) error {
	a.infos[info.Name] = info
	name, ok := strings.CutPrefix(info.Name, nn.AdapterPrefix)
	if _, float := fileTypes[info.DType]; !float {
		return fault.Inputf("%s: %q is stored as %s; save the adapter in float32, bfloat16 or float16", a.file.Path, info.Name, info.DType)
	}
	if module, isA := strings.CutSuffix(name, ".lora_A.weight"); ok && isA {
		p := a.pairs[module]
		p.a = info
		a.pairs[module] = p
		return nil
	}
	if module, isB := strings.CutSuffix(name, ".lora_B.weight"); ok && isB {
		p := a.pairs[module]
		p.b = info
		a.pairs[module] = p
		return nil
	}
	if ok && name == scoreName && a.scores {
		return nil
	}
	return fault.Inputf("%s: %q is not of a LoRA adapter of linear maps; merge the adapter into its base with PEFT", a.file.Path, info.Name)
}

// fit compares the matrices' shapes with the maps of a model, declared or live.
func (a *adapterFile) fit(m Model) error {
	linears := linearsOf(m)
	var faults []string
	for _, info := range a.file.Infos {
		name := strings.TrimPrefix(info.Name, nn.AdapterPrefix)
		module, isA := strings.CutSuffix(name, ".lora_A.weight")
		module, isB := strings.CutSuffix(module, ".lora_B.weight")
		if !isA && !isB {
			module = strings.TrimSuffix(name, ".weight")
		}
		l := linears[module]
		if l == nil {
			faults = append(faults, fmt.Sprintf("the base has no %q", module))
			continue
		}
		want := []int{l.Out, l.In} // a saved head
		switch {
		case isA:
			want[0] = a.Rank
		case isB:
			want[1] = a.Rank
		}
		if !slices.Equal(info.Shape, want) {
			faults = append(faults, fmt.Sprintf("%q has shape %v instead of %v", name, info.Shape, want))
		}
	}
	if len(faults) > 0 {
		return fault.Inputf("%s: the adapter does not fit its base model: %s; give the base that it was trained on", a.dir, strings.Join(faults, ", "))
	}
	return nil
}

// read returns one tensor of the file, finite and in its stored dtype.
func (a *adapterFile) read(info safetensors.Info) (t tensor.Tensor, err error) {
	if a.pages == nil {
		if a.pages, err = tensor.OpenMap(a.file.Path); err != nil {
			return t, fault.Inputf("%s: %w; check the file", a.file.Path, err)
		}
	}
	d := fileTypes[info.DType]
	if info.Begin%int64(d.Size()) == 0 {
		t = a.pages.Tensor(info.Begin, d, info.Shape...)
	} else {
		data, err := a.file.Read(info, nil)
		if err != nil {
			return t, err
		}
		t = tensor.FromBytes(data, d, info.Shape...)
	}
	if !t.AllFinite() {
		return t, fault.Inputf("%s: tensor %q holds values that are not finite; the run that made it diverged or the file is damaged: give an earlier checkpoint", a.file.Path, info.Name)
	}
	return t, nil
}

// adapts tells whether fold changes the weight of a name.
func (a *adapterFile) adapts(name string) bool {
	module, ok := strings.CutSuffix(name, ".weight")
	_, adapted := a.pairs[module]
	return ok && adapted
}

// fold returns the weight of a map with its adapter folded in, in w's dtype; other weights are returned as they are.
func (a *adapterFile) fold(name string, w tensor.Tensor) (tensor.Tensor, error) {
	if !a.adapts(name) {
		return w, nil
	}
	low, high, err := a.matrices(name)
	if err != nil {
		return w, err
	}
	l := nn.LoRA{A: low, B: high, Scale: a.scale()}
	return l.Fold(w), nil
}

// matrices reads A and B of an adapted weight, in float32.
func (a *adapterFile) matrices(name string) (low, high tensor.Tensor, err error) {
	p := a.pairs[strings.TrimSuffix(name, ".weight")]
	if low, err = a.read(p.a); err != nil {
		return low, high, err
	}
	if high, err = a.read(p.b); err != nil {
		return low, high, err
	}
	return low.To(tensor.Float32), high.To(tensor.Float32), nil
}

func (a *adapterFile) close() {
	if a.pages != nil {
		a.pages.Close()
		a.pages = nil
	}
}

// openAdapted opens a PEFT folder as the model that it stands for: the base with the adapter folded in. base is the
// base's folder if it is not the one that adapter_config.json names.
func openAdapted(dir, base string) (*Checkpoint, error) {
	a, err := openAdapter(dir)
	if err != nil {
		return nil, err
	}
	if base, err = a.locate(base); err != nil {
		return nil, err
	}
	c, err := OpenCheckpoint(base)
	if err != nil {
		return nil, err
	}
	c.Dir, c.adapter = dir, a
	headless := a.scores && !c.Config.Scores
	if c.Config, err = a.config(c.Config); err != nil {
		return nil, err
	}
	if _, ok := a.infos[nn.AdapterPrefix+scoreName]; headless && !ok {
		return nil, fault.Inputf("%s: has no %q, and its base %s has no score head; save it with modules_to_save=[\"score\"]", a.file.Path, nn.AdapterPrefix+scoreName, base)
	}
	m := declare(c.Config)
	c.params = slices.Collect(nn.Params(m))
	return c, a.fit(m)
}

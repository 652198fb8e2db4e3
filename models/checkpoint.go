package models

// The weights of a model folder, read one at a time.

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/nn"
	"salsa/tensor"
)

// Weights are named weights that can be read one by one: a Checkpoint on disk or a live model.
type Weights interface {
	// Names lists the weights in the order of the model's layers.
	Names() []string
	// Info tells about a weight without reading it; ok is false if there is none of that name.
	Info(name string) (info WeightInfo, ok bool)
	// Read returns a weight in its stored dtype, or an error that names it if one of its values is not finite.
	Read(name string) (tensor.Tensor, error)
}

// WeightInfo describes a weight.
type WeightInfo struct {
	Name  string
	DType tensor.DType
	Shape []int
	Bytes int64
}

// Checkpoint is a model folder whose weights fit its config. Tensors read from it share the file's pages.
type Checkpoint struct {
	Config *Config
	Dir    string

	files   *safetensors.Dir
	adapter *adapterFile // of a PEFT folder: what is folded into the weights
	params  []nn.Param
	maps    map[string]*tensor.Map // by path
	open    map[string]*os.File    // by path: what is read in stretches
	finite  map[string]bool        // names whose values have been looked at
}

const (
	headName  = "lm_head.weight"
	embedName = "model.embed_tokens.weight"
)

// fileTypes are the dtypes that weights may be stored in.
var fileTypes = map[string]tensor.DType{
	"F32": tensor.Float32, "BF16": tensor.BFloat16, "F16": tensor.Float16, "F64": tensor.Float64,
}

// FileType returns safetensors' name of a dtype that weights may be stored in.
func FileType(d tensor.DType) string {
	for name, t := range fileTypes {
		if t == d {
			return name
		}
	}
	panic(&tensor.Error{Op: "save", Msg: d.String() + " is not a type that weights are stored in"})
}

// OpenCheckpoint reads the folder's config and the headers of its weights, no values. Weights that are
// missing, that the model does not have, or whose shape or type does not fit are one error that lists all.
// A PEFT folder is opened as its base model with the adapter folded in.
func OpenCheckpoint(dir string) (*Checkpoint, error) {
	if IsAdapter(dir) {
		return openAdapted(dir, "")
	}
	config, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	files, err := safetensors.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{Config: config, Dir: dir, files: files, maps: map[string]*tensor.Map{}, open: map[string]*os.File{}, finite: map[string]bool{}}
	c.params = slices.Collect(nn.Params(declare(config)))
	return c, c.check()
}

// declare returns the module that a config describes, without values.
func declare(c *Config) Model {
	d := newDecoder(c)
	if c.Scores {
		return newScorer(d)
	}
	return d
}

// check compares the files' names, shapes and types with the model's.
func (c *Checkpoint) check() error {
	var faults []string
	want, remedy := map[string]bool{}, "give a folder whose files belong together"
	for _, p := range c.params {
		want[p.Name] = true
		_, info, ok := c.lookup(p.Name)
		switch _, float := fileTypes[info.DType]; {
		case !ok:
			faults = append(faults, fmt.Sprintf("%q is missing", p.Name))
		case !float:
			faults = append(faults, fmt.Sprintf("%q is stored as %s", p.Name, info.DType))
			remedy = "salsa reads weights in F32, BF16, F16 and F64: give the model as it was before it was quantized, or save it in one of these"
		case !slices.Equal(info.Shape, p.Shape):
			faults = append(faults, fmt.Sprintf("%q has shape %v instead of %v", p.Name, info.Shape, p.Shape))
		}
	}
	for _, name := range c.files.Names() {
		tiedCopy := c.Config.Tied && name == headName                        // looked at in Read
		derived := strings.HasSuffix(name, ".self_attn.rotary_emb.inv_freq") // computed anew; older folders store it
		if !want[name] && !tiedCopy && !derived {
			faults = append(faults, fmt.Sprintf("%q does not belong to the model", name))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fault.Inputf("%s: %d weights do not fit %s of %s: %s; %s",
		c.Dir, len(faults), configName, c.Config.Architecture(), strings.Join(faults, ", "), remedy)
}

// lookup finds a weight; a tied embedding may be stored under the head's name alone.
func (c *Checkpoint) lookup(name string) (*safetensors.File, safetensors.Info, bool) {
	if c.adapter != nil && name == scoreName {
		if info, ok := c.adapter.infos[nn.AdapterPrefix+scoreName]; ok {
			return c.adapter.file, info, true
		}
	}
	file, info, ok := c.files.Lookup(name)
	if !ok && name == embedName && c.Config.Tied {
		return c.files.Lookup(headName)
	}
	return file, info, ok
}

// Names implements Weights.
func (c *Checkpoint) Names() []string { return paramNames(c.params) }

func paramNames(params []nn.Param) []string {
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.Name
	}
	return names
}

// DType is the type that all weights are stored in, or, if they differ, that of config.json, or float32.
func (c *Checkpoint) DType() tensor.DType {
	first, _ := c.Info(c.params[0].Name)
	for _, p := range c.params {
		if info, _ := c.Info(p.Name); info.DType == first.DType {
			continue
		}
		if c.Config.DType != 0 {
			return c.Config.DType
		}
		return tensor.Float32
	}
	return first.DType
}

// Info implements Weights.
func (c *Checkpoint) Info(name string) (WeightInfo, bool) {
	_, info, ok := c.lookup(name)
	return WeightInfo{Name: name, DType: fileTypes[info.DType], Shape: info.Shape, Bytes: info.Size()}, ok
}

// Read implements Weights. The result belongs to the caller's scope.
func (c *Checkpoint) Read(name string) (t tensor.Tensor, err error) { return c.readAs(name, 0) }

// ReadExact is Read for arithmetic that goes on: an adapter is folded in without being rounded to a half-precision
// type that its base is stored in. The result is float32, or float64, where there is an adapter.
func (c *Checkpoint) ReadExact(name string) (t tensor.Tensor, err error) {
	if info, ok := c.Info(name); ok && c.adapter != nil && info.DType.Size() < tensor.Float32.Size() {
		return c.readAs(name, tensor.Float32)
	}
	return c.readAs(name, 0)
}

// readAs is Read for a model that is held in type d, 0 for the stored one: an adapter is folded in before a weight
// is rounded to d, as it would be if it were computed beside the weight.
func (c *Checkpoint) readAs(name string, d tensor.DType) (t tensor.Tensor, err error) {
	file, info, ok := c.lookup(name)
	if !ok {
		return t, fault.Inputf("%s: holds no weight %q; give a folder of the same architecture", c.Dir, name)
	}
	err = tensor.NoGrad(func() error {
		var err error
		if t, err = c.view(file, info); err != nil {
			return err
		}
		if !c.finite[name] {
			if !t.AllFinite() {
				return notFinite(file.Path, name)
			}
			c.finite[name] = true
		}
		if name == embedName && c.Config.Tied {
			if err := c.checkTied(t); err != nil {
				return err
			}
		}
		if c.adapter != nil {
			t, err = c.adapter.fold(name, t.To(cmp.Or(d, t.DType())))
		}
		t.Keep()
		return err
	})
	return t, err
}

func notFinite(path, name string) error {
	return fault.Inputf("%s: tensor %q holds values that are not finite; the run that made it diverged or the file is damaged: give an earlier checkpoint or copy it again", path, name)
}

// reader is readAs for one type.
func (c *Checkpoint) reader(d tensor.DType) func(name string) (tensor.Tensor, error) {
	return func(name string) (tensor.Tensor, error) { return c.readAs(name, d) }
}

// view maps a tensor, or copies it where the file does not align it.
func (c *Checkpoint) view(file *safetensors.File, info safetensors.Info) (t tensor.Tensor, err error) {
	d := fileTypes[info.DType]
	if info.Begin%int64(d.Size()) != 0 {
		data, err := file.Read(info, nil)
		if err != nil {
			return t, err
		}
		return tensor.FromBytes(data, d, info.Shape...), nil
	}
	m := c.maps[file.Path]
	if m == nil {
		if m, err = tensor.OpenMap(file.Path); err != nil {
			return t, fault.Inputf("%s: %w; check the file", file.Path, err)
		}
		c.maps[file.Path] = m
	}
	return m.Tensor(info.Begin, d, info.Shape...), nil
}

// checkTied refuses a stored head that is not the copy of the embedding which config.json says it is.
func (c *Checkpoint) checkTied(embed tensor.Tensor) error {
	file, info, ok := c.files.Lookup(headName)
	if !ok {
		return nil
	}
	_, float := fileTypes[info.DType]
	if float && slices.Equal(info.Shape, embed.Shape()) {
		head, err := c.view(file, info)
		if err != nil || head.To(embed.DType()).Equal(embed) {
			return err
		}
	}
	return c.tiedDiffers(file)
}

func (c *Checkpoint) tiedDiffers(file *safetensors.File) error {
	return fault.Inputf("%s: %q differs from %q, and %s ties them; set tie_word_embeddings to false to use both",
		file.Path, headName, embedName, configName)
}

// Close lets go of the files; tensors that were read stay valid, a Source of a file does not.
func (c *Checkpoint) Close() {
	for _, f := range c.open {
		f.Close()
	}
	clear(c.open)
	for _, m := range c.maps {
		m.Close()
	}
	clear(c.maps)
	if c.adapter != nil {
		c.adapter.close()
	}
}

// live is a model in memory as Weights.
type live struct {
	params []nn.Param
	at     map[string]tensor.Tensor
}

// WeightsOf gives a live module, a Model or a *Scorer, as Weights. Read returns the model's own tensors.
func WeightsOf(module any) Weights {
	l := live{params: slices.Collect(nn.Params(module)), at: map[string]tensor.Tensor{}}
	for _, p := range l.params {
		l.at[p.Name] = *p.Tensor
	}
	return l
}

func (l live) Names() []string { return paramNames(l.params) }

func (l live) Info(name string) (WeightInfo, bool) {
	t, ok := l.at[name]
	if !ok {
		return WeightInfo{}, false
	}
	return WeightInfo{Name: name, DType: t.DType(), Shape: t.Shape(), Bytes: int64(t.Numel() * t.DType().Size())}, true
}

func (l live) Read(name string) (tensor.Tensor, error) {
	t, ok := l.at[name]
	if !ok {
		return t, fmt.Errorf("the model has no weight %q", name)
	}
	return t.Detach(), nil
}

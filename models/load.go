package models

// Models from folders and from seeds.

import (
	"hash/fnv"

	"salsa/internal/fault"
	"salsa/internal/profile"
	"salsa/nn"
	"salsa/tensor"
)

// Options say where and how a model's weights are to be held.
type Options struct {
	DType      tensor.DType  // 0 is Checkpoint.DType's, the stored one; New makes float32
	Device     tensor.Device // tensor.CPU, or a GPU's index: set it, its zero is the first GPU
	Train      bool          // weights want gradients
	Base       string        // base model of a PEFT folder; "" is the one that its adapter_config.json names
	Checkpoint bool          // recompute each layer in the backward pass instead of keeping its activations
}

// Kind is what a model folder may have to be.
type Kind uint8

// The kinds of model folders.
const (
	AnyKind       Kind = iota
	LanguageModel      // …ForCausalLM
	ScoringModel       // …ForSequenceClassification: reward models and value functions
)

// Check opens a folder as OpenCheckpoint does, values unread, and refuses a model of another kind.
func Check(dir string, kind Kind) (*Config, error) {
	c, err := openKind(dir, kind, "")
	if err != nil {
		return nil, err
	}
	c.Close()
	return c.Config, nil
}

func openKind(dir string, kind Kind, base string) (*Checkpoint, error) {
	c, err := openOver(dir, base)
	if err != nil {
		return nil, err
	}
	cfg := c.Config
	switch {
	case kind == LanguageModel && cfg.Scores:
		err = fault.Inputf("%s: is a %s, and a language model is wanted; give a %s%s folder", dir, cfg.Architecture(), cfg.Family, causalSuffix)
	case kind == ScoringModel && !cfg.Scores:
		err = fault.Inputf("%s: is a %s, and a reward or value model is wanted; train one with salsa reward, or give a %s%s folder",
			dir, cfg.Architecture(), cfg.Family, scorerSuffix)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// openOver is OpenCheckpoint with a PEFT folder's base model given.
func openOver(dir, base string) (*Checkpoint, error) {
	if IsAdapter(dir) {
		return openAdapted(dir, base)
	}
	return OpenCheckpoint(dir)
}

// Load reads a language model from a Hugging Face folder, or a PEFT folder, whose adapter is folded in. On the CPU, in the stored dtype, weights are the
// file's pages, mapped; changing them never changes the file. They belong to the caller's scope.
func Load(dir string, opt Options) (Model, error) {
	defer profile.Begin(profile.Load).End()
	c, err := openKind(dir, LanguageModel, opt.Base)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	d := newDecoder(c.Config)
	d.checkpoint = opt.Checkpoint
	opt = opt.or(c.DType())
	return d, fill(d, c.reader(opt.DType), opt)
}

// or sets a type where none is asked for.
func (o Options) or(d tensor.DType) Options {
	if o.DType == 0 {
		o.DType = d
	}
	return o
}

// fill gives every weight of a module its value. All belong to the caller's scope, or none on error.
func fill(module any, read func(name string) (tensor.Tensor, error), opt Options) error {
	return tensor.NoGrad(func() error {
		for p := range nn.Params(module) {
			err := tensor.Scope(func() error {
				t, err := read(p.Name)
				if err != nil {
					return err
				}
				*p.Tensor = t.To(opt.DType).OnDevice(opt.Device).Keep()
				return nil
			})
			if err != nil {
				return err
			}
			p.Tensor.RequireGrad(opt.Train).Keep()
		}
		return nil
	})
}

// New makes a language model with random weights: normal with the config's initializer_range, norms neutral,
// biases zero. A weight depends on the seed and its name alone.
func New(c *Config, seed uint64, opt Options) (Model, error) {
	if c.Scores {
		return nil, fault.Inputf("%s: is the config of a %s; give that of a language model", c.path, c.Architecture())
	}
	d := newDecoder(c)
	d.checkpoint = opt.Checkpoint
	return d, fill(d, drawer(d, c.InitStd, seed), opt.or(tensor.Float32))
}

// drawer returns a reader of random weights for a module.
func drawer(module any, std float64, seed uint64) func(name string) (tensor.Tensor, error) {
	params := map[string]nn.Param{}
	for p := range nn.Params(module) {
		params[p.Name] = p
	}
	return func(name string) (tensor.Tensor, error) {
		p := params[name]
		switch p.Init {
		case nn.Zeros:
			return tensor.Zeros(tensor.Float32, tensor.CPU, p.Shape...), nil
		case nn.Ones:
			return tensor.Ones(tensor.Float32, tensor.CPU, p.Shape...), nil
		}
		h := fnv.New64a()
		h.Write([]byte(name))
		return tensor.Randn(tensor.Mix(seed, h.Sum64()), p.Shape...).MulScalar(std), nil
	}
}

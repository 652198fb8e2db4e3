package models

// Low-rank adapters on a model: which maps get one, what is trained then, and several sets of adapters over one
// copy of the weights.

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/options"
	"salsa/nn"
	"salsa/tensor"
)

// AdapterConfig describes the adapters of a model, as PEFT's LoraConfig does.
type AdapterConfig struct {
	Rank    int
	Alpha   float64  // the change is scaled by Alpha/Rank
	RSLoRA  bool     // by Alpha/√Rank instead
	Dropout float64  // share of an adapter's input that is zeroed in training
	Targets []string // ends of module names, such as "q_proj"; empty: all linear maps of the layers
	Seed    uint64   // of A's random values and of the dropout
	Base    string   // the base model's folder, which SaveAdapter names
}

func (c *AdapterConfig) scale() float64 {
	if c.RSLoRA {
		return c.Alpha / math.Sqrt(float64(c.Rank))
	}
	return c.Alpha / float64(c.Rank)
}

// validate checks what does not depend on a model.
func (c *AdapterConfig) validate() error {
	switch {
	case c.Rank < 1:
		return fault.Inputf("LoRA rank %d is not positive; give 8 or 16", c.Rank)
	case !(c.Alpha > 0) || math.IsInf(c.Alpha, 0):
		return fault.Inputf("LoRA alpha %g is not positive; give the rank, or twice the rank", c.Alpha)
	case !(c.Dropout >= 0 && c.Dropout < 1):
		return fault.Inputf("LoRA dropout %g is not at least 0 and below 1; give 0 to switch it off", c.Dropout)
	}
	return nil
}

// decoderOf returns the decoder inside a Model or *Scorer of this package, or nil of another Model.
func decoderOf(m Model) *decoder {
	for {
		switch x := m.(type) {
		case *decoder:
			return x
		case *Scorer:
			m = x.Model
		default:
			return nil
		}
	}
}

// Adapt puts fresh adapters on a Model or *Scorer, which change nothing yet, and freezes the model's own weights, but
// for a scorer's head. The adapters belong to the caller's scope. An input error names a target that the model lacks
// or a map too small for the rank.
func Adapt(m Model, c AdapterConfig) error {
	d := decoderOf(m)
	if d == nil {
		return fmt.Errorf("models: a %T cannot be adapted", m)
	}
	if d.adapter != nil {
		return fmt.Errorf("models: the model has adapters already")
	}
	if err := c.validate(); err != nil {
		return err
	}
	names, err := targets(m, c.Targets)
	if err != nil {
		return err
	}
	linears := linearsOf(m)
	for _, name := range names {
		if l := linears[name]; c.Rank > min(l.In, l.Out) {
			return fault.Inputf("LoRA rank %d is more than %s has, which maps %d to %d numbers; lower the rank to %d or train the whole weights",
				c.Rank, name, l.In, l.Out, min(l.In, l.Out))
		}
	}
	for p := range nn.Params(m) {
		p.Tensor.RequireGrad(p.Name == scoreName)
	}
	noise := &nn.Dropout{Rate: c.Dropout, Seed: c.Seed}
	for _, name := range names {
		l := linears[name]
		l.LoRA = nn.NewLoRA(l, name, c.Rank, c.scale(), c.Seed)
		l.LoRA.Dropout = noise
	}
	c.Targets = shortTargets(m)
	d.adapter = &c
	return nil
}

func linearsOf(m Model) map[string]*nn.Linear {
	all := map[string]*nn.Linear{}
	for name, l := range nn.Linears(m) {
		all[name] = l
	}
	return all
}

// leafOf is the last part of a module's name.
func leafOf(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// targets lists the linear maps that wanted names, in the order of the model.
func targets(m Model, wanted []string) ([]string, error) {
	var inLayers, kinds []string
	for name := range nn.Linears(m) {
		if !strings.HasPrefix(name, "model.layers.") {
			continue
		}
		inLayers = append(inLayers, name)
		if kind := leafOf(name); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	if len(wanted) == 0 || slices.Equal(wanted, []string{"all-linear"}) {
		return inLayers, nil
	}
	var names []string
	for _, name := range inLayers {
		if slices.ContainsFunc(wanted, func(t string) bool { return isTarget(name, t) }) {
			names = append(names, name)
		}
	}
	for _, t := range wanted {
		if !slices.ContainsFunc(names, func(name string) bool { return isTarget(name, t) }) {
			return nil, fault.Inputf("LoRA target %q is no linear map of the model's layers, which have %s%s",
				t, strings.Join(kinds, ", "), options.DidYouMean(t, kinds))
		}
	}
	return names, nil
}

// isTarget is PEFT's rule for a list of targets.
func isTarget(name, target string) bool { return name == target || strings.HasSuffix(name, "."+target) }

// shortTargets names the adapted maps in the fewest words that mean them and no others.
func shortTargets(m Model) []string {
	var adapted, short []string
	whole := true
	for name, l := range nn.Linears(m) {
		if l.LoRA != nil {
			adapted, short = append(adapted, name), append(short, leafOf(name))
		}
	}
	for name, l := range nn.Linears(m) {
		whole = whole && (l.LoRA != nil || !slices.Contains(short, leafOf(name)))
	}
	if !whole {
		return adapted
	}
	slices.Sort(short)
	return slices.Compact(short)
}

// Adapted tells whether a Model or *Scorer has adapters.
func Adapted(m Model) bool {
	d := decoderOf(m)
	return d != nil && d.adapter != nil
}

// Trainable lists what training moves: all weights of a Model or *Scorer, or, of one with adapters, theirs and a
// scorer's head, under PEFT's names.
func Trainable(m Model) []nn.Param {
	if !Adapted(m) {
		return slices.Collect(nn.Params(m))
	}
	list := slices.Collect(nn.Adapters(m))
	if s, ok := m.(*Scorer); ok {
		list = append(list, nn.Param{Name: nn.AdapterPrefix + scoreName, Tensor: &s.Head.Weight, Shape: []int{1, s.Head.In}})
	}
	return list
}

// Twin returns a language model over the same weights as m, a language model, without m's adapters: it computes what
// m computed before Adapt, and may be given adapters of its own. No memory is taken but that of the structs.
func Twin(m Model) Model {
	of := decoderOf(m)
	d := newDecoder(of.cfg)
	d.checkpoint = of.checkpoint
	at := map[string]tensor.Tensor{}
	for p := range nn.Params(of) {
		at[p.Name] = *p.Tensor
	}
	for p := range nn.Params(d) {
		*p.Tensor = at[p.Name]
	}
	return d
}

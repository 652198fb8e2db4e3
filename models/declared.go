package models

// The weights that a config calls for, known without a weight file.

import (
	"cmp"

	"salsa/nn"
	"salsa/tensor"
)

// Declared lists the weights that a model of this config has, in the order of its layers. No file is looked at;
// the dtype is config.json's, or float32 where it does not say.
func (c *Config) Declared() []WeightInfo { return listParams(c, declare(c)) }

// DeclaredScorer is Declared for the reward model or value network that NewScorer makes of a language model of
// this config; for a scorer's config it is Declared.
func (c *Config) DeclaredScorer() []WeightInfo {
	if !c.Scores {
		c = scorerConfig(c)
	}
	return c.Declared()
}

func listParams(c *Config, m Model) []WeightInfo {
	d := cmp.Or(c.DType, tensor.Float32)
	var list []WeightInfo
	for p := range nn.Params(m) {
		elements := 1
		for _, n := range p.Shape {
			elements *= n
		}
		list = append(list, WeightInfo{Name: p.Name, DType: d, Shape: p.Shape, Bytes: int64(elements * d.Size())})
	}
	return list
}

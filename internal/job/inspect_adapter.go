package job

// What inspect says of a PEFT folder: the adapter's settings and tensors, beside the facts of the model that it makes
// of its base.

import (
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/safetensors"
	"salsa/models"
)

// AdapterFacts describe a low-rank adapter.
type AdapterFacts struct {
	Base       string  `json:"base"` // the base model's folder
	Rank       int     `json:"rank"`
	Alpha      float64 `json:"alpha"`
	RSLoRA     bool    `json:"rslora,omitempty"` // scaled by alpha/√rank
	Maps       int     `json:"maps"`             // linear maps that it changes
	Parameters int64   `json:"parameters"`
}

// inspectAdapter reads a PEFT folder's config and header, once they have been found to fit the base; nil of others.
func inspectAdapter(dir string) (*AdapterFacts, []TensorFacts, error) {
	if !models.IsAdapter(dir) {
		return nil, nil, nil
	}
	if _, err := models.Check(dir, models.AnyKind); err != nil {
		return nil, nil, err
	}
	c, err := models.AdapterOf(dir)
	if err != nil {
		return nil, nil, err
	}
	facts := &AdapterFacts{Rank: c.Rank, Alpha: c.Alpha, RSLoRA: c.RSLoRA, Maps: len(c.Targets)}
	if facts.Base, err = models.BaseOf(dir); err != nil {
		return nil, nil, err
	}
	file, err := safetensors.ReadHeader(filepath.Join(dir, models.AdapterFile))
	if err != nil {
		return nil, nil, err
	}
	var list []TensorFacts
	for _, info := range file.Infos {
		n := int64(1)
		for _, d := range info.Shape {
			n *= int64(d)
		}
		facts.Parameters += n
		list = append(list, TensorFacts{Name: info.Name, DType: info.DType, Shape: info.Shape, Bytes: info.Size(), File: models.AdapterFile})
	}
	slices.SortFunc(list, func(a, b TensorFacts) int { return strings.Compare(a.Name, b.Name) })
	return facts, list, nil
}

package models

// Adapters as PEFT keeps them: adapter_config.json and adapter_model.safetensors.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/nn"
	"salsa/tensor"
)

// AdapterFile is the weights file of a PEFT folder.
const AdapterFile = "adapter_model.safetensors"

const (
	adapterConfigName = "adapter_config.json"
	scoreName         = "score.weight"
)

// IsAdapter tells whether a folder is PEFT's: it holds adapter_config.json.
func IsAdapter(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, adapterConfigName))
	return err == nil
}

// BaseOf returns the folder of a PEFT folder's base model, and any other folder itself.
func BaseOf(dir string) (string, error) {
	if !IsAdapter(dir) {
		return dir, nil
	}
	a, err := readAdapterConfig(dir)
	if err != nil {
		return "", err
	}
	return a.locate("")
}

// peft is what adapter_config.json says.
type peft struct {
	AdapterConfig
	dir        string
	scores     bool // task SEQ_CLS
	gain, bias *float64
}

// inert are keys that do not change what a finished adapter computes, or that are read.
var inert = []string{
	"auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config", "exclude_modules", "inference_mode",
	"init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core",
	"modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r", "revision", "runtime_config",
	"salsa_score_bias", "salsa_score_gain", "target_modules", "task_type", "use_rslora",
}

// readAdapterConfig reads adapter_config.json. What salsa does not compute is refused by name.
func readAdapterConfig(dir string) (*peft, error) {
	path := filepath.Join(dir, adapterConfigName)
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	r := newReader(path, data)
	if r.err != nil {
		return nil, r.err
	}
	const remedy = "give a plain LoRA adapter, or merge this one into its base with PEFT"
	if kind := get(r, "peft_type", ""); kind != "LORA" {
		r.fail("key \"peft_type\": %q is not LORA, the only type that salsa computes; %s", kind, remedy)
	}
	r.refuse("bias", remedy, `"none"`)
	if init := string(r.raw["init_lora_weights"]); r.has("init_lora_weights") &&
		!slices.Contains([]string{"true", "false", `"gaussian"`, `"orthogonal"`, `"eva"`}, init) {
		r.fail("key \"init_lora_weights\": %s changes the base model; %s", init, remedy)
	}
	for _, key := range slices.Sorted(maps.Keys(r.raw)) {
		if !slices.Contains(inert, key) && key != "megatron_config" {
			r.refuse(key, remedy)
		}
	}
	a := &peft{dir: dir, AdapterConfig: AdapterConfig{
		Rank: r.size("r", 0), Alpha: r.positive("lora_alpha", 8), RSLoRA: get(r, "use_rslora", false),
		Dropout: get(r, "lora_dropout", 0.0), Base: get(r, "base_model_name_or_path", ""),
	}}
	for _, name := range get(r, "modules_to_save", []string(nil)) {
		if name != "score" && name != "classifier" { // PEFT lists both whatever the model has
			r.fail("key \"modules_to_save\": salsa does not replace %q; %s", name, remedy)
		}
	}
	switch task := get(r, "task_type", "CAUSAL_LM"); task {
	case "CAUSAL_LM":
	case "SEQ_CLS":
		a.scores = true
	default:
		r.fail("key \"task_type\": %q is neither CAUSAL_LM nor SEQ_CLS; %s", task, remedy)
	}
	a.gain, a.bias = get(r, "salsa_score_gain", (*float64)(nil)), get(r, "salsa_score_bias", (*float64)(nil))
	if r.err == nil {
		r.err = a.validate()
	}
	return a, r.err
}

// locate finds the base model's folder: base if it is given, else what the file names, absolute, beside the adapter,
// or from the working directory.
func (a *peft) locate(base string) (string, error) {
	tries := []string{base}
	if base == "" {
		tries = []string{filepath.Join(a.dir, a.Base), a.Base}
	}
	if base == "" && filepath.IsAbs(a.Base) {
		tries = tries[1:]
	}
	path := filepath.Join(a.dir, adapterConfigName)
	for _, dir := range tries {
		if IsAdapter(dir) {
			return "", fault.Inputf("%s: the base model %s is itself an adapter; merge it with salsa soup %s --out DIR, and name that folder", path, dir, dir)
		}
		if _, err := os.Stat(filepath.Join(dir, configName)); err == nil {
			return dir, nil
		}
	}
	return "", fault.Inputf("%s: key \"base_model_name_or_path\": %q is no model folder here; set it to the path of the base model", path, a.Base)
}

// config is the config of the base with the adapter on it.
func (a *peft) config(base *Config) (*Config, error) {
	if !a.scores && base.Scores {
		return nil, fault.Inputf("%s: is the adapter of a language model, and its base is a %s; give the base that it was trained on", a.dir, base.Architecture())
	}
	if a.scores && !base.Scores {
		base = scorerConfig(base)
	}
	if a.gain != nil {
		base.ScoreGain = *a.gain
	}
	if a.bias != nil {
		base.ScoreBias = *a.bias
	}
	return base, nil
}

// AdapterOf returns the config of a PEFT folder's adapters, Targets being the full names of the maps that have one.
func AdapterOf(dir string) (AdapterConfig, error) {
	a, err := openAdapter(dir)
	if err != nil {
		return AdapterConfig{}, err
	}
	c := a.AdapterConfig
	c.Targets = slices.Sorted(maps.Keys(a.pairs))
	return c, nil
}

// adaptedConfig is ReadConfig of a PEFT folder.
func adaptedConfig(dir string) (*Config, error) {
	a, err := readAdapterConfig(dir)
	if err != nil {
		return nil, err
	}
	base, err := a.locate("")
	if err != nil {
		return nil, err
	}
	c, err := ReadConfig(base)
	if err != nil {
		return nil, err
	}
	return a.config(c)
}

// SaveAdapter writes the adapters of a Model or *Scorer, and a scorer's head, as a folder that PEFT loads.
func SaveAdapter(dir string, m Model) error {
	parts, err := AdapterParts(m)
	if err != nil {
		return err
	}
	return checkpoint.WriteParts(dir, parts)
}

// AdapterParts are what SaveAdapter writes: the config, and the weights, read as they are written unless they are held.
func AdapterParts(m Model) ([]checkpoint.Part, error) {
	if !Adapted(m) {
		return nil, errors.New("models: the model has no adapters to save")
	}
	c := decoderOf(m).adapter
	base, err := filepath.Abs(c.Base)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Base, err)
	}
	text, err := json.MarshalIndent(c.peftKeys(base, m.Config()), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", adapterConfigName, err)
	}
	var specs []safetensors.Spec
	at := map[string]tensor.Tensor{}
	for _, p := range Trainable(m) {
		specs = append(specs, safetensors.Spec{Name: p.Name, DType: FileType(p.Tensor.DType()), Shape: p.Shape})
		at[p.Name] = *p.Tensor
	}
	read := func(name string) (data []byte, err error) {
		err = tensor.NoGrad(func() error { data = at[name].Bytes(); return nil })
		return data, err
	}
	return []checkpoint.Part{checkpoint.File(adapterConfigName, append(text, '\n')),
		safetensors.Part(specs, read, func(dir string, data safetensors.Source) error {
			return safetensors.WriteFile(filepath.Join(dir, AdapterFile), specs, map[string]string{"format": "pt"}, data)
		})}, nil
}

// peftKeys are the keys of adapter_config.json.
func (c *AdapterConfig) peftKeys(base string, cfg *Config) map[string]any {
	keys := map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": c.Rank, "lora_alpha": c.Alpha,
		"lora_dropout": c.Dropout, "target_modules": c.Targets, "use_rslora": c.RSLoRA, "use_dora": false, "bias": "none",
		"fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "modules_to_save": nil,
		"rank_pattern": map[string]int{}, "alpha_pattern": map[string]int{},
	}
	if !cfg.Scores {
		return keys
	}
	keys["task_type"], keys["modules_to_save"] = "SEQ_CLS", []string{"score"}
	if cfg.ScoreGain != 1 || cfg.ScoreBias != 0 {
		keys["salsa_score_gain"], keys["salsa_score_bias"] = cfg.ScoreGain, cfg.ScoreBias
	}
	return keys
}

// LoadAdapter gives a Model or *Scorer the adapters of a PEFT folder, and a scorer its head. If m has adapters, they
// must be of the same rank, scale and maps; their values are overwritten. Otherwise m is adapted as the folder says,
// without dropout. base is what SaveAdapter will name as m's base.
func LoadAdapter(dir, base string, m Model) error {
	a, err := openAdapter(dir)
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.fit(m); err != nil {
		return err
	}
	if !Adapted(m) {
		c := a.AdapterConfig
		c.Base, c.Dropout, c.Targets = base, 0, slices.Sorted(maps.Keys(a.pairs))
		if err := Adapt(m, c); err != nil {
			return err
		}
	}
	if err := a.matches(m); err != nil {
		return err
	}
	if s, ok := m.(*Scorer); ok && a.gain != nil && a.bias != nil {
		s.SetScale(*a.gain, *a.bias)
	}
	return tensor.NoGrad(func() error {
		for _, p := range Trainable(m) {
			info, ok := a.infos[p.Name]
			if !ok {
				continue // the base's own head
			}
			t, err := a.read(info)
			if err != nil {
				return err
			}
			p.Tensor.Copy(t)
		}
		return nil
	})
}

// matches compares the adapters of m with the folder's.
func (a *adapterFile) matches(m Model) error {
	have := decoderOf(m).adapter
	if have.Rank != a.Rank || have.scale() != a.scale() {
		return fault.Inputf("%s: its rank is %d and its alpha %g, and the model's are %d and %g; use the same", filepath.Join(a.dir, adapterConfigName), a.Rank, a.Alpha, have.Rank, have.Alpha)
	}
	var names []string
	for name, l := range nn.Linears(m) {
		if l.LoRA != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if theirs := slices.Sorted(maps.Keys(a.pairs)); !slices.Equal(names, theirs) {
		return fault.Inputf("%s: adapts %d maps and the model %d others (%s); use the same targets", a.dir, len(theirs), len(names), strings.Join(have.Targets, ", "))
	}
	return nil
}

// hasFile tells whether a file is there; other failures show when it is read.
func hasFile(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return !errors.Is(err, fs.ErrNotExist)
}

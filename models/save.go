package models

// Models to Hugging Face folders.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/nn"
	"salsa/tensor"
)

// SaveOptions say how a model is written.
type SaveOptions struct {
	DType         tensor.DType // 0 keeps that of the weights
	MaxShardBytes int64        // 0 is one file
	Tokenizer     string       // folder whose tokenizer files are copied; "" copies none
}

// tokenizerFiles are what a tokenizer may consist of, and what is recorded of the template that goes with it.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", RecordFile,
}

// Save writes a Model or *Scorer as a folder that salsa and transformers load, adapters folded in. A tied head is
// written once, as the embedding. To replace a folder in one step, call it inside checkpoint.Commit.
func Save(dir string, m Model, opt SaveOptions) error {
	return checkpoint.WriteParts(dir, Parts(m, opt))
}

// Parts are what Save writes: the weights, read as they are written unless they are held, and the files beside them.
func Parts(m Model, opt SaveOptions) []checkpoint.Part {
	config, dtype := m.Config().clone(), storedType(m, opt)
	parts := []checkpoint.Part{weightsPart(m, opt), {Write: func(dir string) error { return SaveConfig(dir, config, dtype) }}}
	if opt.Tokenizer != "" {
		parts = append(parts, checkpoint.Part{Write: func(dir string) error { return CopyTokenizer(dir, opt.Tokenizer) }})
	}
	return parts
}

// weightsPart streams the weights: one at a time is in Go's memory.
func weightsPart(m Model, opt SaveOptions) checkpoint.Part {
	var specs []safetensors.Spec
	at := map[string]tensor.Tensor{}
	linears := map[string]*nn.Linear{} // by the name of the weight
	for name, l := range nn.Linears(m) {
		linears[name+".weight"] = l
	}
	for p := range nn.Params(m) {
		d := opt.DType
		if d == 0 {
			d = p.Tensor.DType()
		}
		specs = append(specs, safetensors.Spec{Name: p.Name, DType: FileType(d), Shape: p.Shape})
		at[p.Name] = *p.Tensor
	}
	read := func(name string) (data []byte, err error) {
		err = tensor.NoGrad(func() error {
			t := at[name]
			if l := linears[name]; l != nil {
				t = l.Effective()
			}
			if opt.DType != 0 {
				t = t.To(opt.DType)
			}
			data = t.Bytes()
			return nil
		})
		return data, err
	}
	return safetensors.Part(specs, read, func(dir string, data safetensors.Source) error {
		return safetensors.WriteDir(dir, specs, opt.MaxShardBytes, nil, data)
	})
}

// storedType is the dtype that a model is written in.
func storedType(m Model, opt SaveOptions) tensor.DType {
	if opt.DType != 0 {
		return opt.DType
	}
	for p := range nn.Params(m) {
		return p.Tensor.DType()
	}
	return tensor.Float32
}

// SaveConfig writes config.json with what changed since it was read and the dtype d of the weights beside it, and
// generation_config.json as it was.
func SaveConfig(dir string, c *Config, d tensor.DType) error {
	c = c.clone()
	c.setKey("architectures", []string{c.Architecture()})
	if _, v4 := c.raw["torch_dtype"]; v4 {
		c.setKey("torch_dtype", d.String())
	} else {
		c.setKey("dtype", d.String())
	}
	if c.Scores {
		c.setKey("id2label", map[string]string{"0": "LABEL_0"})
		c.setKey("label2id", map[string]int{"LABEL_0": 0})
	}
	if c.Scores && (c.ScoreGain != 1 || c.ScoreBias != 0) {
		c.setKey("salsa_score_gain", c.ScoreGain)
		c.setKey("salsa_score_bias", c.ScoreBias)
	} else {
		delete(c.raw, "salsa_score_gain")
		delete(c.raw, "salsa_score_bias")
	}
	text, err := json.MarshalIndent(c.raw, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", configName, err)
	}
	if err := checkpoint.WriteFileAtomic(filepath.Join(dir, configName), append(text, '\n')); err != nil {
		return err
	}
	if c.Generation.raw == nil || c.Scores {
		return nil
	}
	return checkpoint.WriteFileAtomic(filepath.Join(dir, generationName), c.Generation.raw)
}

// HasTokenizer tells whether a model folder has a tokenizer that salsa can load.
func HasTokenizer(dir string) bool { return TokenizerDir(dir) != "" }

// TokenizerDir returns the folder in which a model's tokenizer files lie: dir, or, of a PEFT folder without any, that of
// its base. It is "" if there are none.
func TokenizerDir(dir string) string {
	if holdsTokenizer(dir) {
		return dir
	}
	if base, err := BaseOf(dir); err == nil && holdsTokenizer(base) {
		return base
	}
	return ""
}

func holdsTokenizer(dir string) bool {
	for _, name := range tokenizerFiles[:2] {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// CopyTokenizer copies the tokenizer files that folder from has to dir; from must have at least one.
func CopyTokenizer(dir, from string) error {
	if found := TokenizerDir(from); found != "" {
		from = found
	}
	if same, err := sameFolder(dir, from); err != nil || same {
		return err
	}
	copied := 0
	for _, name := range tokenizerFiles {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fault.Inputf("%s: cannot be read: %w; make it readable", filepath.Join(from, name), err)
		}
		if err := checkpoint.WriteFileAtomic(filepath.Join(dir, name), data); err != nil {
			return err
		}
		copied++
	}
	if copied == 0 {
		return fault.Inputf("%s: holds no tokenizer files; give the folder of the model's tokenizer", from)
	}
	return nil
}

func sameFolder(a, b string) (bool, error) {
	sa, err := os.Stat(a)
	if err != nil {
		return false, fault.Inputf("%s: cannot be looked up: %w; check the path", a, err)
	}
	sb, err := os.Stat(b)
	if err != nil {
		return false, fault.Inputf("%s: cannot be looked up: %w; check the path", b, err)
	}
	return os.SameFile(sa, sb), nil
}

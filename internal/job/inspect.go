package job

// salsa inspect: what a folder holds, told from configs, headers and manifests; no weight is loaded.

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/data"
	"salsa/data/tokenizer"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/models"
)

// InspectOptions are the options of `salsa inspect`.
type InspectOptions struct {
	Dir    string `yaml:"dir" required:"true" input:"path" arg:"DIR" help:"model folder, run folder or checkpoint; config.json alone is enough"`
	Digest bool   `yaml:"digest" help:"hash every file of the folder (SHA-256)"`
	JSON   bool   `yaml:"json" help:"print one JSON object instead of text" hash:"-"`
}

// DefaultInspect returns the defaults.
func DefaultInspect() InspectOptions { return InspectOptions{} }

// Inspection is what Inspect finds; parts that the folder does not have are nil.
type Inspection struct {
	Dir    string      `json:"dir"`
	Model  *ModelFacts `json:"model,omitempty"`
	Run    *RunFacts   `json:"run,omitempty"`
	Files  []FileFacts `json:"files,omitempty"` // with --digest
	Intact *bool       `json:"intact,omitempty"`
	Damage string      `json:"damage,omitempty"` // what the manifest finds wrong
}

// ModelFacts describe a model by its config and the headers of its weights.
type ModelFacts struct {
	Architecture string        `json:"architecture"`
	Config       ConfigFacts   `json:"config"`
	Parameters   int64         `json:"parameters"`
	Parts        []PartFacts   `json:"parts"`
	Adapter      *AdapterFacts `json:"adapter,omitempty"` // of a PEFT folder; the tensors are then its own
	Stored       int64         `json:"stored_bytes"`      // of all tensors; 0 without weight files
	HasWeights   bool          `json:"has_weights"`
	Tokenizer    *TokenFacts   `json:"tokenizer,omitempty"`
	Template     string        `json:"chat_template_sha256,omitempty"`         // of the one in the folder
	Trained      string        `json:"trained_chat_template_sha256,omitempty"` // recorded in salsa.json
	StopIDs      []int         `json:"stop_ids"`
	StopTokens   []string      `json:"stop_tokens,omitempty"` // their texts, where there is a tokenizer
	Tensors      []TensorFacts `json:"tensors"`
}

// ConfigFacts are the sizes that config.json gives.
type ConfigFacts struct {
	Vocab            int     `json:"vocab_size"`
	Hidden           int     `json:"hidden_size"`
	Inner            int     `json:"intermediate_size"`
	Layers           int     `json:"layers"`
	Heads            int     `json:"heads"`
	KVHeads          int     `json:"key_value_heads"`
	HeadDim          int     `json:"head_dim"`
	Context          int     `json:"context"`
	Rope             string  `json:"rope"`
	RopeTheta        float64 `json:"rope_theta"`
	RopeFactor       float64 `json:"rope_factor,omitempty"`
	Window           int     `json:"sliding_window,omitempty"`
	Windowed         int     `json:"windowed_layers,omitempty"`
	AttentionSoftcap float64 `json:"attention_softcap,omitempty"`
	FinalSoftcap     float64 `json:"final_softcap,omitempty"`
	Activation       string  `json:"activation"`
	Tied             bool    `json:"tied_embeddings"`
	DType            string  `json:"dtype,omitempty"`
}

// PartFacts count the parameters of one kind of block.
type PartFacts struct {
	Part       string `json:"part"`
	Parameters int64  `json:"parameters"`
}

// TokenFacts describe a tokenizer.
type TokenFacts struct {
	Kind string `json:"kind"`
	Size int    `json:"size"` // highest id + 1
	Hash string `json:"sha256"`
}

// TensorFacts are one line of a header, or of what config.json calls for.
type TensorFacts struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
	File  string `json:"file,omitempty"` // "" without weight files
}

// FileFacts are a file's size and digest.
type FileFacts struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// RunFacts describe a run folder.
type RunFacts struct {
	Finished    bool              `json:"finished"`
	Checkpoints []CheckpointFacts `json:"checkpoints"` // newest first
}

// CheckpointFacts tell whether a checkpoint can be resumed from.
type CheckpointFacts struct {
	Dir    string `json:"dir"`
	Intact bool   `json:"intact"`
	Reason string `json:"reason,omitempty"` // what is wrong with it
}

// Inspect runs the job. A folder that is neither a model nor a run is an input error, as are weights that do not
// fit their config; a damaged checkpoint is part of the result.
func Inspect(_ context.Context, o *InspectOptions) (*Inspection, error) {
	stat, err := os.Stat(o.Dir)
	if err != nil {
		return nil, fault.Inputf("%s: cannot be looked up: %w; give a model or run folder", o.Dir, err)
	}
	if !stat.IsDir() {
		return nil, fault.Inputf("%s: is a file; give the folder that it lies in", o.Dir)
	}
	out := &Inspection{Dir: o.Dir}
	if out.Run, err = inspectRun(o.Dir); err != nil {
		return nil, err
	}
	if there(o.Dir, "config.json") || models.IsAdapter(o.Dir) {
		if out.Model, err = inspectModel(o.Dir); err != nil {
			return nil, err
		}
	}
	if there(o.Dir, checkpoint.ManifestName) {
		err := checkpoint.Verify(o.Dir)
		intact := err == nil
		out.Intact = &intact
		if err != nil {
			out.Damage = err.Error()
		}
	}
	if out.Model == nil && out.Run == nil && out.Intact == nil {
		return nil, fault.Inputf("%s: holds no config.json, run.yaml or manifest.json; give a model folder, a run folder or a checkpoint", o.Dir)
	}
	if o.Digest {
		out.Files, err = digests(o.Dir)
	}
	return out, err
}

func there(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// inspectRun judges the checkpoints of a run folder; nil if dir is none.
func inspectRun(dir string) (*RunFacts, error) {
	if !there(dir, checkpoint.RunFile) {
		return nil, nil
	}
	run := &RunFacts{Finished: there(dir, "done.json"), Checkpoints: []CheckpointFacts{}}
	steps, err := checkpoint.List(filepath.Join(dir, "checkpoints"))
	if err != nil {
		return nil, err
	}
	for _, step := range steps {
		facts := CheckpointFacts{Dir: step, Intact: true}
		if err := checkpoint.Verify(step); err != nil {
			facts.Intact, facts.Reason = false, err.Error()
		}
		run.Checkpoints = append(run.Checkpoints, facts)
	}
	return run, nil
}

// inspectModel reads config, headers and tokenizer.
func inspectModel(dir string) (*ModelFacts, error) {
	cfg, err := models.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	m := &ModelFacts{Architecture: cfg.Architecture(), Config: configFacts(cfg), StopIDs: notNil(cfg.StopIDs())}
	declared := cfg.Declared()
	m.Parts, m.Parameters = parts(declared)
	if m.Adapter, m.Tensors, err = inspectAdapter(dir); err != nil {
		return nil, err
	}
	m.HasWeights = m.Adapter != nil || there(dir, safetensors.SingleName) || there(dir, safetensors.IndexName)
	switch {
	case m.Adapter != nil: // its tensors are known
	case m.HasWeights:
		m.Tensors, err = storedTensors(dir)
	default:
		m.Tensors = declaredTensors(declared)
	}
	if err != nil {
		return nil, err
	}
	if m.HasWeights {
		for _, t := range m.Tensors {
			m.Stored += t.Bytes
		}
	}
	record, err := models.ReadRecord(dir)
	if err != nil {
		return nil, err
	}
	m.Trained = record.ChatTemplate
	if at := models.TokenizerDir(dir); at != "" {
		dir = at
	}
	return m, m.addTokenizer(dir)
}

func configFacts(c *models.Config) ConfigFacts {
	f := ConfigFacts{Vocab: c.Vocab, Hidden: c.Hidden, Inner: c.Inner, Layers: c.Layers, Heads: c.Heads, KVHeads: c.KVHeads,
		HeadDim: c.HeadDim, Context: c.MaxPositions, Rope: string(c.Rope.Kind), RopeTheta: c.Rope.Theta,
		RopeFactor: c.Rope.Factor, AttentionSoftcap: c.AttentionSoftcap, FinalSoftcap: c.FinalSoftcap,
		Activation: string(c.Activation), Tied: c.Tied}
	for _, windowed := range c.Windowed {
		if windowed {
			f.Window, f.Windowed = c.Window, f.Windowed+1
		}
	}
	if c.DType != 0 {
		f.DType = c.DType.String()
	}
	return f
}

// partNames are the kinds of blocks that weights belong to, each told by a piece of its name; the first that
// fits counts.
var partNames = []struct{ part, piece string }{
	{"embedding", "embed_tokens"}, {"norms", "norm"}, {"attention", ".self_attn."}, {"MLP", ".mlp."},
	{"head", "lm_head"}, {"score head", "score"},
}

// parts counts parameters by kind of block, leaving out kinds that the model lacks.
func parts(declared []models.WeightInfo) (list []PartFacts, total int64) {
	count := make([]int64, len(partNames))
	for _, w := range declared {
		n := w.Bytes / int64(w.DType.Size())
		total += n
		kind := slices.IndexFunc(partNames, func(p struct{ part, piece string }) bool { return strings.Contains(w.Name, p.piece) })
		count[kind] += n // every name has a kind: a test holds all families to it
	}
	for i, n := range count {
		if n > 0 {
			list = append(list, PartFacts{partNames[i].part, n})
		}
	}
	return list, total
}

// storedTensors lists the headers, once names, shapes and types have been found to fit the config.
func storedTensors(dir string) ([]TensorFacts, error) {
	c, err := models.OpenCheckpoint(dir)
	if err != nil {
		return nil, err
	}
	c.Close()
	files, err := safetensors.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	var list []TensorFacts
	for _, name := range files.Names() {
		file, info, _ := files.Lookup(name)
		list = append(list, TensorFacts{Name: name, DType: info.DType, Shape: info.Shape, Bytes: info.Size(), File: filepath.Base(file.Path)})
	}
	return list, nil
}

// declaredTensors lists what config.json calls for, sorted as files list it.
func declaredTensors(declared []models.WeightInfo) []TensorFacts {
	list := make([]TensorFacts, len(declared))
	for i, w := range declared {
		list[i] = TensorFacts{Name: w.Name, DType: models.FileType(w.DType), Shape: w.Shape, Bytes: w.Bytes}
	}
	slices.SortFunc(list, func(a, b TensorFacts) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// addTokenizer adds what the folder's tokenizer and chat template say, if it has any.
func (m *ModelFacts) addTokenizer(dir string) error {
	kind := ""
	switch {
	case there(dir, "tokenizer.json"):
		kind = "byte-pair encoding (tokenizer.json)"
	case there(dir, "tokenizer.model"):
		kind = "SentencePiece byte-pair encoding (tokenizer.model)"
	default:
		return nil
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		return err
	}
	m.Tokenizer = &TokenFacts{Kind: kind, Size: tok.VocabSize(), Hash: tok.Hash()}
	for _, id := range m.StopIDs {
		text, _ := tok.Token(id)
		m.StopTokens = append(m.StopTokens, text)
	}
	template, err := data.LoadTemplate(dir)
	if errors.Is(err, data.ErrNoTemplate) {
		return nil
	}
	if err != nil {
		return err
	}
	m.Template = template.Hash()
	return nil
}

// digests hashes the plain files at the top of dir.
func digests(dir string) ([]FileFacts, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fault.Inputf("%s: cannot be listed: %w; make it readable", dir, err)
	}
	var list []FileFacts
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		stat, err := os.Stat(path) // a link counts as its file
		if errors.Is(err, fs.ErrNotExist) || err == nil && !stat.Mode().IsRegular() {
			continue
		}
		if err != nil {
			return nil, fault.Inputf("%s: cannot be looked up: %w; make it readable", path, err)
		}
		sum, err := checkpoint.HashFile(path)
		if err != nil {
			return nil, err
		}
		list = append(list, FileFacts{Name: e.Name(), Bytes: stat.Size(), SHA256: sum})
	}
	return list, nil
}

package models

// A model's config.json and generation_config.json, in the forms that transformers 4 and 5 write.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/nn"
	"salsa/tensor"
)

const (
	configName     = "config.json"
	generationName = "generation_config.json"
	causalSuffix   = "ForCausalLM"
	scorerSuffix   = "ForSequenceClassification"
)

// Config is what config.json says of a model. Its fields are what salsa computes with; the file's other keys
// are kept and written back by Save.
type Config struct {
	Family string // "Llama": the architecture without its task
	Scores bool   // the folder holds a …ForSequenceClassification model

	Vocab, Hidden, Inner   int // sizes of ids, hidden states and the MLP
	Layers, Heads, KVHeads int
	HeadDim                int
	MaxPositions           int // tokens in a row that the model was made for
	NormEps                float64
	NormPlusOne            bool // norms scale by 1+w
	Tied                   bool // the head is the embedding
	Activation             nn.Activation
	QKVBias, OBias         bool // biases of the attention's linear maps
	MLPBias                bool
	QKNorm                 bool    // RMSNorm over the heads of q and k
	EmbedScale             float64 // what embeddings are multiplied by
	AttentionScale         float64 // what q·k is multiplied by
	AttentionSoftcap       float64 // cap on attention scores; 0 is none
	FinalSoftcap           float64 // cap on the logits; 0 is none
	Window                 int     // of the layers that have one
	Windowed               []bool  // by layer: a token sees itself and Window-1 before it
	Rope                   nn.Rope
	LocalRope              *nn.Rope // of windowed layers, where it differs

	DType      tensor.DType // as stored, 0 if the file does not say
	InitStd    float64      // initializer_range
	EOS        []int        // config.json's own; see StopIDs
	Generation Generation

	// ScoreGain and ScoreBias turn a scorer's raw output s into gain·s + bias: a reward model's normalisation.
	// They are kept in config.json under salsa_score_gain and salsa_score_bias, which transformers ignores.
	ScoreGain, ScoreBias float64

	path string
	raw  map[string]json.RawMessage
}

// Generation is generation_config.json. Fields are zero where the file does not say.
type Generation struct {
	EOS         []int
	Temperature float64
	TopP        float64
	TopK        int
	DoSample    bool

	raw []byte
}

// StopIDs returns the ids that end a generation: generation_config.json's, else config.json's, sorted.
func (c *Config) StopIDs() []int {
	ids := c.Generation.EOS
	if len(ids) == 0 {
		ids = c.EOS
	}
	return slices.Compact(slices.Sorted(slices.Values(ids)))
}

// Context returns how many tokens a row may have; practically unlimited where positions stretch with the row.
func (c *Config) Context() int {
	if c.Rope.Kind == nn.RopeDynamic {
		return math.MaxInt32
	}
	return c.MaxPositions
}

// Architecture returns config.json's name of the model, such as "LlamaForCausalLM".
func (c *Config) Architecture() string {
	if c.Scores {
		return c.Family + scorerSuffix
	}
	return c.Family + causalSuffix
}

// ReadConfig reads the two files of a model folder. Keys that change what a model computes and that salsa does
// not know are refused by name. Of a PEFT folder it is the config of the base model with the adapter on it.
func ReadConfig(dir string) (*Config, error) {
	if IsAdapter(dir) {
		return adaptedConfig(dir)
	}
	path := filepath.Join(dir, configName)
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(path, data)
	if err != nil {
		return nil, err
	}
	path = filepath.Join(dir, generationName)
	if data, err = os.ReadFile(path); errors.Is(err, fs.ErrNotExist) {
		return c, nil
	} else if err != nil {
		return nil, fault.Inputf("%s: cannot be read: %w; make it readable", path, err)
	}
	r := newReader(path, data)
	c.Generation = Generation{
		EOS: r.ids("eos_token_id"), Temperature: get(r, "temperature", 0.0), TopP: get(r, "top_p", 0.0),
		TopK: get(r, "top_k", 0), DoSample: get(r, "do_sample", false), raw: data,
	}
	return c, r.err
}

// ParseConfig reads the text of a config.json; path is for messages.
func ParseConfig(path string, data []byte) (*Config, error) {
	r := newReader(path, data)
	if r.err != nil {
		return nil, r.err
	}
	c := &Config{path: path, raw: maps.Clone(r.raw), EmbedScale: 1}
	family := c.readArchitecture(r)
	if r.err != nil {
		return nil, r.err
	}
	c.readCommon(r, family.strict)
	if r.err == nil {
		family.read(r, c)
	}
	c.check(r)
	return c, r.err
}

// readArchitecture finds the family.
func (c *Config) readArchitecture(r *reader) family {
	r.refuse("quantization_config", "give the model in float32, bfloat16 or float16")
	names := get(r, "architectures", []string(nil))
	if len(names) != 1 {
		r.fail("key \"architectures\": want one name, have %q; add the name of the model's class", names)
		return family{}
	}
	name := names[0]
	c.Scores = strings.HasSuffix(name, scorerSuffix)
	c.Family = strings.TrimSuffix(strings.TrimSuffix(name, causalSuffix), scorerSuffix)
	f, ok := families[c.Family]
	if !ok || c.Family == name {
		known := strings.Join(slices.Sorted(maps.Keys(families)), ", ")
		r.fail("architecture %q is not one that salsa computes; give one of %s, each %s or %s", name, known, causalSuffix, scorerSuffix)
	}
	return f
}

// readCommon reads the keys that all families share, with transformers' defaults for those that a file may
// omit.
func (c *Config) readCommon(r *reader, strict bool) {
	c.Vocab, c.Hidden, c.Inner = r.size("vocab_size", 0), r.size("hidden_size", 0), r.size("intermediate_size", 0)
	c.Layers, c.Heads = r.size("num_hidden_layers", 0), r.size("num_attention_heads", 0)
	if c.KVHeads = c.Heads; strict || r.has("num_key_value_heads") {
		c.KVHeads = r.size("num_key_value_heads", 0)
	}
	c.MaxPositions = r.size("max_position_embeddings", 0)
	c.NormEps = r.positive("rms_norm_eps", 1e-6)
	c.InitStd = r.positive("initializer_range", 0.02)
	c.EOS = r.ids("eos_token_id")
	c.ScoreGain, c.ScoreBias = get(r, "salsa_score_gain", 1.0), get(r, "salsa_score_bias", 0.0)
	if c.Layers < 1<<16 { // a size that no file's layers would meet must not exhaust the memory here
		c.Windowed = make([]bool, c.Layers)
	} else {
		r.fail("key \"num_hidden_layers\": %d is beyond any model; correct it", c.Layers)
	}
	c.Rope = readRope(r, c)
	c.setHeadDim(r.size("head_dim", max(1, c.Hidden/c.Heads)))
	c.readDType(r)
	r.refuse("attention_dropout", "set it to 0")
	r.refuse("use_bidirectional_attention", "give a model that looks back only")
	for _, key := range foreign {
		r.refuse(key, "give a model without it", "1", "1.0")
	}
}

// setHeadDim sets the size of a head and what follows from it.
func (c *Config) setHeadDim(n int) {
	c.HeadDim, c.Rope.Dim, c.AttentionScale = n, n, 1/math.Sqrt(float64(n))
}

// foreign are keys of features that salsa does not compute, at values other than 0 and 1.
var foreign = []string{
	"partial_rotary_factor", "attention_multiplier",
	"residual_multiplier", "embedding_multiplier", "logits_scaling", "logit_scale", "num_experts",
	"num_local_experts", "clip_qkv", "no_rope_layers", "attention_chunk_size", "attn_temperature_tuning",
	"kv_lora_rank", "q_lora_rank", "attention_sink", "use_parallel_residual",
}

func (c *Config) readDType(r *reader) {
	name := get(r, "dtype", get(r, "torch_dtype", ""))
	if name == "" || name == "float64" {
		return
	}
	d, err := tensor.ParseDType(name)
	if err != nil {
		r.fail("key \"dtype\": %v; convert the model", err)
	}
	c.DType = d
}

// readActivation reads the MLP's gate from the first of the keys that is there.
func (c *Config) readActivation(r *reader, keys ...string) {
	key := keys[len(keys)-1]
	if i := slices.IndexFunc(keys, r.has); i >= 0 {
		key = keys[i]
	}
	switch name := get(r, key, "silu"); name {
	case "silu", "swish":
		c.Activation = nn.Silu
	case "gelu":
		c.Activation = nn.Gelu
	case "gelu_pytorch_tanh", "gelu_new":
		c.Activation = nn.GeluTanh
	default:
		r.fail("key %q: activation %q is not one that salsa computes; give a model with silu, gelu or gelu_pytorch_tanh", key, name)
	}
}

// readWindow reads the size of the sliding window and which layers have it: layer_types where the file lists
// them, otherwise those for which windowed holds.
func (c *Config) readWindow(r *reader, windowed func(layer int) bool) {
	kinds := get(r, "layer_types", []string(nil))
	if kinds != nil && len(kinds) != c.Layers {
		r.fail("key \"layer_types\": has %d entries for %d layers; correct it", len(kinds), c.Layers)
		return
	}
	for i := range c.Windowed {
		c.Windowed[i] = windowed(i)
		if kinds == nil {
			continue
		}
		c.Windowed[i] = kinds[i] == "sliding_attention"
		if !c.Windowed[i] && kinds[i] != "full_attention" {
			r.fail("key \"layer_types\": %q is not one that salsa computes; it knows full_attention and sliding_attention", kinds[i])
		}
	}
	if slices.Contains(c.Windowed, true) {
		c.Window = r.size("sliding_window", 0)
	}
}

// check refuses sizes that do not fit one another.
func (c *Config) check(r *reader) {
	if c.Heads%c.KVHeads != 0 {
		r.fail("key \"num_key_value_heads\": %d does not divide num_attention_heads %d; correct it", c.KVHeads, c.Heads)
	}
	if c.HeadDim%2 != 0 {
		r.fail("key \"head_dim\": %d is odd, and rotary positions need pairs; correct it", c.HeadDim)
	}
	if labels := get(r, "num_labels", c.labels(r)); c.Scores && labels != 1 {
		r.fail("key \"num_labels\": the head has %d outputs and a reward or value model has 1; give a model with one label", labels)
	}
}

// labels returns how many labels id2label lists; transformers leaves num_labels out. Absent, there are two.
func (c *Config) labels(r *reader) int {
	if n := len(get(r, "id2label", map[string]string(nil))); n > 0 {
		return n
	}
	return 2
}

// clone returns a config that can be changed without changing c.
func (c *Config) clone() *Config {
	d := *c
	d.raw = maps.Clone(c.raw)
	return &d
}

// setKey changes one key of the config as Save will write it.
func (c *Config) setKey(key string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("models: config key %q: %v", key, err)) // values come from this package
	}
	c.raw[key] = text
}

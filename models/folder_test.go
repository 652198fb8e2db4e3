package models_test

// Folders: what is written is what is read, and what is wrong with a folder is said in one line.

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// sameWeights tells whether two modules hold the same weights under the same names.
func sameWeights(t *testing.T, a, b any) {
	t.Helper()
	wa, wb := models.WeightsOf(a), models.WeightsOf(b)
	require.Equal(t, wa.Names(), wb.Names())
	for _, name := range wa.Names() {
		x, err := wa.Read(name)
		require.NoError(t, err)
		y, err := wb.Read(name)
		require.NoError(t, err)
		assert.True(t, x.Equal(y), name)
	}
}

func TestSaveLoad(t *testing.T) {
	eachCase(t, func(t *testing.T, dir string, g golden) {
		for _, shard := range []int64{0, 20_000} {
			run(t, func() {
				out := t.TempDir()
				stored := models.Options{Device: tensor.CPU}
				if g.Scores != nil {
					s, err := models.LoadScorer(dir, stored)
					require.NoError(t, err)
					s.SetScale(0.5, -2)
					require.NoError(t, models.Save(out, s, models.SaveOptions{MaxShardBytes: shard}))
					again, err := models.LoadScorer(out, stored)
					require.NoError(t, err)
					sameWeights(t, s, again)
					got := again.Rewards(models.Collate(g.Rows)).Float64s()
					for i, v := range g.Scores {
						assert.InDelta(t, 0.5*v-2, got[i], 1e-4)
					}
					return
				}
				m := load(t, dir, stored)
				require.NoError(t, models.Save(out, m, models.SaveOptions{MaxShardBytes: shard}))
				sameWeights(t, m, load(t, out, stored))
				assertSameJSON(t, dir, out, "config.json")
				assertSameJSON(t, dir, out, "generation_config.json")
			})
		}
	})
}

func assertSameJSON(t *testing.T, a, b, name string) {
	t.Helper()
	x, err := os.ReadFile(filepath.Join(a, name))
	require.NoError(t, err)
	y, err := os.ReadFile(filepath.Join(b, name))
	require.NoError(t, err)
	assert.JSONEq(t, string(x), string(y))
}

func TestSaveInAnotherType(t *testing.T) {
	run(t, func() {
		out := t.TempDir()
		m := load(t, "testdata/llama-gqa", float32CPU)
		require.NoError(t, models.Save(out, m, models.SaveOptions{DType: tensor.BFloat16}))
		again := load(t, out, models.Options{Device: tensor.CPU})
		assert.Equal(t, tensor.BFloat16, again.Config().DType)
		assert.True(t, m.HeadWeight().To(tensor.BFloat16).Equal(again.HeadWeight()))
	})
}

func TestSaveCopiesTheTokenizer(t *testing.T) {
	run(t, func() {
		from, out := t.TempDir(), t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(from, "tokenizer.json"), []byte("{}"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(from, "notes.txt"), []byte("no"), 0o644))
		m := load(t, "testdata/llama-tied", float32CPU)
		require.NoError(t, models.Save(out, m, models.SaveOptions{Tokenizer: from}))
		assert.FileExists(t, filepath.Join(out, "tokenizer.json"))
		assert.NoFileExists(t, filepath.Join(out, "notes.txt"))
		files, err := safetensors.OpenDir(out)
		require.NoError(t, err)
		assert.NotContains(t, files.Names(), "lm_head.weight", "a tied head is written once")
	})
}

// TestMapped: weights are the file's pages, and training them leaves the file alone.
func TestMapped(t *testing.T) {
	run(t, func() {
		dir := copyOf(t, "testdata/llama-gqa")
		path := filepath.Join(dir, "model.safetensors")
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		m := load(t, dir, models.Options{Device: tensor.CPU, Train: true})
		require.NoError(t, tensor.NoGrad(func() error {
			for p := range nn.Params(m) {
				p.Tensor.Copy(p.Tensor.Add(tensor.Scalar(1)))
			}
			return nil
		}))
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, before, after)
	})
}

func TestNewIsAFunctionOfSeedAndName(t *testing.T) {
	run(t, func() {
		small, err := models.ReadConfig("testdata/llama-gqa")
		require.NoError(t, err)
		a, err := models.New(small, 7, float32CPU)
		require.NoError(t, err)
		b, err := models.New(small, 7, float32CPU)
		require.NoError(t, err)
		sameWeights(t, a, b)
		c, err := models.New(small, 8, float32CPU)
		require.NoError(t, err)
		assert.False(t, a.HeadWeight().Equal(c.HeadWeight()))
		seen := map[string]bool{}
		for p := range nn.Params(a) {
			sd := p.Tensor.Square().Mean().Sqrt().Item()
			if strings.Contains(p.Name, "norm") {
				assert.Equal(t, 1.0, p.Tensor.Min().Item(), p.Name)
				continue
			}
			assert.InEpsilon(t, 0.02, sd, 0.15, p.Name)
			first := string(p.Tensor.Bytes()[:16])
			assert.False(t, seen[first], "%s begins like another weight", p.Name)
			seen[first] = true
		}
	})
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// editConfig changes keys of a folder's config.json; nil removes one.
func editConfig(t *testing.T, dir string, changes map[string]any) {
	t.Helper()
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var c map[string]any
	require.NoError(t, json.Unmarshal(data, &c))
	for key, v := range changes {
		if v == nil {
			delete(c, key)
			continue
		}
		c[key] = v
	}
	data, err = json.Marshal(c)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data, 0o644))
}

// editWeights rewrites a folder's weights after change.
func editWeights(t *testing.T, dir string, change func(w map[string]stored)) {
	t.Helper()
	d, err := safetensors.OpenDir(dir)
	require.NoError(t, err)
	w := map[string]stored{}
	for _, name := range d.Names() {
		file, info, _ := d.Lookup(name)
		data, err := file.Read(info, nil)
		require.NoError(t, err)
		w[name] = stored{safetensors.Spec{Name: name, DType: info.DType, Shape: info.Shape}, data}
	}
	change(w)
	var specs []safetensors.Spec
	for _, s := range w {
		specs = append(specs, s.spec)
	}
	require.NoError(t, safetensors.WriteDir(dir, specs, 0, nil, func(name string) ([]byte, error) { return w[name].data, nil }))
}

type stored struct {
	spec safetensors.Spec
	data []byte
}

type object = map[string]any

func TestConfigRefused(t *testing.T) {
	for name, c := range map[string]struct {
		base    string
		changes map[string]any
		want    []string
	}{
		"architecture":     {"llama-gqa", object{"architectures": []string{"FalconForCausalLM"}}, []string{`"FalconForCausalLM"`, "Gemma, Gemma2", "Mistral"}},
		"no architecture":  {"llama-gqa", object{"architectures": nil}, []string{`"architectures"`}},
		"base model":       {"llama-gqa", object{"architectures": []string{"LlamaModel"}}, []string{`"LlamaModel"`}},
		"quantisation":     {"llama-gqa", object{"quantization_config": object{"quant_method": "gptq"}}, []string{`"quantization_config"`, "gptq", "bfloat16"}},
		"activation":       {"llama-gqa", object{"hidden_act": "relu2"}, []string{`"hidden_act"`, `"relu2"`}},
		"rope type":        {"llama-gqa", object{"rope_parameters": object{"rope_type": "longrope", "rope_theta": 1e4}}, []string{`"rope_parameters"`, `"longrope"`, "yarn"}},
		"rope type, v4":    {"llama-config-v4", object{"rope_scaling": object{"type": "su"}}, []string{`"rope_scaling"`, `"su"`}},
		"rope key":         {"llama-gqa", object{"rope_parameters": object{"rope_type": "linear", "factor": 2, "alpha": 3}}, []string{`"alpha"`, `"linear"`}},
		"rope factor":      {"llama-gqa", object{"rope_parameters": object{"rope_type": "linear"}}, []string{`"factor"`, "missing"}},
		"llama3 bands":     {"llama-rope-llama3", object{"rope_parameters": object{"rope_type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 4, "original_max_position_embeddings": 8}}, []string{"low_freq_factor 4"}},
		"partial rope":     {"llama-gqa", object{"partial_rotary_factor": 0.5}, []string{`"partial_rotary_factor"`, "0.5"}},
		"bidirectional":    {"gemma-mqa", object{"use_bidirectional_attention": true}, []string{`"use_bidirectional_attention"`, "true"}},
		"dropout":          {"llama-gqa", object{"attention_dropout": 0.1}, []string{`"attention_dropout"`, "0.1"}},
		"experts":          {"mistral-window", object{"num_local_experts": 8}, []string{`"num_local_experts"`}},
		"score cap":        {"gemma3-local", object{"attn_logit_softcapping": 50}, []string{`"attn_logit_softcapping"`}},
		"layer type":       {"qwen2-bias", object{"layer_types": []string{"full_attention", "linear_attention"}}, []string{`"layer_types"`, `"linear_attention"`}},
		"layer types":      {"qwen2-bias", object{"layer_types": []string{"full_attention"}}, []string{`"layer_types"`, "1 entries for 2 layers"}},
		"missing size":     {"llama-gqa", object{"hidden_size": nil}, []string{`"hidden_size"`, "missing"}},
		"missing kv heads": {"mistral-window", object{"num_key_value_heads": nil}, []string{`"num_key_value_heads"`, "missing"}},
		"zero heads":       {"llama-gqa", object{"num_attention_heads": 0}, []string{`"num_attention_heads"`, "not positive"}},
		"text size":        {"llama-gqa", object{"hidden_size": "big"}, []string{`"hidden_size"`, `"big"`}},
		"negative eps":     {"llama-gqa", object{"rms_norm_eps": -1}, []string{`"rms_norm_eps"`}},
		"odd head":         {"llama-gqa", object{"head_dim": 7}, []string{`"head_dim"`, "odd"}},
		"kv heads":         {"llama-gqa", object{"num_key_value_heads": 3}, []string{`"num_key_value_heads"`, "divide"}},
		"dtype":            {"llama-gqa", object{"dtype": "float8_e4m3fn"}, []string{`"dtype"`, "float8"}},
		"labels":           {"llama-score", object{"id2label": object{"0": "a", "1": "b"}}, []string{`"num_labels"`, "2 outputs"}},
		"no labels":        {"llama-score", object{"id2label": nil}, []string{`"num_labels"`, "2 outputs"}},
		"endless layers":   {"llama-gqa", object{"num_hidden_layers": 1 << 40}, []string{`"num_hidden_layers"`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyOf(t, "testdata/"+c.base)
			_, err := models.ReadConfig(dir)
			require.NoError(t, err, "before the change")
			editConfig(t, dir, c.changes)
			_, err = models.ReadConfig(dir)
			requireInput(t, err, append(c.want, filepath.Join(dir, "config.json"))...)
		})
	}
}

// requireInput asks for an input error of one line with all of want.
func requireInput(t *testing.T, err error, want ...string) {
	t.Helper()
	require.Error(t, err)
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	assert.NotContains(t, err.Error(), "\n")
	for _, w := range want {
		assert.Contains(t, err.Error(), w)
	}
}

func TestFolderRefused(t *testing.T) {
	const q = "model.layers.1.self_attn.q_proj.weight"
	write := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
	}
	edit := func(change func(w map[string]stored)) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { editWeights(t, dir, change) }
	}
	for name, c := range map[string]struct {
		base   string
		damage func(t *testing.T, dir string)
		want   []string
	}{
		"no config":      {"llama-gqa", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "config.json")) }, []string{"config.json"}},
		"config no JSON": {"llama-gqa", write("config.json", "{"), []string{"config.json", "JSON"}},
		"config null":    {"llama-gqa", write("config.json", "null"), []string{"config.json"}},
		"config a list":  {"llama-gqa", write("config.json", "[]"), []string{"config.json"}},
		"generation":     {"llama-gqa", write("generation_config.json", `{"eos_token_id":"two"}`), []string{"generation_config.json", `"eos_token_id"`}},
		"no weights":     {"llama-gqa", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "model.safetensors")) }, []string{"model.safetensors"}},
		"cut weights":    {"llama-gqa", func(t *testing.T, dir string) { os.Truncate(filepath.Join(dir, "model.safetensors"), 60_000) }, []string{"model.safetensors", "cut off"}},
		"missing shard": {"llama-sharded", func(t *testing.T, dir string) {
			shards, _ := filepath.Glob(filepath.Join(dir, "model-00002-of-*"))
			require.Len(t, shards, 1)
			os.Remove(shards[0])
		}, []string{"model-00002-of-", "is missing"}},
		"missing weights": {"llama-gqa", edit(func(w map[string]stored) { delete(w, q); delete(w, "lm_head.weight") }), []string{`"` + q + `" is missing`, `"lm_head.weight" is missing`, "2 weights"}},
		"extra weight": {"llama-gqa", edit(func(w map[string]stored) {
			w["extra.bias"] = stored{safetensors.Spec{Name: "extra.bias", DType: "F32", Shape: []int{1}}, make([]byte, 4)}
		}), []string{`"extra.bias" does not belong`}},
		"shape": {"llama-gqa", edit(func(w map[string]stored) {
			s := w[q]
			s.spec.Shape = []int{16, 64}
			w[q] = s
		}), []string{q, "[16 64] instead of [32 32]"}},
		"integers": {"llama-gqa", edit(func(w map[string]stored) {
			s := w[q]
			s.spec.DType = "I32"
			w[q] = s
		}), []string{q, "I32", "salsa reads weights in F32, BF16, F16 and F64", "quantized"}},
		"not a number": {"llama-gqa", edit(func(w map[string]stored) { copy(w[q].data[40:], []byte{0, 0, 0xc0, 0x7f}) }), []string{"model.safetensors", q, "not finite"}},
		"infinite":     {"llama-bf16", edit(func(w map[string]stored) { copy(w[q].data[2:], []byte{0x80, 0x7f}) }), []string{q, "not finite"}},
		"tied twice": {"llama-tied", edit(func(w map[string]stored) {
			s := w["model.embed_tokens.weight"]
			s.spec.Name, s.data = "lm_head.weight", append([]byte{1, 2, 3, 4}, s.data[4:]...)
			w["lm_head.weight"] = s
		}), []string{"lm_head.weight", "tie_word_embeddings"}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				dir := copyOf(t, "testdata/"+c.base)
				load(t, dir, float32CPU)
				c.damage(t, dir)
				live := tensor.Live()
				_, err := models.Load(dir, float32CPU)
				requireInput(t, err, append(c.want, dir)...)
				requireInput(t, inStretches(t, dir, func(string, tensor.Stretch) {}), append(c.want, dir)...)
				assert.Equal(t, live, tensor.Live(), "a failed load leaves nothing")
			})
		})
	}
}

// TestFolderAccepted are odd folders that hold a model all the same.
func TestFolderAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		base   string
		change func(w map[string]stored)
	}{
		"tied head stored too": {"llama-tied", func(w map[string]stored) {
			s := w["model.embed_tokens.weight"]
			s.spec.Name = "lm_head.weight"
			w["lm_head.weight"] = s
		}},
		"tied, stored as the head": {"llama-tied", func(w map[string]stored) {
			s := w["model.embed_tokens.weight"]
			delete(w, "model.embed_tokens.weight")
			s.spec.Name = "lm_head.weight"
			w["lm_head.weight"] = s
		}},
		"norms of another type": {"llama-bf16", func(w map[string]stored) {
			s := w["model.norm.weight"]
			s.spec.DType = "F32"
			wide := make([]byte, 0, 2*len(s.data))
			for i := 0; i < len(s.data); i += 2 {
				wide = append(wide, 0, 0, s.data[i], s.data[i+1])
			}
			s.data = wide
			w["model.norm.weight"] = s
		}},
		"stored frequencies": {"llama-gqa", func(w map[string]stored) {
			n := "model.layers.0.self_attn.rotary_emb.inv_freq"
			w[n] = stored{safetensors.Spec{Name: n, DType: "F32", Shape: []int{4}}, make([]byte, 16)}
		}},
		"a byte that breaks alignment": {"llama-gqa", func(w map[string]stored) {
			n := "model.layers.0.self_attn.rotary_emb.inv_freq"
			w[n] = stored{safetensors.Spec{Name: n, DType: "U8", Shape: []int{1}}, make([]byte, 1)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				dir := copyOf(t, "testdata/"+c.base)
				editWeights(t, dir, c.change)
				sameWeights(t, load(t, "testdata/"+c.base, float32CPU), load(t, dir, float32CPU))
				readsInStretches(t, dir)
				load(t, dir, models.Options{Device: tensor.CPU}).Hidden(models.Collate([][]int{{1, 2}}), nil)
			})
		})
	}
}

func TestInspectReadsNoWeights(t *testing.T) {
	c, err := models.OpenCheckpoint("testdata/llama-sharded") // outside tensor.Run: no tensor is made
	require.NoError(t, err)
	defer c.Close()
	total := int64(0)
	for _, name := range c.Names() {
		info, ok := c.Info(name)
		require.True(t, ok)
		assert.Equal(t, tensor.Float32, info.DType)
		total += info.Bytes
	}
	g := readGolden(t, "testdata/llama-sharded/golden.json")
	assert.Equal(t, int64(4*g.Parameters), total)
	_, ok := c.Info("nothing")
	assert.False(t, ok)
	_, err = c.Read("nothing")
	requireInput(t, err, `"nothing"`, "testdata/llama-sharded")
}

package main

// Mistakes that users make: each is one line that names the place and the remedy, exit code 2, in less than a second,
// and the same command works once the mistake is corrected.

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/fault"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mistake is one wrong command line. In line, OUT is a new path, and {} is what prepare returns.
type mistake struct {
	name, line string
	prepare    func(t *testing.T, w *world) string
	says       []string
}

const (
	sftLine   = "sft --max-steps 1 --batch-size 2 --out OUT "
	ppoWrong  = "ppo --max-steps 1 --batch-size 2 --max-new-tokens 4 --out OUT "
	scoreLine = "score --out OUT.jsonl "
	genLine   = "generate --max-new-tokens 4 --out OUT.jsonl "
)

// try runs a mistake and checks what all of them have in common.
func (m mistake) try(t *testing.T) {
	t.Helper()
	w := theWorld()
	line, out := m.line, filepath.Join(t.TempDir(), "out")
	if m.prepare != nil {
		line = strings.ReplaceAll(line, "{}", m.prepare(t, w))
	}
	code, stdout, errs := salsa(t, newRootCmd(), append(w.args(strings.ReplaceAll(line, "OUT", out)), "--quiet")...)
	assert.Equal(t, fault.ExitInput, code, errs)
	assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
	assert.True(t, strings.HasPrefix(errs, "salsa: "), errs)
	assert.Empty(t, stdout)
	for _, part := range m.says {
		assert.Contains(t, errs, part)
	}
	assert.NoFileExists(t, out+".jsonl")
	entries, err := os.ReadDir(out)
	if err == nil && len(entries) > 0 {
		assert.Len(t, entries, 1)
		assert.Equal(t, ".salsa.lock", entries[0].Name(), "the folder can be used again")
	}
}

func tryAll(t *testing.T, mistakes []mistake) {
	for _, m := range mistakes {
		t.Run(m.name, m.try)
	}
}

// rows makes a prepare that writes the lines to rows.jsonl.
func rows(lines ...string) func(*testing.T, *world) string {
	return func(t *testing.T, _ *world) string { return put(t, "rows.jsonl", strings.Join(lines, "\n")+"\n") }
}

// damaged makes a prepare that copies a model of the world and spoils the copy.
func damaged(name string, spoil func(t *testing.T, dir string)) func(*testing.T, *world) string {
	return func(t *testing.T, w *world) string {
		dir := w.copyModel(t, name)
		spoil(t, dir)
		return dir
	}
}

// config changes a key of config.json; nil deletes it.
func config(key string, value any) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		path := filepath.Join(dir, "config.json")
		keys := readJSON[map[string]any](t, path)
		keys[key] = value
		if value == nil {
			delete(keys, key)
		}
		overwrite(t, path, func([]byte) []byte { return encoded(keys) })
	}
}

// overwrite replaces a file by edit of its bytes.
func overwrite(t *testing.T, path string, edit func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, edit(raw), 0o644))
}

// file makes a spoil that edits the bytes of one file.
func file(name string, edit func([]byte) []byte) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, name), edit) }
}

// header makes a spoil that edits the header of model.safetensors.
func header(edit func(tensors map[string]map[string]any)) func(t *testing.T, dir string) {
	return file("model.safetensors", func(raw []byte) []byte {
		n := binary.LittleEndian.Uint64(raw)
		var tensors map[string]map[string]any
		if err := json.Unmarshal(raw[8:8+n], &tensors); err != nil {
			panic(err) // salsa wrote it
		}
		edit(tensors)
		text := encoded(tensors)
		out := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
		return append(append(out, text...), raw[8+n:]...)
	})
}

// swapped exchanges the ids of two tokens of a tokenizer.json.
func swapped(raw []byte) []byte {
	var text, model map[string]json.RawMessage
	var vocab map[string]int
	if json.Unmarshal(raw, &text) != nil || json.Unmarshal(text["model"], &model) != nil || json.Unmarshal(model["vocab"], &vocab) != nil {
		panic("the demo's tokenizer.json has another form")
	}
	vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
	model["vocab"] = encoded(vocab)
	text["model"] = encoded(model)
	return encoded(text)
}

func encoded(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // v was JSON before
	}
	return raw
}

const (
	query = "model.layers.0.self_attn.q_proj.weight"
	embed = "model.embed_tokens.weight"
)

func nanAt(raw []byte) []byte {
	at := len(raw) - 400
	binary.LittleEndian.PutUint32(raw[at:], math.Float32bits(float32(math.NaN())))
	return raw
}

func TestBadModels(t *testing.T) {
	data := sftLine + "--data @demos.jsonl --model {}"
	tryAll(t, []mistake{
		{"missing folder", sftLine + "--data @demos.jsonl --model @nope", nil, []string{"nope/config.json", "no such file", "give the folder of a Hugging Face model"}},
		{"no weights", data, damaged("sft1", func(t *testing.T, dir string) { require.NoError(t, os.Remove(dir+"/model.safetensors")) }),
			[]string{"holds neither model.safetensors nor model.safetensors.index.json"}},
		{"empty weights", data, damaged("sft1", file("model.safetensors", func([]byte) []byte { return nil })), []string{"has 0 bytes", "download the file again"}},
		{"truncated", data, damaged("sft1", file("model.safetensors", func(raw []byte) []byte { return raw[:len(raw)/2] })), []string{"tensor \"", "cut off", "again"}},
		{"header too long", data, damaged("sft1", file("model.safetensors", func(raw []byte) []byte {
			return append(binary.LittleEndian.AppendUint64(nil, 1<<25), raw[8:]...)
		})), []string{"claims a header of 33554432 bytes"}},
		{"overlap", data, damaged("sft1", header(func(h map[string]map[string]any) {
			span := h[query]["data_offsets"].([]any)
			span[0], span[1] = span[0].(float64)-4, span[1].(float64)-4
		})), []string{query, "overlaps tensor"}},
		{"unknown tensor", data, damaged("sft1", header(func(h map[string]map[string]any) { h["model.layers.9.x"] = h[query]; delete(h, query) })),
			[]string{"2 weights do not fit", `"` + query + `" is missing`, `"model.layers.9.x" does not belong`}},
		{"NaN", data, damaged("sft1", file("model.safetensors", nanAt)), []string{"model.safetensors: tensor \"", "not finite", "earlier checkpoint"}},
		{"NaN scored", scoreLine + "--data @demos.jsonl --model {}", damaged("sft1", file("model.safetensors", nanAt)), []string{"not finite"}},
		{"NaN in a soup", "soup --out OUT @sft2 {}", damaged("sft1", file("model.safetensors", nanAt)), []string{"not finite"}},
		{"config no JSON", data, damaged("sft1", file("config.json", func([]byte) []byte { return []byte(`{"a":`) })), []string{"config.json: is not a JSON object"}},
		{"architecture", data, damaged("sft1", config("architectures", []string{"GPT2LMHeadModel"})), []string{"GPT2LMHeadModel", "Llama", "Mistral"}},
		{"rope", data, damaged("sft1", config("rope_scaling", map[string]any{"type": "magic", "factor": 2})), []string{"rope_scaling", "magic"}},
		{"quantised", data, damaged("sft1", config("quantization_config", map[string]any{"bits": 4})), []string{"quantization_config", "float32"}},
		{"experts", data, damaged("sft1", config("num_local_experts", 8)), []string{"num_local_experts"}},
		{"no heads", data, damaged("sft1", config("num_attention_heads", nil)), []string{"num_attention_heads", "missing"}},
		{"shape", data, damaged("sft1", config("vocab_size", 200)), []string{embed, "instead of [200 64]"}},
		{"tokenizer broken", data, damaged("sft1", file("tokenizer.json", func(raw []byte) []byte { return raw[:100] })), []string{"tokenizer.json: JSON: line"}},
		{"no eos", data, damaged("sft1", func(t *testing.T, dir string) {
			config("eos_token_id", nil)(t, dir)
			require.NoError(t, os.Remove(dir+"/generation_config.json"))
		}), []string{"eos_token_id; add it"}},
		{"missing shard", scoreLine + "--data @demos.jsonl --model {}", func(t *testing.T, w *world) string {
			dir := filepath.Join(t.TempDir(), "m")
			require.NoError(t, os.CopyFS(dir, os.DirFS(modelData+"llama-sharded")))
			shards, err := filepath.Glob(dir + "/*-of-*.safetensors")
			require.NoError(t, err)
			require.NoError(t, os.Remove(shards[1]))
			return dir
		}, []string{"index.json: shard model-00002", "is missing; download"}},
	})
}

func TestWrongRoles(t *testing.T) {
	ppo := ppoWrong + "--data @prompts.jsonl "
	other := damaged("sft1", file("tokenizer.json", swapped))
	small := func(t *testing.T, w *world) string {
		dir := filepath.Join(t.TempDir(), "c")
		require.NoError(t, os.CopyFS(dir, os.DirFS(w.at("data/base-config"))))
		config("hidden_size", 32)(t, dir)
		out := filepath.Join(t.TempDir(), "small")
		w.do(t, "sft --max-steps 1 --batch-size 2 --from-config "+dir+" --data @demos.jsonl --out "+out)
		return out
	}
	tryAll(t, []mistake{
		{"reward model as model", sftLine + "--model @rm --data @demos.jsonl", nil, []string{"rm: is a LlamaForSequenceClassification, and a language model is wanted"}},
		{"reward model as policy", ppo + "--model @rm --reference @sft1 --reward-model @rm", nil, []string{"a language model is wanted"}},
		{"reward model as reference", ppo + "--model @sft1 --reference @rm --reward-model @rm", nil, []string{"a language model is wanted"}},
		{"reward model generates", genLine + "--model @rm --data @prompts.jsonl", nil, []string{"a language model is wanted"}},
		{"reward model in a soup", "soup --out OUT @sft1 @rm", nil, []string{"sft1 is a LlamaForCausalLM and ", "rm a LlamaForSequenceClassification"}},
		{"language model as reward model", ppo + "--model @sft1 --reference @sft1 --reward-model @sft1", nil, []string{"train one with salsa reward"}},
		{"language model as value model", ppo + "--model @sft1 --reference @sft1 --reward-model @rm --value-model @sft1", nil, []string{"reward or value model is wanted"}},
		{"language model judges", "eval --models @sft1 --reward-model @sft2 --data @prompts.jsonl --max-new-tokens 4 --out OUT", nil, []string{"reward or value model is wanted"}},
		{"reference for a reward model", scoreLine + "--model @rm --reference @sft1 --data @demos.jsonl", nil, []string{"--reference needs a language model"}},
		{"reference's tokenizer", ppo + "--model @sft1 --reference {} --reward-model @rm", other, []string{"has another tokenizer than", "sft1"}},
		{"reward model's tokenizer", ppo + "--model @sft1 --reference @sft1 --reward-model {}", damaged("rm", file("tokenizer.json", swapped)), []string{"has another tokenizer than"}},
		{"soup's tokenizers", "soup --out OUT @sft1 {}", other, []string{"tokenizer.json differs between"}},
		{"soup's shapes", "soup --out OUT @sft1 {}", small, []string{"hidden_size is 64 in", "and 32 in", "fine-tunes of one base model"}},
		{"soup's types", "soup --out OUT @sft1 {}", func(t *testing.T, w *world) string {
			out := filepath.Join(t.TempDir(), "half")
			w.do(t, "soup --store-dtype bfloat16 @sft2 --out "+out)
			return out
		}, []string{"is stored as float32 and", "half as bfloat16; choose the soup's type with --store-dtype"}},
		{"reference soup's shapes", ppo + "--model @sft1 --reference @sft1,{} --reward-model @rm", small, []string{"hidden_size is 64 in"}},
		{"missing reward model", ppo + "--model @sft1 --reference @sft1 --reward-model @nope", nil, []string{"nope/config.json"}},
		{"missing member", ppo + "--model @sft1 --reference @sft1,@nope --reward-model @rm", nil, []string{"nope/config.json"}},
		{"missing evaluated model", "eval --models @sft1,@nope --data @prompts.jsonl --max-new-tokens 4 --out OUT", nil, []string{"nope/config.json"}},
	})
}

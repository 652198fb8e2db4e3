package main

// The recipes at the paper's scale: what they would take on a GPU of 80 GB, from the real configs alone, and each from
// its first stage to its last in miniature, on a model of its family's shape.

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// paperModels are the published shapes, and what of them a tiny model keeps.
var paperModels = map[string]struct{ real, tiny map[string]any }{
	"llama2-7b": {
		map[string]any{"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
			"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096, "hidden_act": "silu", "tie_word_embeddings": false},
		map[string]any{"num_attention_heads": 4, "num_key_value_heads": 4},
	},
	"mistral-7b": { // grouped queries and a sliding window
		map[string]any{"architectures": []string{"MistralForCausalLM"}, "model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
			"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768, "sliding_window": 4096, "hidden_act": "silu", "tie_word_embeddings": false},
		map[string]any{"num_attention_heads": 4, "num_key_value_heads": 1, "sliding_window": 8},
	},
	"gemma-2b": { // one key-value head, heads wider than hidden/heads, tied embeddings
		map[string]any{"architectures": []string{"GemmaForCausalLM"}, "model_type": "gemma", "vocab_size": 256000, "hidden_size": 2048, "intermediate_size": 16384,
			"num_hidden_layers": 18, "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "max_position_embeddings": 8192, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": true},
		map[string]any{"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32},
	},
}

// paperWorld writes the data that the recipes ask for and a folder with the config and the demo's tokenizer.
func paperWorld(t *testing.T, config map[string]any) (dir string, vars []string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.CopyFS(dir+"/config", os.DirFS(theWorld().at("data/base-config"))))
	full := maps.Clone(config)
	maps.Copy(full, map[string]any{"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "bfloat16"})
	raw, err := json.Marshal(full)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/config/config.json", raw, 0o644))
	var chats, pairs strings.Builder
	turn := func(ask, answer string) string {
		return fmt.Sprintf(`[{"role":"user","content":%q},{"role":"assistant","content":%q}]`, ask, answer)
	}
	for i := range 12 {
		ask := fmt.Sprintf("salsa %d", i)
		fmt.Fprintf(&chats, `{"messages":%s}`+"\n", turn(ask, "lime"))
		fmt.Fprintf(&pairs, `{"prompt":%q,"chosen":%s,"rejected":%s}`+"\n", ask, turn(ask, "lime"), turn(ask, "mud"))
	}
	require.NoError(t, os.WriteFile(dir+"/chats.jsonl", []byte(chats.String()), 0o644))
	require.NoError(t, os.WriteFile(dir+"/pairs.jsonl", []byte(pairs.String()), 0o644))
	return dir, []string{"sft_data=" + dir + "/chats.jsonl", "pairs_data=" + dir + "/pairs.jsonl", "eval_data=" + dir + "/pairs.jsonl"}
}

// paperRun is the command line of a recipe of this folder.
func paperRun(name string, vars []string, more ...string) []string {
	args := append([]string{"run", filepath.Join("..", "..", "recipes", name+".yaml")}, more...)
	for _, v := range vars {
		args = append(args, "--var", v)
	}
	return args
}

func TestPaperRecipesFitOneGPU(t *testing.T) {
	line := regexp.MustCompile(`(?m)^  (\S+) +([\d.]+) GiB in phase \w+, bfloat16, (rows|prompts) of`)
	for name, m := range paperModels {
		t.Run(name, func(t *testing.T) {
			dir, vars := paperWorld(t, m.real)
			code, out, errs := salsa(t, newRootCmd(), paperRun(name, append(vars, "model="+dir+"/config", "device=cuda"), "--dry-run", "--out", dir+"/run")...)
			require.Equal(t, 0, code, errs)
			found := line.FindAllStringSubmatch(out, -1)
			require.Len(t, found, 9, out) // two fine-tunes, the reward model, three runs each of PPO and SALSA
			for _, f := range found {
				size, err := strconv.ParseFloat(f[2], 64)
				require.NoError(t, err)
				assert.Less(t, size, 72.0, "%s of %s", f[1], name)
				assert.Greater(t, size, 5.0, "%s of %s holds the model's weights at least", f[1], name)
			}
			assert.NoDirExists(t, dir+"/run")
		})
	}
}

func TestPaperRecipesInMiniature(t *testing.T) {
	for name, m := range paperModels {
		t.Run(name, func(t *testing.T) {
			config := maps.Clone(m.real)
			maps.Copy(config, map[string]any{"vocab_size": 187, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 2048})
			maps.Copy(config, m.tiny)
			dir, vars := paperWorld(t, config)
			w := theWorld()
			w.do(t, "sft --from-config "+dir+"/config --data @demos.jsonl --max-length 64 --max-steps 1 --batch-size 1 --out "+dir+"/model")
			args := paperRun(name, append(vars, "model="+dir+"/model", "steps=2", "seeds=[1]", "lora_rank=2"), "--out", dir+"/run")
			for _, set := range []string{"sft.max_steps=2", "rm.max_steps=2", "rm.holdout=0.3", "eval.max_prompts=3", "*.micro_batch_size=1", "*.rollout_batch_size=2", "*.quiet=true"} {
				args = append(args, "--set", set)
			}
			for _, stage := range []string{"sft", "rm", "ppo", "salsa"} {
				args = append(args, "--set", stage+".batch_size=2")
			}
			for _, stage := range []string{"ppo", "salsa", "eval"} {
				args = append(args, "--set", stage+".max_new_tokens=3")
			}
			code, _, errs := salsa(t, newRootCmd(), args...)
			require.Equal(t, 0, code, errs)
			table, err := os.ReadFile(filepath.Join(dir, "run", "stages", "compare", "compare.md"))
			require.NoError(t, err)
			assert.Contains(t, string(table), "| ppo |")
			assert.Contains(t, string(table), "| salsa |")
			for _, stage := range []string{"ppo-seed1", "salsa-seed1"} {
				assert.FileExists(t, filepath.Join(dir, "run", "stages", stage, "value", "adapter", "adapter_config.json"))
			}
		})
	}
}

package demo

// The model folder that pretraining starts from: the tokenizer's and the model's files, as Hugging Face lays them
// out, without weights.

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"salsa/internal/checkpoint"
)

// object is a JSON object; encoding/json writes its keys in sorted order, so equal objects are equal bytes.
type object map[string]any

// WriteBaseConfig writes config.json, generation_config.json, tokenizer.json, tokenizer_config.json and
// special_tokens_map.json into dir, which is made if it is not there. The bytes are always the same.
func WriteBaseConfig(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	for _, file := range []struct {
		name    string
		content object
	}{
		{"config.json", modelConfig()},
		{"generation_config.json", object{"bos_token_id": BOS, "eos_token_id": EOS, "max_new_tokens": MaxIngredients}},
		{"tokenizer.json", tokenizerFile()},
		{"tokenizer_config.json", tokenizerConfig()},
		{"special_tokens_map.json", object{"bos_token": BOSToken, "eos_token": EOSToken}},
	} {
		data, err := json.MarshalIndent(file.content, "", "  ")
		if err != nil {
			return fmt.Errorf("demo: %s: %w", file.name, err)
		}
		if err := checkpoint.WriteFileAtomic(filepath.Join(dir, file.name), append(data, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// MaxPositions is the model's context. The longest sequence of the task is <s>, three adjectives, salsa, ":", sixteen
// ingredients and </s>: 23 tokens.
const MaxPositions = 64

// modelConfig describes a Llama of about 100,000 weights.
func modelConfig() object {
	return object{
		"architectures":           []string{"LlamaForCausalLM"},
		"model_type":              "llama",
		"vocab_size":              VocabSize(),
		"hidden_size":             64,
		"intermediate_size":       160,
		"num_hidden_layers":       2,
		"num_attention_heads":     4,
		"num_key_value_heads":     2,
		"head_dim":                16,
		"hidden_act":              "silu",
		"max_position_embeddings": MaxPositions,
		"rms_norm_eps":            1e-5,
		"rope_theta":              10000.0,
		"rope_scaling":            nil,
		"attention_bias":          false,
		"attention_dropout":       0.0,
		"mlp_bias":                false,
		"initializer_range":       0.1,
		"tie_word_embeddings":     true,
		"bos_token_id":            BOS,
		"eos_token_id":            EOS,
		"torch_dtype":             "float32",
		"use_cache":               true,
	}
}

// tokenizerConfig names the special tokens for programs that read them here.
func tokenizerConfig() object {
	return object{
		"tokenizer_class":              "PreTrainedTokenizerFast",
		"bos_token":                    BOSToken,
		"eos_token":                    EOSToken,
		"model_max_length":             MaxPositions,
		"clean_up_tokenization_spaces": false,
	}
}

// tokenizerFile is tokenizer.json: byte-level BPE that puts <s> first when special tokens are asked for.
func tokenizerFile() object {
	bos := object{"SpecialToken": object{"id": BOSToken, "type_id": 0}}
	first := object{"Sequence": object{"id": "A", "type_id": 0}}
	second := object{"Sequence": object{"id": "B", "type_id": 1}}
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	return object{
		"version":       "1.0",
		"truncation":    nil,
		"padding":       nil,
		"added_tokens":  []object{specialToken(BOS, BOSToken), specialToken(EOS, EOSToken)},
		"normalizer":    nil,
		"pre_tokenizer": byteLevel,
		"post_processor": object{
			"type":           "TemplateProcessing",
			"single":         []object{bos, first},
			"pair":           []object{bos, first, second},
			"special_tokens": object{BOSToken: object{"id": BOSToken, "ids": []int{BOS}, "tokens": []string{BOSToken}}},
		},
		"decoder": byteLevel,
		"model": object{
			"type":                      "BPE",
			"dropout":                   nil,
			"unk_token":                 nil,
			"continuing_subword_prefix": nil,
			"end_of_word_suffix":        nil,
			"fuse_unk":                  false,
			"byte_fallback":             false,
			"ignore_merges":             false,
			"vocab":                     vocab.ids,
			"merges":                    vocab.merges,
		},
	}
}

// specialToken is an entry of added_tokens.
func specialToken(id int, content string) object {
	return object{
		"id": id, "content": content, "special": true,
		"single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
	}
}

package soup

// What two members must have in common, judged from their headers.

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"salsa/data/tokenizer"
	"salsa/internal/checkpoint"
	"salsa/models"
)

// differences lists what keeps a and b from being mixed, both sides named.
func differences(a, b *models.Checkpoint) []string {
	faults := configDifferences(a, b)
	if len(faults) > 0 {
		return faults // shapes differ for the same reason
	}
	for _, name := range a.Names() {
		x, _ := a.Info(name)
		y, ok := b.Info(name)
		switch {
		case !ok:
			faults = append(faults, fmt.Sprintf("%s is in %s and not in %s", name, a.Dir, b.Dir))
		case !slices.Equal(x.Shape, y.Shape):
			faults = append(faults, fmt.Sprintf("%s is %v in %s and %v in %s", name, x.Shape, a.Dir, y.Shape, b.Dir))
		}
	}
	return append(faults, tokenizerDifferences(a.Dir, b.Dir)...)
}

// notCompared are fields of a config that say nothing about what the model computes.
var notCompared = []string{"DType", "InitStd", "EOS", "Generation"}

// keys are config.json's names of a config's fields, for messages. A field that is not among them follows from others.
var keys = map[string]string{
	"Vocab": "vocab_size", "Hidden": "hidden_size", "Inner": "intermediate_size", "Layers": "num_hidden_layers",
	"Heads": "num_attention_heads", "KVHeads": "num_key_value_heads", "HeadDim": "head_dim",
	"MaxPositions": "max_position_embeddings", "NormEps": "rms_norm_eps", "Tied": "tie_word_embeddings",
	"Activation": "hidden_act", "QKVBias": "attention_bias", "MLPBias": "mlp_bias",
	"AttentionSoftcap": "attn_logit_softcapping", "FinalSoftcap": "final_logit_softcapping",
	"AttentionScale": "query_pre_attn_scalar", "Window": "sliding_window", "Windowed": "layer_types",
	"Rope": "rope_parameters", "ScoreGain": "salsa_score_gain", "ScoreBias": "salsa_score_bias",
}

func configDifferences(a, b *models.Checkpoint) []string {
	if p, q := a.Config.Architecture(), b.Config.Architecture(); p != q {
		return []string{fmt.Sprintf("%s is a %s and %s a %s", a.Dir, p, b.Dir, q)}
	}
	var faults []string
	x, y := reflect.ValueOf(*a.Config), reflect.ValueOf(*b.Config)
	for i := range x.NumField() {
		f := x.Type().Field(i)
		if !f.IsExported() || slices.Contains(notCompared, f.Name) {
			continue
		}
		if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			faults = append(faults, fmt.Sprintf("%s is %v in %s and %v in %s",
				cmp.Or(keys[f.Name], f.Name), x.Field(i), a.Dir, y.Field(i), b.Dir))
		}
	}
	return faults
}

// tokenizerDifferences compares the vocabulary files by what they say: one that was written again by another library is
// the same tokenizer.
func tokenizerDifferences(a, b string) []string {
	for _, name := range []string{"tokenizer.json", "tokenizer.model"} {
		x, errX := checkpoint.HashFile(filepath.Join(a, name))
		y, errY := checkpoint.HashFile(filepath.Join(b, name))
		if errors.Is(errX, fs.ErrNotExist) || errors.Is(errY, fs.ErrNotExist) || os.IsNotExist(errX) || os.IsNotExist(errY) {
			continue // a folder of weights alone is judged by its shapes
		}
		if errX == nil && errY == nil && x == y {
			continue
		}
		if what := contentDifference(filepath.Join(a, name), filepath.Join(b, name)); what != "" {
			return []string{fmt.Sprintf("%s differs between %s and %s%s", name, a, b, what)}
		}
	}
	return nil
}

// contentDifference says how two tokenizers differ; "" if they give the same ids. Which token ends or pads a text may
// differ, as eos_token_id may: the soup takes the first member's.
func contentDifference(a, b string) string {
	x, errX := tokenizer.Load(a)
	y, errY := tokenizer.Load(b)
	if err := cmp.Or(errX, errY); err != nil {
		return fmt.Sprintf(", and what they say cannot be compared (%s)", err)
	}
	if x.Hash() != y.Hash() {
		return " in its tokens or in how it cuts text"
	}
	p, errP := tokenizer.LoadConfig(filepath.Dir(a))
	q, errQ := tokenizer.LoadConfig(filepath.Dir(b))
	if err := cmp.Or(errP, errQ); err != nil {
		return fmt.Sprintf(", and their configs cannot be compared (%s)", err)
	}
	for _, token := range []struct{ name, a, b string }{{"bos_token", p.BOS, q.BOS}, {"unk_token", p.UNK, q.UNK}} {
		if token.a != "" && token.b != "" && token.a != token.b {
			return fmt.Sprintf(" in its %s, %q and %q", token.name, token.a, token.b)
		}
	}
	// A tokenizer.json says itself what it adds to a text, and that is in its hash.
	if filepath.Ext(a) == ".model" && (setting(p.AddBOS) != setting(q.AddBOS) || setting(p.AddEOS) != setting(q.AddEOS)) {
		return fmt.Sprintf(" in its add_bos_token and add_eos_token, %s and %s here, %s and %s there",
			setting(p.AddBOS), setting(p.AddEOS), setting(q.AddBOS), setting(q.AddEOS))
	}
	return ""
}

// setting writes a setting that may be absent.
func setting(b *bool) string {
	if b == nil {
		return "unset"
	}
	return fmt.Sprint(*b)
}

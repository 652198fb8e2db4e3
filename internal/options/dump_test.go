package options

// Settings as they are shown and kept: the record with its hash, the explanation, help and schema.

import (
	"encoding/json"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"strings"
	"testing"
)

func TestHashLeavesOutWhatDoesNotMatter(t *testing.T) {
	a, b := defaults(), defaults()
	b.LogEvery = 99
	assert.Equal(t, Hash(&a), Hash(&b))
	b.Seed = 99
	assert.NotEqual(t, Hash(&a), Hash(&b))
	assert.Len(t, Hash(&a), 64)
}

// TestHashAgainstKnowsOnlyWhatWasSet: a stage is not redone because the program has learned a new option.
func TestHashAgainstKnowsOnlyWhatWasSet(t *testing.T) {
	type old struct {
		Seed uint64 `yaml:"seed" help:"seed"`
	}
	type extended struct {
		Seed uint64 `yaml:"seed" help:"seed"`
		More bool   `yaml:"more" help:"added later"`
	}
	before := HashAgainst(&old{Seed: 3}, &old{})
	assert.Equal(t, before, HashAgainst(&extended{Seed: 3}, &extended{}))
	assert.NotEqual(t, before, HashAgainst(&extended{Seed: 3, More: true}, &extended{}))
	assert.NotEqual(t, before, HashAgainst(&old{Seed: 4}, &old{}))
}

func TestExplainNamesSources(t *testing.T) {
	o := defaults()
	fs := pflag.NewFlagSet("sft", pflag.ContinueOnError)
	b := Bind(fs, &o)
	require.NoError(t, fs.Parse([]string{"--model=m", "--set", "seed=3"}))
	require.NoError(t, b.Resolve())
	text := string(b.Explain())
	assert.Contains(t, text, "# peak learning rate; must be >0 (from: default)\nlearning_rate: 1e-05\n")
	assert.Contains(t, text, "(from: --set seed=3)\nseed: 3\n")
	assert.Contains(t, text, "required (from: --model)\nmodel: m\n")
	_, err := ParseYAML("explained", b.Explain())
	assert.NoError(t, err)
}

func TestHelpText(t *testing.T) {
	o := defaults()
	fs := pflag.NewFlagSet("sft", pflag.ContinueOnError)
	Bind(fs, &o)
	usage := fs.FlagUsages()
	assert.Contains(t, usage, "--lr-schedule constant|linear|cosine")
	assert.Contains(t, usage, "(default 1e-05)")
	assert.Regexp(t, `--model DIR +start model \(required\)`, usage)
	assert.Contains(t, usage, "optimizer steps [steps] (default 100)")
	assert.NotContains(t, usage, "extra")
	assert.Less(t, strings.Index(usage, "--learning-rate"), strings.Index(usage, "--model"), "declaration order")
}

func TestUsagesGroupFlags(t *testing.T) {
	o := struct {
		common `group:"Optimizer"`
		Model  string `yaml:"model" help:"start model"`
	}{}
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	Bind(fs, &o)
	assert.Regexp(t, `(?s)^Flags:\n +--model.*--set KEY=VALUE.*\n\nOptimizer:\n +--learning-rate.*--shuffle[^\n]*$`, Usages(fs))
}

func TestSchema(t *testing.T) {
	o := defaults()
	data, err := Of(&o).Schema("sft")
	require.NoError(t, err)
	var s struct {
		Required   []string
		Properties map[string]map[string]any
		Extra      bool `json:"additionalProperties"`
	}
	require.NoError(t, json.Unmarshal(data, &s))
	assert.Equal(t, []string{"model"}, s.Required)
	assert.Equal(t, 0.0, s.Properties["learning_rate"]["exclusiveMinimum"])
	assert.Equal(t, "array", s.Properties["weights"]["type"])
	assert.Equal(t, "integer", s.Properties["max_steps"]["type"])
	assert.Equal(t, "1m0s", s.Properties["timeout"]["default"])
}

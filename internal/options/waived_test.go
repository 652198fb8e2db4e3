package options_test

import (
	"testing"

	"salsa/internal/options"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
)

func TestWaivedOptionsNeedNotBeGiven(t *testing.T) {
	type required struct {
		Model string `yaml:"model" help:"start model" required:"true"`
		Out   string `yaml:"out" help:"output" required:"true"`
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	b := options.Bind(fs, &required{}, "out")
	assert.ErrorContains(t, b.Resolve(), "--model is required")
	assert.NoError(t, fs.Parse([]string{"--model", "m"}))
	assert.NoError(t, b.Resolve())
	assert.NotContains(t, fs.Lookup("out").Usage, "required")
	assert.Contains(t, fs.Lookup("model").Usage, "required")
}

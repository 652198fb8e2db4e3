package options_test

import (
	"os"
	"path/filepath"
	"testing"

	"salsa/internal/options"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Penalty is embedded, as commands share it.
type Penalty struct {
	Rule  string  `yaml:"rule" enum:"none,take" help:"what is done"`
	Size  float64 `yaml:"size" help:"of what is taken"`
	Fixed bool    `yaml:"fixed" help:"it stays"`
	Rows  string  `yaml:"rows" help:"of other commands"`
}

func (p *Penalty) Unread(key string) string {
	switch {
	case key == "rows":
		return "is for others; leave it out"
	case key != "rule" && p.Rule == "none":
		return "is not read by --rule none; leave it out"
	}
	return ""
}

func (p *Penalty) Hides(key string) bool { return key == "rows" }

func TestUnreadOptionsAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		path := filepath.Join(dir, "f.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	for _, c := range []struct {
		args, yaml, want string
	}{
		{args: "--size=2", want: "--size is not read by --rule none"},
		{args: "--size=1", want: "--size is not read by --rule none"}, // the default, but said
		{args: "--set=size=1", want: "--size is not read by --rule none"},
		{args: "--set=size=0", want: "--size is not read by --rule none"},
		{args: "--fixed=false"}, // says that nothing is wanted
		{args: "--rows=x", want: "--rows is for others"},
		{yaml: "size: 2", want: "--size is not read"},
		{yaml: "{rule: none, size: 1, fixed: false, rows: \"\"}"}, // as run.yaml has it
		{yaml: "{rule: take, size: 2, fixed: true}"},
		{},
	} {
		o := struct{ Penalty }{Penalty{Rule: "none", Size: 1}}
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		b := options.Bind(fs, &o)
		args := []string{}
		if c.args != "" {
			args = append(args, c.args)
		}
		if c.yaml != "" {
			args = append(args, "--config", file(c.yaml))
		}
		require.NoError(t, fs.Parse(args))
		err := b.Resolve()
		if c.want == "" {
			assert.NoError(t, err, "%v %s", args, c.yaml)
			continue
		}
		assert.ErrorContains(t, err, c.want, "%v %s", args, c.yaml)
	}
}

func TestHiddenOptionsAreNotOffered(t *testing.T) {
	o := struct{ Penalty }{Penalty{Rule: "none"}}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	b := options.Bind(fs, &o)
	schema, err := b.Schema("x")
	require.NoError(t, err)
	for _, text := range []string{options.Usages(fs), string(b.Explain()), string(schema)} {
		assert.Contains(t, text, "size")
		assert.NotContains(t, text, "rows")
	}
	assert.Contains(t, string(b.Dump()), "rows", "a run's record is whole")
}

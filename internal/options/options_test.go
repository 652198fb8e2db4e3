package options

import (
	"errors"
	"fmt"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"os"
	"path/filepath"
	"salsa/internal/fault"
	"strings"
	"testing"
	"time"
)

type common struct {
	LearningRate float64       `yaml:"learning_rate" help:"peak learning rate" check:">0"`
	Schedule     string        `yaml:"lr_schedule" help:"shape of the learning rate" enum:"constant,linear,cosine"`
	Seed         uint64        `yaml:"seed" help:"seed of everything random"`
	LogEvery     int           `yaml:"log_every" help:"steps between log rows" check:">=1" hash:"-"`
	Timeout      time.Duration `yaml:"timeout" help:"longest run" check:">0,<=3600"`
	Shuffle      bool          `yaml:"shuffle" help:"shuffle the rows"`
}

type trainOptions struct {
	common
	Model   string    `yaml:"model" help:"start model" arg:"DIR" required:"true" input:"path"`
	Data    []string  `yaml:"data" help:"rows to train on" input:"path"`
	Weights []float64 `yaml:"weights" help:"share of each member" check:">=0,<=1"`
	Stop    []string  `yaml:"stop" help:"strings that end a completion" sep:"none"`
	Steps   int64     `yaml:"max_steps" help:"optimizer steps" unit:"steps" check:">=0"`
	Layers  []int     `yaml:"layers" help:"layers to train"`
	Extra   string    `yaml:"extra" flag:"-" help:"only in files"`
	Cache   string    `yaml:"-"`
}

func (o *trainOptions) Validate() error {
	if o.Steps == 13 {
		return errors.New("max_steps: 13 brings bad luck; take another number")
	}
	return nil
}

func defaults() trainOptions {
	o := trainOptions{Weights: []float64{0.5, 0.5}, Steps: 100}
	o.common = common{LearningRate: 1e-5, Schedule: "cosine", Seed: 1, LogEvery: 10, Timeout: time.Minute, Shuffle: true}
	return o
}

// parse runs a command line through Bind and Resolve.
func parse(t *testing.T, args ...string) (trainOptions, error) {
	t.Helper()
	o := defaults()
	fs := pflag.NewFlagSet("sft", pflag.ContinueOnError)
	b := Bind(fs, &o)
	require.Same(t, b, Bound(fs))
	if err := fs.Parse(args); err != nil {
		return o, FlagError(fs, err)
	}
	return o, b.Resolve()
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func TestPrecedence(t *testing.T) {
	file := write(t, "model: m\nlearning_rate: 2e-5\nseed: 2\nlr_schedule: linear\n")
	o, err := parse(t, "--config", file)
	require.NoError(t, err)
	assert.Equal(t, 2e-5, o.LearningRate)
	assert.Equal(t, uint64(2), o.Seed)
	assert.Equal(t, 10, o.LogEvery, "Go default stays")

	// The order on the command line does not matter: flags beat --set beats --config.
	o, err = parse(t, "--seed", "4", "--set", "seed=3", "--set=learning_rate=3e-5", "--config", file)
	require.NoError(t, err)
	assert.Equal(t, uint64(4), o.Seed)
	assert.Equal(t, 3e-5, o.LearningRate)
	assert.Equal(t, "linear", o.Schedule)
}

func TestEveryType(t *testing.T) {
	want := defaults()
	want.Model, want.Data = "m", []string{"a.jsonl", "b.jsonl"}
	want.Weights, want.Stop = []float64{.25, .75}, []string{"a,b", "\n"}
	want.Steps, want.Layers, want.Shuffle = 1_000_000, []int{0, -1}, false
	want.Timeout, want.Seed = 90*time.Second, 18446744073709551615

	fromFlags, err := parse(t, "--model=m", "--data", "a.jsonl", "--data=b.jsonl", "--weights", ".25,.75", "--stop", "a,b",
		"--stop", "\n", "--max-steps", "1e6", "--layers", "0, -1", "--shuffle=false", "--timeout", "90s",
		"--seed", "18446744073709551615")
	require.NoError(t, err)
	assert.Equal(t, want, fromFlags)

	want.Extra = "x: y # not a comment"
	fromFile, err := parse(t, "--config", write(t, `
model: m
data: [a.jsonl, b.jsonl]
weights:
  - .25
  - 0.75
stop: ["a,b", "\n"]
max_steps: 1_000_000
layers: [0, -1]
shuffle: false
timeout: 1m30s
seed: 18446744073709551615
extra: "x: y # not a comment"
`))
	require.NoError(t, err)
	assert.Equal(t, want, fromFile)

	again, err := parse(t, "--config", write(t, string(Dump(&fromFile))))
	require.NoError(t, err)
	assert.Equal(t, want, again, "run.yaml reloads to the same values")
	assert.Equal(t, Hash(&fromFile), Hash(&again))
}

func TestBareBoolAndEmptyList(t *testing.T) {
	o, err := parse(t, "--model=m", "--set", "shuffle=false", "--shuffle", "--weights", "")
	require.NoError(t, err)
	assert.True(t, o.Shuffle)
	assert.Empty(t, o.Weights)
}

func TestBadInput(t *testing.T) {
	for _, c := range []struct{ name, yaml, args, want string }{
		{"unknown key", "model: m\nlearning_rat: 1", "", "F:2: unknown key learning_rat; did you mean `learning_rate`?"},
		{"initials", "lr: 1", "", "F:1: unknown key lr; did you mean `learning_rate`?"},
		{"dashes", "\n\nlr-schedule: linear", "", "F:3: unknown key lr-schedule; did you mean `lr_schedule`?"},
		{"nothing near", "quux: 1", "", "F:1: unknown key quux; known keys: learning_rate, lr_schedule"},
		{"wrong type", "learning_rate: fast", "", `F:1: learning_rate: "fast" is not a finite number`},
		{"nan", "learning_rate: .nan", "", "not a finite number"},
		{"infinite", "learning_rate: 1e999", "", "not a finite number"},
		{"range", "model: m\nlearning_rate: -1", "", "F:2: learning_rate: -1 is out of range; it must be >0"},
		{"range of item", "weights: [0.5,\n 1.5]", "", "F:1: weights: 1.5 is out of range; it must be >=0 and <=1"},
		{"duration range", "timeout: 2h", "", "F:1: timeout: 2h0m0s is out of range; it must be >0 and <=3600"},
		{"duration", "timeout: 5", "", `"5" is not a duration; write for example 90s`},
		{"enum", "lr_schedule: cosin", "", "\"cosin\" is not one of constant, linear, cosine; did you mean `cosine`?"},
		{"bool", "shuffle: yes", "", `F:1: shuffle: "yes" is neither true nor false`},
		{"fraction", "max_steps: 1.5", "", `F:1: max_steps: "1.5" is not an integer`},
		{"overflow", "max_steps: 99999999999999999999", "", "is not an integer"},
		{"negative seed", "seed: -1", "", `F:1: seed: "-1" is not an integer from 0 to`},
		{"list for scalar", "model: [a, b]", "", "F:1: model must be one value (text), not a list"},
		{"mapping for list", "data:\n  a: b", "", "data must be a list (texts), not a mapping"},
		{"list in list", "data: [a, [b]]", "", "F:1: item 2 of data must be a single value, not a list"},
		{"null", "model:\nseed: 1", "", "F:1: model has no value; write one, or delete the line"},
		{"not a mapping", "- a", "", "F:1: want a mapping of keys to values, not a list"},
		{"twice", "seed: 1\nseed: 2", "", "F:2: "},
		{"syntax", "seed: [1\nmodel: m", "", "not valid YAML"},
		{"tag", "seed: !!int 3", "", "F:1: YAML Tag is not supported"},
		{"two documents", "seed: 1\n---\nseed: 2", "", "more than one YAML document"},
		{"missing alias", "seed: *x", "", "F:1: alias *x has no anchor"},
		{"required", "seed: 1", "", "--model is required: start model; give the flag, or model: in the --config file"},
		{"validate", "model: m\nmax_steps: 13", "", "max_steps: 13 brings bad luck"},
		{"unknown flag", "", "--lerning-rate=1", "unknown flag --lerning-rate; did you mean `--learning-rate`?"},
		{"unknown short", "", "-q", "unknown shorthand flag: 'q' in -q"},
		{"far flag", "", "--zzzzzzzz", "unknown flag --zzzzzzzz; --help lists the flags"},
		{"flag value", "", "--learning-rate=x", `--learning-rate: "x" is not a finite number`},
		{"flag with a unit", "", "--max-steps=2k", `--max-steps: "2k" is not an integer; it is a number of steps, without a unit`},
		{"flag enum", "", "--lr-schedule=step", `--lr-schedule: "step" is not one of constant, linear, cosine`},
		{"flag without value", "", "--seed", "flag needs an argument: --seed"},
		{"set unknown", "", "--set sed=1", "--set sed=1: unknown key sed; did you mean `seed`?"},
		{"set value", "", "--set seed=x", `--set seed=x: seed: "x" is not an integer`},
		{"set form", "", "--set seed", "--set seed: want key=value"},
		{"no file", "", "--config /nope.yaml", "--config /nope.yaml: no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, file := strings.Fields(c.args), ""
			if c.yaml != "" {
				file = write(t, c.yaml)
				args = append(args, "--config", file)
			}
			_, err := parse(t, args...)
			require.Error(t, err)
			text := err.Error()
			if file != "" {
				text = strings.ReplaceAll(text, file, "F")
			}
			assert.Contains(t, text, c.want)
			assert.NotContains(t, err.Error(), "\n")
			assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
		})
	}
}

func TestAnchorsAndMerge(t *testing.T) {
	n, err := ParseYAML("f", []byte("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\n"))
	require.NoError(t, err)
	b := n.Get("b")
	assert.Equal(t, "1", b.Get("p").Text)
	assert.Equal(t, "3", b.Get("q").Text)
	_, err = ParseYAML("f", []byte("b:\n  <<: 3\n"))
	assert.ErrorContains(t, err, "f:2: << must merge a mapping")
}

func TestAliasBombIsRefused(t *testing.T) {
	var text strings.Builder
	text.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&text, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	_, err := ParseYAML("bomb", []byte(text.String()))
	assert.ErrorContains(t, err, "once aliases are expanded")
}

func TestDeepNestingIsRefused(t *testing.T) {
	for _, text := range []string{strings.Repeat("[", 500_000), strings.Repeat("{a: ", 200_000), "a: 1\n" + strings.Repeat("- ", 500_000)} {
		_, err := ParseYAML("deep", []byte(text))
		assert.ErrorContains(t, err, "nested more than 100 deep")
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
	_, err := ParseYAML("shallow", []byte("a: "+strings.Repeat("-", 500)+"\n# "+strings.Repeat("- ", 500)+"\nb: "+strings.Repeat("[", 99)+strings.Repeat("]", 99)))
	assert.NoError(t, err)
}

func TestNodePutAndChoices(t *testing.T) {
	n, err := ParseYAML("f", []byte("a: 1\nb: 2\n"))
	require.NoError(t, err)
	n.Put("a", &Node{Text: "3"})
	n.Put("c", &Node{Text: "4"})
	assert.Equal(t, []string{"a3", "b2", "c4"}, []string{n.Entries[0].Key + n.Entries[0].Value.Text,
		n.Entries[1].Key + n.Entries[1].Value.Text, n.Entries[2].Key + n.Entries[2].Value.Text})
	o := defaults()
	b := Bind(pflag.NewFlagSet("x", pflag.ContinueOnError), &o)
	assert.Equal(t, map[string][]string{"lr-schedule": {"constant", "linear", "cosine"}}, b.Choices())
}

func TestGetKeysInputs(t *testing.T) {
	o := defaults()
	o.Model, o.Data = "m", []string{"a", "b"}
	c := Of(&o)
	assert.Equal(t, []string{"m", "a", "b"}, c.Inputs())
	text, ok := c.Get("weights")
	assert.True(t, ok)
	assert.Equal(t, "0.5,0.5", text)
	_, ok = c.Get("nope")
	assert.False(t, ok)
	assert.True(t, c.Has("seed"))
	assert.False(t, c.Has("Cache"))
	assert.Same(t, &o, c.Target())
}

type mixed struct {
	Data      string `yaml:"data" help:"h" input:"path"`
	Reference string `yaml:"reference" help:"h"`
}

func (m *mixed) InputPaths() []string {
	dirs, _, _ := strings.Cut(m.Reference, "@")
	return strings.Split(dirs, ",")
}

func TestInputPathsInsideAValue(t *testing.T) {
	assert.Equal(t, []string{"d", "a", "b"}, Of(&mixed{"d", "a,b@.5,.5"}).Inputs())
}

type tabled struct {
	Loss string `yaml:"loss" help:"h"`
	Kind string `yaml:"kind" help:"h" enum:"x"`
	Free string `yaml:"free" help:"h"`
}

func (*tabled) Choices(key string) []string {
	return map[string][]string{"loss": {"hinge", "sigmoid"}, "kind": {"y"}}[key]
}

func TestChoicesOutOfATable(t *testing.T) {
	o := tabled{Loss: "hinge", Kind: "x"}
	require.EqualError(t, Of(&o).Set("loss", "sigmiod", "--set"), "--set: loss: \"sigmiod\" is not one of hinge, sigmoid; did you mean `sigmoid`?")
	require.NoError(t, Of(&o).Set("loss", "sigmoid", "--set"))
	require.Error(t, Of(&o).Set("kind", "y", "--set"), "a tag goes first")
	require.NoError(t, Of(&o).Set("free", "anything", "--set"))
}

func TestBadStructsPanic(t *testing.T) {
	for want, ptr := range map[string]any{
		"A has no yaml tag": &struct {
			A int `help:"h"`
		}{},
		"A: has no help tag": &struct {
			A int `yaml:"a"`
		}{},
		"cannot be an option": &struct {
			A map[string]int `yaml:"a" help:"h"`
		}{},
		"is not like >0": &struct {
			A int `yaml:"a" help:"h" check:"~3"`
		}{},
		"check needs a number": &struct {
			A string `yaml:"a" help:"h" check:">3"`
		}{},
		"declares the key a twice": &struct {
			A int `yaml:"a" help:"h"`
			B int `yaml:"a" help:"h"`
		}{},
		"default: -1 is out of range": &struct {
			A int `yaml:"a" help:"h" check:">0"`
		}{-1},
		"want a pointer to a struct": 3,
	} {
		assert.Condition(t, func() bool { return strings.Contains(panicText(func() { Of(ptr) }), want) }, want)
	}
}

func panicText(fn func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	fn()
	return ""
}

func TestSuggest(t *testing.T) {
	keys := []string{"learning_rate", "lr_schedule", "batch_size", "micro_batch_size", "seed", "max_grad_norm"}
	for typed, want := range map[string]string{
		"learnign_rate": "learning_rate", "LearningRate": "learning_rate", "lr": "learning_rate", "batchsize": "batch_size",
		"mbs": "micro_batch_size", "grad_norm": "max_grad_norm", "sead": "seed", "x": "", "": "", "batch": "batch_size", "temperature": "",
	} {
		assert.Equal(t, want, Suggest(typed, keys), typed)
	}
}

// FuzzText holds that any text survives Dump and --config.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "null", "~", "a: b", "- x", "\u2028", "\x00\t", "*a", "'", `"\`, "1e5", "é\r\n", "{", "#", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		type only struct {
			Text string   `yaml:"text" help:"h"`
			List []string `yaml:"list" help:"h"`
		}
		want := only{strings.ToValidUTF8(s, "\uFFFD"), []string{strings.ToValidUTF8(s, "\uFFFD")}}
		n, err := ParseYAML("f", Dump(&want))
		require.NoError(t, err, string(Dump(&want)))
		var got only
		require.NoError(t, Of(&got).Apply(n))
		require.Equal(t, want, got)
	})
}

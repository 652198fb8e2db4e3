package recipe

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/fault"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// trainKind and soupKind stand in for the options of real commands.
type trainKind struct {
	Model     string  `yaml:"model" help:"start model" required:"true" input:"path"`
	Reference string  `yaml:"reference" help:"reference model"`
	Data      string  `yaml:"data" help:"rows" input:"path"`
	Steps     int     `yaml:"max_steps" help:"steps" check:">0"`
	Rate      float64 `yaml:"learning_rate" help:"rate" check:">0"`
	Seed      uint64  `yaml:"seed" help:"seed"`
	Out       string  `yaml:"out" help:"output folder"`
	LogEvery  int     `yaml:"log_every" help:"rows" hash:"-"`
}

func (k *trainKind) Validate() error {
	if k.Steps == 13 {
		return errors.New("max_steps 13 is unlucky")
	}
	return nil
}

type soupKind struct {
	Models []string `yaml:"models" help:"members" required:"true" input:"path"`
	Out    string   `yaml:"out" help:"output folder"`
}

type selectKind struct {
	Models []string `yaml:"models" help:"candidates" required:"true" input:"path"`
	Keys   []string `yaml:"keys" help:"settings" required:"true"`
	By     string   `yaml:"by" help:"criterion"`
	Out    string   `yaml:"out" help:"output folder"`
}

var testKinds = map[string]func() any{
	"sft":  func() any { return &trainKind{Steps: 10, Rate: 1e-5, Seed: 7} },
	"ppo":  func() any { return &trainKind{Steps: 5, Rate: 1e-6} },
	"soup": func() any { return &soupKind{} },

	"select": func() any { return &selectKind{By: "gold"} },
}

const tiny = `name: tiny
about: two SFT runs, their soup, PPO against it
vars:
  model: {help: start model folder}
  steps: 200
  data: ${recipe_dir}/rows-${steps}.jsonl
  seeds: [1, 2]
stages:
  - name: ppo          # written first, runs last
    kind: ppo
    seeds: ${seeds}
    with:
      model: ${stage:sft}
      reference: ${stage:soup}
  - name: sft
    kind: sft
    seeds: ${seeds}
    with:
      model: ${model}
      data: ${data}
      max_steps: ${steps}
  - name: soup
    kind: soup
    with:
      models: ["${stage:sft}", "${model}"]
`

func load(t *testing.T, text string, p Params) (*Plan, error) {
	t.Helper()
	p.Kinds = testKinds
	if p.Env == nil {
		p.Env = func(name string) (string, bool) { return "from-env", name == "SET" }
	}
	return Load("dir/tiny.yaml", []byte(text), p)
}

func stageNames(p *Plan) []string {
	var out []string
	for _, s := range p.Stages {
		out = append(out, s.Name)
	}
	return out
}

func TestPlanExpandsOrdersAndDecodes(t *testing.T) {
	p, err := load(t, tiny, Params{Vars: []string{"model=base"}, Out: "out"})
	require.NoError(t, err)
	assert.Equal(t, []string{"sft-seed1", "sft-seed2", "soup", "ppo-seed1", "ppo-seed2"}, stageNames(p))
	sft, soup, ppo := p.Stages[1], p.Stages[2], p.Stages[4]
	assert.Equal(t, &trainKind{
		Model: "base", Data: "dir/rows-200.jsonl", Steps: 200, Rate: 1e-5, Seed: 2, Out: "out/stages/sft-seed2",
	}, sft.Options)
	assert.Equal(t, []string{"out/stages/sft-seed1", "out/stages/sft-seed2", "base"}, soup.Options.(*soupKind).Models)
	assert.Equal(t, []string{"sft-seed1", "sft-seed2"}, soup.Needs)
	assert.Equal(t, "out/stages/sft-seed2", ppo.Options.(*trainKind).Model, "the sibling of the same seed")
	assert.Equal(t, []string{"sft-seed2", "soup"}, ppo.Needs)
	assert.Equal(t, []Var{
		{"model", "base", "start model folder"}, {"steps", "200", ""}, {"data", "dir/rows-200.jsonl", ""}, {"seeds", "[1, 2]", ""},
	}, p.Vars)
}

func TestDefaultOutAndSeedVariable(t *testing.T) {
	p, err := load(t, `
name: x
stages:
  - {name: a, kind: sft, seeds: [3], with: {model: "m-${seed}$${y}-${env:SET}"}}
  - {name: b, kind: soup, needs: [a], with: {models: "${stage:a-*}"}}
`, Params{})
	require.NoError(t, err)
	assert.Equal(t, filepath.Join("runs", "x"), p.Out)
	assert.Equal(t, "m-3${y}-from-env", p.Stages[0].Options.(*trainKind).Model)
	assert.Equal(t, []string{"runs/x/stages/a-seed3"}, p.Stages[1].Options.(*soupKind).Models)
}

func TestVarsAndSetsOverride(t *testing.T) {
	p, err := load(t, tiny, Params{
		Vars: []string{"model=a=b", "seeds=4,5", "steps=3"},
		Sets: []string{"sft.learning_rate=1", "sft-seed5.learning_rate=2", "*.log_every=1", "ppo.reference=${stage:sft}"},
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"sft-seed4", "ppo-seed4", "sft-seed5", "ppo-seed5", "soup"}, stageNames(p))
	four, five := p.Stages[0].Options.(*trainKind), p.Stages[2].Options.(*trainKind)
	assert.Equal(t, "a=b", four.Model)
	assert.Equal(t, 3, four.Steps)
	assert.Equal(t, []float64{1, 2}, []float64{four.Rate, five.Rate})
	ppo := p.Stages[1].Options.(*trainKind)
	assert.Equal(t, 1, ppo.LogEvery)
	assert.Equal(t, "runs/tiny/stages/sft-seed4", ppo.Reference)
	assert.Equal(t, []string{"sft-seed4"}, p.Stages[1].Needs, "an overridden reference leaves no need behind")
}

func TestBadRecipes(t *testing.T) {
	stage := func(s string) string { return "name: r\nstages:\n  - " + s + "\n" }
	two := func(a, b string) string { return stage(a) + "  - " + b + "\n" }
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "dir/tiny.yaml:1: name is required"},
		{"not a mapping", "- a", "dir/tiny.yaml:1: want a mapping"},
		{"unknown top key", "name: r\nstage: []", "tiny.yaml:2: unknown key stage; did you mean `stages`?"},
		{"no stages", "name: r", "needs `stages:`, a list"},
		{"bad name", "name: a/b\nstages: [{name: a, kind: sft}]", `name "a/b" must be letters`},
		{"unknown stage key", stage("{name: a, knid: sft}"), "tiny.yaml:3: unknown key knid; did you mean `kind`?"},
		{"misspelt with", stage("{name: a, kind: sft, wth: {}}"), "tiny.yaml:3: unknown key wth; did you mean `with`?"},
		{"no kind", stage("{name: a}"), "tiny.yaml:3: kind is required"},
		{"unknown kind", stage("{name: a, kind: stf}"), "stage a: unknown kind stf; did you mean `sft`?"},
		{"far kind", stage("{name: a, kind: zzz}"), "unknown kind zzz; known kinds: ppo, select, sft, soup"},
		{"unknown option", stage("{name: a, kind: sft,\n     with: {model: m, max_stps: 3}}"), "tiny.yaml:4: unknown key max_stps; did you mean `max_steps`?"},
		{"option type", stage("{name: a, kind: sft, with: {model: m, max_steps: x}}"), `tiny.yaml:3: max_steps: "x" is not an integer`},
		{"option range", stage("{name: a, kind: sft, with: {model: m, max_steps: 0}}"), "it must be >0"},
		{"missing option", stage("{name: a, kind: sft}"), "tiny.yaml:3: stage a: model is required under with:"},
		{"validate", stage("{name: a, kind: sft, with: {model: m, max_steps: 13}}"), "tiny.yaml:3: stage a: max_steps 13 is unlucky"},
		{"with list", stage("{name: a, kind: sft, with: [1]}"), "with must be a mapping"},
		{"out given", stage("{name: a, kind: sft, with: {model: m, out: o}}"), "out is chosen by the recipe (runs/r/stages/a); delete it"},
		{"seed and seeds", stage("{name: a, kind: sft, seeds: [1], with: {model: m, seed: 2}}"), "has seeds, which set seed"},
		{"seed twice", stage("{name: a, kind: sft, seeds: [1, 1], with: {model: m}}"), "has the seed 1 twice"},
		{"seed without seeds", stage("{name: a, kind: sft, with: {model: \"${seed}\"}}"), "${seed} is not defined"},
		{"same name", two("{name: a, kind: sft, with: {model: m}}", "{name: a, kind: sft, with: {model: m}}"), "tiny.yaml:4: stage name a is taken by the stage at dir/tiny.yaml:3"},
		{"same line", "name: r\nstages: [{name: a, kind: sft, with: {model: m}}, {name: a, kind: sft, with: {model: m}}]", "stage name a is taken"},
		{"expanded clash", two("{name: a, kind: sft, seeds: [1], with: {model: m}}", "{name: a-seed1, kind: sft, with: {model: m}}"), "stage name a-seed1 is taken"},
		{"unknown need", stage("{name: a, kind: sft, needs: [b], with: {model: m}}"), "stage a needs the stage b, which is not in the recipe"},
		{"unknown reference", two("{name: alpha, kind: sft, with: {model: m}}", "{name: b, kind: sft, with: {model: \"${stage:alhpa}\"}}"), "tiny.yaml:4: ${stage:alhpa}: the stage alhpa, which is not in the recipe; did you mean `alpha`?"},
		{"self", stage("{name: a, kind: sft, with: {model: \"${stage:a}\"}}"), "stages need one another in a circle: a needs a"},
		{"cycle", two("{name: a, kind: sft, with: {model: \"${stage:b}\"}}", "{name: b, kind: sft, needs: [a], with: {model: m}}"), "in a circle: a needs b needs a"},
		{"list inside text", two("{name: a, kind: sft, seeds: [1, 2], with: {model: m}}", "{name: b, kind: sft, with: {model: \"${stage:a}/x\"}}"), "is a list and must stand alone"},
		{"list for scalar", two("{name: a, kind: sft, seeds: [1, 2], with: {model: m}}", "{name: b, kind: sft, with: {model: \"${stage:a}\"}}"), "tiny.yaml:4: model must be one value (text), not a list"},
		{"unknown variable", "vars: {model: m}\n" + stage("{name: a, kind: sft, with: {model: \"${modle}\"}}"), "tiny.yaml:4: ${modle} is not defined; did you mean `model`?"},
		{"unclosed", stage("{name: a, kind: sft, with: {model: \"${x\"}}"), "has no closing brace"},
		{"environment", stage("{name: a, kind: sft, with: {model: \"${env:UNSET}\"}}"), "tiny.yaml:3: ${env:UNSET}: environment variable UNSET is not set; export it"},
		{"required vars", "vars:\n  a:\n  b: {help: data folder}\n" + stage("{name: a, kind: sft}"), "no value for a, b (data folder); give each as --var name=value"},
		{"required by a default", "vars:\n  a:\n  b: {default: \"${a}\"}\n  c:\n" + stage("{name: a, kind: sft}"), "no value for a, c; give each as --var name=value"},
		{"builtin var", "vars: {seed: 1}\n" + stage("{name: a, kind: sft}"), "${seed} is built in"},
		{"var keys", "vars: {a: {hlep: x}}\n" + stage("{name: a, kind: sft}"), "unknown key hlep; did you mean `help`?"},
		{"vars list", "vars: [a]\n" + stage("{name: a, kind: sft}"), "vars must be a mapping"},
		{"var name", "vars: {a.b: 1}\n" + stage("{name: a, kind: sft}"), `variable name "a.b" must be`},
		{"var order", "vars: {a: \"${b}\", b: 1}\n" + stage("{name: a, kind: sft}"), "${b} is not defined"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.text, Params{})
			requireInput(t, err, c.want)
		})
	}
}

func TestBadOverrides(t *testing.T) {
	for _, c := range []struct{ vars, sets, want string }{
		{"modle=x", "", "--var modle=x: the recipe has no variable modle; did you mean `model`?"},
		{"zzzzz=x", "", "it has: model, steps, data, seeds"},
		{"model", "", "--var model: want name=value"},
		{"model=m", "sft=3", "--set sft=3: want stage.key=value"},
		{"model=m", "stf.max_steps=3", "--set stf.max_steps=3: no stage stf; did you mean `sft`?"},
		{"model=m", "*.zzz=3", "--set *.zzz=3: no stage has an option zzz"},
		{"model=m", "sft.max_stps=3", "--set sft.max_stps=3: unknown key max_stps; did you mean `max_steps`?"},
		{"model=m", "sft.max_steps=x", `--set sft.max_steps=x: max_steps: "x" is not an integer`},
		{"model=m", "sft.out=x", "out is chosen by the recipe"},
	} {
		p := Params{Vars: []string{c.vars}}
		if c.sets != "" {
			p.Sets = []string{c.sets}
		}
		_, err := load(t, tiny, p)
		requireInput(t, err, c.want)
	}
}

// requireInput holds that err is a one-line mistake of the user's that contains want.
func requireInput(t *testing.T, err error, want string) {
	t.Helper()
	require.Error(t, err)
	assert.Contains(t, err.Error(), want)
	assert.False(t, strings.Contains(err.Error(), "\n"), err.Error())
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
}

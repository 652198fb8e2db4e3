package recipe

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func names(p *Plan) []string {
	var out []string
	for _, s := range p.Stages {
		out = append(out, s.Name)
	}
	return out
}

func TestGridMultipliesAStage(t *testing.T) {
	p, err := load(t, `name: r
vars: {rates: [1e-3, 1e-4]}
stages:
  - {name: a, kind: sft, seeds: [1, 2], grid: {learning_rate: "${rates}", max_steps: [3, 4]}, with: {model: m}}
  - {name: b, kind: ppo, seeds: [2], with: {model: m}}
  - {name: c, kind: soup, with: {models: ["${stage:a}", "${stage:a-grid2-seed1}", "${stage:b}"]}}
`, Params{})
	require.NoError(t, err)
	require.Equal(t, []string{"a-grid1-seed1", "a-grid1-seed2", "a-grid2-seed1", "a-grid2-seed2", "a-grid3-seed1", "a-grid3-seed2",
		"a-grid4-seed1", "a-grid4-seed2", "b-seed2", "c"}, names(p))
	third := p.find("a-grid3-seed2").Options.(*trainKind)
	assert.Equal(t, trainKind{Model: "m", Rate: 1e-4, Steps: 3, Seed: 2, Out: "runs/r/stages/a-grid3-seed2"}, *third)
	assert.Len(t, p.find("c").Options.(*soupKind).Models, 10)
	assert.Len(t, p.find("c").Needs, 9)
}

const tuned = `name: r
vars: {steps: 5}
tuning:
  seed: 9
  with: {by: reward}
stages:
  - {name: start, kind: sft, with: {model: "${recipe_dir}/model"}}
  - name: m
    kind: ppo
    seeds: [1, 2]
    tune: {learning_rate: [0.1, 0.2, 0.3]}
    with: {model: "${stage:start}", max_steps: "${steps}"}
  - {name: end, kind: soup, with: {models: "${tuned}"}}
`

func TestTuneUnfolds(t *testing.T) {
	p, err := load(t, tuned, Params{Sets: []string{"m.reference=x", "m.max_steps=6"}})
	require.NoError(t, err)
	require.Equal(t, []string{"start", "m-tune-grid1", "m-tune-grid2", "m-tune-grid3", "m-choice", "m-seed1", "m-seed2", "end"}, names(p))
	assert.Equal(t, trainKind{Model: "runs/r/stages/start", Reference: "x", Steps: 6, Rate: 0.2, Seed: 9, Out: "runs/r/stages/m-tune-grid2"},
		*p.find("m-tune-grid2").Options.(*trainKind))
	choice := p.find("m-choice")
	assert.Equal(t, selectKind{Models: []string{"runs/r/stages/m-tune-grid1", "runs/r/stages/m-tune-grid2", "runs/r/stages/m-tune-grid3"},
		Keys: []string{"learning_rate"}, By: "reward", Out: "runs/r/stages/m-choice"}, *choice.Options.(*selectKind))
	final := p.find("m-seed2")
	assert.Equal(t, trainKind{Model: "runs/r/stages/start", Reference: "x", Steps: 6, Rate: 1e-6, Seed: 2, Out: "runs/r/stages/m-seed2"},
		*final.Options.(*trainKind), "until the choice is made the option holds its default")
	assert.Equal(t, []string{"start", "m-choice"}, final.Needs)
	assert.Equal(t, []string{"runs/r/stages/m-seed1", "runs/r/stages/m-seed2"}, p.find("end").Options.(*soupKind).Models)
	p, err = load(t, strings.Replace(tuned, "${tuned}", "${choices}", 1), Params{})
	require.NoError(t, err)
	assert.Equal(t, []string{"runs/r/stages/m-choice"}, p.find("end").Options.(*soupKind).Models)

	p, err = load(t, tuned, Params{Sets: []string{"m.learning_rate=0.7"}})
	require.NoError(t, err)
	assert.InDelta(t, 0.7, p.find("m-seed1").Options.(*trainKind).Rate, 0, "a value set by hand replaces the choice")
	assert.InDelta(t, 0.1, p.find("m-tune-grid1").Options.(*trainKind).Rate, 0)
}

// tunedBench runs a recipe whose select stages choose what the map says.
func tunedBench(t *testing.T, text string, chosen map[string]string) (b *bench, run func() error, rates map[string]float64) {
	b = newBench(t)
	rates = map[string]float64{}
	run = func() error {
		plan, err := Load(filepath.Join(b.dir, "r.yaml"), []byte(text), Params{Out: b.out(), Kinds: testKinds})
		require.NoError(t, err)
		b.ran = nil
		return (&Runner{Plan: plan, Console: &b.console, Exec: func(_ context.Context, s *Stage, dir string) error {
			b.ran = append(b.ran, s.Name)
			if o, ok := s.Options.(*trainKind); ok {
				rates[s.Name] = o.Rate
			}
			require.NoError(t, b.work(s, dir))
			if s.Kind != choiceKind {
				return nil
			}
			raw, err := json.Marshal(Choice{Values: chosen})
			require.NoError(t, err)
			return os.WriteFile(filepath.Join(dir, ChoiceFile), raw, 0o644)
		}}).Run(context.Background())
	}
	return b, run, rates
}

func TestAChoiceReachesLaterStages(t *testing.T) {
	chosen := map[string]string{"learning_rate": "0.2"}
	text := tuned
	b, run, rates := tunedBench(t, text, chosen)
	require.NoError(t, run())
	assert.Equal(t, []string{"start", "m-tune-grid1", "m-tune-grid2", "m-tune-grid3", "m-choice", "m-seed1", "m-seed2", "end"}, b.ran)
	assert.InDelta(t, 0.2, rates["m-seed2"], 0)
	first, err := ReadState(b.out())
	require.NoError(t, err)
	require.NoError(t, run())
	assert.Empty(t, b.ran)

	again := func() { // choosing again: its folder is lost
		require.NoError(t, os.RemoveAll(filepath.Join(b.out(), "stages", "m-choice")))
		require.NoError(t, run())
	}
	again()
	assert.Equal(t, []string{"m-choice"}, b.ran, "the same choice redoes nothing")
	chosen["learning_rate"] = "0.3"
	again()
	assert.Equal(t, []string{"m-choice", "m-seed1", "m-seed2", "end"}, b.ran, "another choice redoes what uses it")
	assert.InDelta(t, 0.3, rates["m-seed1"], 0)
	last, err := ReadState(b.out())
	require.NoError(t, err)
	for _, name := range []string{"m-seed1", "m-seed2", "end"} {
		assert.NotEqual(t, first.find(name).Key, last.find(name).Key, "the value is part of the key")
		assert.Equal(t, Done, last.find(name).Status)
	}
}

func TestAFailureBeforeTheChoiceKeepsWhatIsDone(t *testing.T) {
	b, run, _ := tunedBench(t, tuned, map[string]string{"learning_rate": "0.2"})
	require.NoError(t, run())
	require.NoError(t, os.RemoveAll(filepath.Join(b.out(), "stages", "m-choice")))
	plan, err := Load(filepath.Join(b.dir, "r.yaml"), []byte(tuned), Params{Out: b.out(), Kinds: testKinds})
	require.NoError(t, err)
	fail := func(context.Context, *Stage, string) error { return assert.AnError }
	require.ErrorIs(t, (&Runner{Plan: plan, Exec: fail}).Run(context.Background()), assert.AnError)
	state, err := ReadState(b.out())
	require.NoError(t, err)
	assert.Equal(t, Done, state.find("m-seed1").Status, "its turn has not come, so its record stands")
	require.NoError(t, run())
	assert.Equal(t, []string{"m-choice"}, b.ran)
}

func TestAChoiceOfABadValueIsNamed(t *testing.T) {
	_, run, _ := tunedBench(t, tuned, map[string]string{"learning_rate": "-1"})
	requireInput(t, run(), "it must be >0")
	_, run, _ = tunedBench(t, tuned, map[string]string{"max_steps": "1"})
	requireInput(t, run(), "holds no value of learning_rate")
}

func TestPreviewOfOpenStages(t *testing.T) {
	b := newBench(t)
	plan, err := Load(filepath.Join(b.dir, "r.yaml"), []byte(tuned), Params{Out: b.out(), Kinds: testKinds})
	require.NoError(t, err)
	require.NoError(t, (&Runner{Plan: plan, Console: &b.console}).Preview())
	assert.Contains(t, b.console.String(), "m-choice      select   would run, after")
	assert.Contains(t, b.console.String(), "m-seed1       ppo      would run unless it is done with what will be chosen, after start, m-choice")
}

func TestBadGridsAndChoices(t *testing.T) {
	item := func(text string) string { return "name: r\nstages:\n  - " + text + "\n" }
	for _, c := range []struct{ name, text, want string }{
		{"grid is no mapping", item("{name: a, kind: sft, grid: [1], with: {model: m}}"), "tiny.yaml:3: grid must map options to lists"},
		{"grid of one value", item("{name: a, kind: sft, grid: {max_steps: 1}, with: {model: m}}"), "grid: max_steps must be a list of the values to try, not a single value"},
		{"grid of nothing", item("{name: a, kind: sft, grid: {max_steps: []}, with: {model: m}}"), "must be a list of the values to try"},
		{"grid of an unknown option", item("{name: a, kind: sft, grid: {max_stps: [1]}, with: {model: m}}"), "did you mean `max_steps`?"},
		{"grid and with", item("{name: a, kind: sft, grid: {max_steps: [1]}, with: {model: m, max_steps: 2}}"), "max_steps stands in the grid and under with"},
		{"grid over seeds", item("{name: a, kind: sft, grid: {seed: [1]}, with: {model: m}}"), "use seeds for several seeds"},
		{"tune without tuning", item("{name: a, kind: sft, tune: {max_steps: [1]}, with: {model: m}}"), "tune needs `tuning:`"},
		{"tune is no mapping", "tuning: {}\n" + item("{name: a, kind: sft, tune: 3, with: {model: m}}"), "tune must map options to lists"},
		{"tune and with", "tuning: {}\n" + item("{name: a, kind: sft, tune: {max_steps: [1]}, with: {model: m, max_steps: 2}}"), "stands in the grid and under with"},
		{"tuning key", "tuning: {whit: {}}\n" + item("{name: a, kind: sft, tune: {max_steps: [1]}, with: {model: m}}"), "did you mean `with`?"},
		{"choice of no stage", item("{name: a, kind: sft, with: {model: m, max_steps: \"${choice:b.max_steps}\"}}"), "the stage b, which is not in the recipe"},
		{"choice of no key", item("{name: a, kind: sft, with: {model: m, max_steps: \"${choice:b}\"}}"), "write it as ${choice:STAGE.option}"},
		{"choice of a trainer", item("{name: b, kind: sft, with: {model: m}}\n  - {name: a, kind: sft, with: {model: m, max_steps: \"${choice:b.max_steps}\"}}"), "stage b is of kind sft; only select makes choices"},
		{"choice of what is not chosen", item("{name: b, kind: select, with: {models: m, keys: learning_rate}}\n  - {name: a, kind: sft, with: {model: m, max_steps: \"${choice:b.max_steps}\"}}"), "stage b chooses learning_rate, not max_steps"},
		{"choice for an unknown option", item("{name: b, kind: select, with: {models: m, keys: max_steps}}\n  - {name: a, kind: sft, with: {model: m, max_stps: \"${choice:b.max_steps}\"}}"), "unknown key max_stps; did you mean `max_steps`?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.text, Params{})
			requireInput(t, err, c.want)
		})
	}
}

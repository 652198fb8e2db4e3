package runreport

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/eval"
	"salsa/internal/fault"
	"salsa/internal/job"
	"salsa/internal/recipe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// compareWorld is world's evaluation with a third method, dpo, tuned and without samples of its own, in an eval.json
// of its own.
func compareWorld(t *testing.T) (*CompareOptions, *Options) {
	t.Helper()
	w := world(t, 0.2, 0.21, 0.19)
	root := filepath.Dir(filepath.Dir(w.Eval))
	var e job.Evaluation
	require.NoError(t, readJSON(filepath.Join(w.Eval, "eval.json"), &e))
	second := e
	second.Models = nil
	for i, from := range e.Models[2:5] {
		from.Name = []string{"dpo-seed1", "dpo-seed2", "dpo-seed3"}[i]
		from.Dir = fakeRun(t, root, from.Name, "beta: 0.5\nreference: stages/sft-seed1\nmodel: stages/sft-seed1\n", 10, func(int) map[string]float64 {
			return map[string]float64{"loss": 1, "s_per_step": 2}
		})
		from.Gold = append([]float64{}, from.Gold...)
		for k := range from.Gold {
			from.Gold[k] -= 0.5
		}
		from.Safety = from.Gold
		second.Models = append(second.Models, from)
	}
	other := filepath.Join(root, "stages", "eval2")
	writeFake(t, filepath.Join(other, "eval.json"), second)
	choice := filepath.Join(root, "stages", "dpo-choice")
	writeFake(t, filepath.Join(choice, "choice.json"), recipe.Choice{By: "gold", Chosen: "dpo-tune-grid2", Values: map[string]string{"beta": "0.5"},
		Candidates: []recipe.Candidate{{Name: "dpo-tune-grid1", Values: map[string]string{"beta": "0.1"}, Mean: 0.1}, {Name: "dpo-tune-grid2", Values: map[string]string{"beta": "0.5"}, Mean: 0.2}}})
	o := DefaultCompare()
	o.Eval, o.Choices, o.KLTo, o.OfflineSamples = []string{w.Eval, other}, []string{choice}, "sft-seed1", 5120
	o.Out = filepath.Join(root, "compared")
	return &o, w
}

func compared(t *testing.T, o *CompareOptions) (comparedNumbers, map[string]methodRow) {
	t.Helper()
	_, err := Compare(context.Background(), o)
	require.NoError(t, err)
	var n comparedNumbers
	require.NoError(t, readJSON(filepath.Join(o.Out, "compare.json"), &n))
	rows := map[string]methodRow{}
	for _, r := range n.Methods {
		rows[r.Method] = r
	}
	return n, rows
}

func TestCompareNumbers(t *testing.T) {
	o, w := compareWorld(t)
	n, rows := compared(t, o)
	var order []string
	for _, r := range n.Methods {
		order = append(order, r.Method)
	}
	assert.Equal(t, []string{"ppo", "sft-seed1", "sft", "salsa", "dpo"}, order, "the baseline first; the KL's model stands for itself")
	assert.Equal(t, "gold", n.Judge)
	assert.Equal(t, []string{"1", "2", "3"}, rows["salsa"].Seeds)

	gold := rows["salsa"].Measures["gold"]
	assert.InDelta(t, rows["ppo"].Measures["gold"].Mean+0.2, gold.Mean, 1e-9)
	assert.InDelta(t, 0.01, gold.SD, 1e-9, "of 0.20, 0.21, 0.19")
	assert.Len(t, gold.PerSeed, 3)
	assert.Less(t, gold.Low, gold.Mean)
	assert.InDelta(t, 9, rows["salsa"].Measures["kl"].Mean, 1e-9)
	assert.Contains(t, rows["dpo"].Measures, "safety")
	assert.NotContains(t, rows["ppo"].Measures, "safety")

	var e job.Evaluation
	require.NoError(t, readJSON(filepath.Join(w.Eval, "eval.json"), &e))
	wins, err := (eval.Bootstrap{}).FromScores(e.Models[3].Gold, e.Models[2].Gold, 0, nil)
	require.NoError(t, err)
	assert.InDelta(t, wins.Rate.Mean, 1, 0, "seed 1 of salsa beats seed 1 of ppo everywhere")
	assert.InDelta(t, 1, rows["salsa"].WinRate.Mean, 0)
	assert.Zero(t, rows["dpo"].WinRate.Mean)
	assert.Less(t, rows["dpo"].WinRate.High, 0.2, "an interval, though all agree")
	assert.Nil(t, rows["ppo"].WinRate)
	assert.InDelta(t, 0.2, rows["salsa"].Against.Mean, 1e-9)

	assert.InDelta(t, 20, rows["dpo"].Seconds, 1e-9)
	assert.InDelta(t, 5120, rows["dpo"].Samples, 0)
	assert.True(t, rows["dpo"].Offline)
	assert.Zero(t, rows["sft"].Samples, "an SFT model learnt from no samples")
	assert.Equal(t, []chosen{{Key: "beta", Value: "0.5", Tried: []string{"0.1", "0.5"}}}, rows["dpo"].Chosen)
}

func TestComparePageAndTable(t *testing.T) {
	o, _ := compareWorld(t)
	compared(t, o)
	raw, err := os.ReadFile(filepath.Join(o.Out, CompareTable))
	require.NoError(t, err)
	table := string(raw)
	assert.Contains(t, table, "Beyond the luck of prompts and of training, 1 of the methods end above ppo in gold reward and 1 below.")
	assert.Contains(t, table, "Above: salsa")
	assert.Contains(t, table, "Below: dpo")
	var rows []string
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "|") {
			rows = append(rows, line)
			assert.Equal(t, strings.Count(rows[0], "|"), strings.Count(line, "|"), line)
		}
	}
	require.Len(t, rows, 7)
	assert.Contains(t, rows[0], "| Wins against ppo, % |")
	assert.Regexp(t, `^\| dpo 3 seeds \| .* \| 5120 offline \| 20 s \| beta 0\.5 of 0\.1, 0\.5 \|`, rows[6])

	page, err := os.ReadFile(filepath.Join(o.Out, Page))
	require.NoError(t, err)
	for _, want := range []string{"Gold reward over KL", "Exact safety over KL", "Win rate against ppo", "Every run", "Tuning", "an answer", "dpo, mean of 3: KL to sft-seed1 8"} {
		assert.Contains(t, string(page), want)
	}
	assert.FileExists(t, filepath.Join(o.Out, "frontier.svg"))
	compared(t, o) // its own folder can be written again
}

func TestCompareGroupsAsTold(t *testing.T) {
	o, w := compareWorld(t)
	o.Methods = []string{"soups=" + w.SALSA[0] + "," + w.SALSA[2], "ppo=" + strings.Join(w.PPO, ",")}
	_, rows := compared(t, o)
	assert.Equal(t, []string{"1", "3"}, rows["soups"].Seeds)
	assert.Equal(t, []string{"2"}, rows["salsa"].Seeds)
	raw, err := os.ReadFile(filepath.Join(o.Out, CompareTable))
	require.NoError(t, err)
	assert.Contains(t, string(raw), "Above: soups")
	assert.Contains(t, string(raw), "Not told apart: salsa", "one seed cannot tell")
}

func TestCompareRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		spoil func(t *testing.T, o *CompareOptions, w *Options)
		want  string
	}{
		"no such baseline": {func(_ *testing.T, o *CompareOptions, _ *Options) { o.Baseline = "pop" }, "--baseline pop: no such method among those evaluated: sft-seed1, sft, ppo, salsa, dpo; give one of them; did you mean `ppo`?"},
		"no such KL":       {func(_ *testing.T, o *CompareOptions, _ *Options) { o.KLTo = "soup" }, `measures the KL to sft-seed1, not to "soup"`},
		"folder not evaluated": {func(_ *testing.T, o *CompareOptions, w *Options) { o.Methods = []string{"rm=" + w.Reward} },
			"is not among the models of --eval; evaluate it too"},
		"choice of no method": {func(t *testing.T, o *CompareOptions, w *Options) {
			dir := filepath.Join(filepath.Dir(w.Eval), "rm-choice")
			writeFake(t, filepath.Join(dir, "choice.json"), recipe.Choice{})
			o.Choices = []string{dir}
		}, "there is no method rm"},
		"other prompts": {func(t *testing.T, o *CompareOptions, _ *Options) {
			var e job.Evaluation
			path := filepath.Join(o.Eval[1], "eval.json")
			require.NoError(t, readJSON(path, &e))
			e.Prompts[3] = "another"
			writeFake(t, path, e)
		}, "other prompts, samples or temperature than in"},
	} {
		t.Run(name, func(t *testing.T) {
			o, w := compareWorld(t)
			x.spoil(t, o, w)
			_, err := Compare(context.Background(), o)
			var f *fault.Error
			require.ErrorAs(t, err, &f)
			assert.Contains(t, err.Error(), x.want)
			assert.NoDirExists(t, o.Out)
		})
	}
	o := DefaultCompare()
	o.Methods = []string{"salsa"}
	require.ErrorContains(t, o.Validate(), "want LABEL=DIR,DIR")
}

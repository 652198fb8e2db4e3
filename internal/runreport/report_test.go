package runreport

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"salsa/eval"
	"salsa/internal/fault"
	"salsa/internal/job"
	"salsa/internal/metrics"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeRun writes a run folder with the given metrics per step and returns its path.
func fakeRun(t *testing.T, root, name, settings string, steps int, values func(step int) map[string]float64) string {
	t.Helper()
	dir := filepath.Join(root, "stages", name)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "run.yaml"), []byte(settings), 0o644))
	f, err := metrics.Open(filepath.Join(dir, "metrics.jsonl"), metrics.Fresh)
	require.NoError(t, err)
	for step := 1; step <= steps; step++ {
		require.NoError(t, f.Log(step, values(step)))
	}
	require.NoError(t, f.Close())
	return dir
}

// bend is a PPO run whose KL grows by 0.1 a step; gold rises to a peak at KL 5 and falls, the score goes on rising.
func bend(height float64) func(step int) map[string]float64 {
	return func(step int) map[string]float64 {
		kl := 0.1 * float64(step)
		return map[string]float64{keyKL: kl, keyKLStart: kl, keyScore: 0.2 * kl, keyGold: height * (1 - (kl-5)*(kl-5)/25),
			"completions/mean_length": 9, "policy/entropy_avg": 1, "kl_coef": 0.02}
	}
}

// world is a pipeline's folder: two SFT runs, a reward model, PPO and SALSA with as many seeds as gaps, a sweep and
// an evaluation in which SALSA's gold exceeds PPO's of the same seed by gaps[seed-1] on every prompt.
func world(t *testing.T, gaps ...float64) *Options {
	t.Helper()
	root := t.TempDir()
	o := Default()
	o.Title, o.Lead, o.Out = "A comparison", "A task with <tags> & signs.", filepath.Join(root, "out")
	loss := func(step int) map[string]float64 {
		return map[string]float64{"loss": 3 / float64(step), "eval_loss": 1.5}
	}
	o.SFT = []string{fakeRun(t, root, "sft-seed1", "seed: 1\nbatch_size: 32\n", 20, loss), fakeRun(t, root, "sft-seed2", "seed: 2\nbatch_size: 32\n", 20, loss)}
	o.Reward = fakeRun(t, root, "rm", "seed: 1\ndata: [\"a/pairs.jsonl\"]\n", 20, func(int) map[string]float64 {
		return map[string]float64{"loss": 0.5, "accuracy": 0.75, "eval_accuracy": 0.7}
	})
	rng := rand.New(rand.NewPCG(7, 7))
	e := job.Evaluation{Samples: 2, Temperature: 1}
	for p := range 40 {
		e.Prompts = append(e.Prompts, fmt.Sprintf("prompt %d:", p))
	}
	common := make([]float64, 80)
	for i := range common {
		common[i] = rng.NormFloat64()
	}
	add := func(dir string, gold, kl float64) {
		m := job.EvaluatedModel{Name: lastName(dir), Dir: dir}
		m.KL = map[string][]float64{}
		for i, c := range common {
			m.Gold, m.Reward = append(m.Gold, gold+c), append(m.Reward, 2*gold+c)
			m.Length, m.Ended = append(m.Length, 5), append(m.Ended, i%2 == 0)
			m.KL["sft-seed1"], m.Text = append(m.KL["sft-seed1"], kl), append(m.Text, "an answer")
		}
		e.Models = append(e.Models, m)
	}
	add(o.SFT[0], 0.1, 0)
	add(o.SFT[1], 0.1, 0.2)
	for i, gap := range gaps {
		ppo := fmt.Sprintf("seed: %d\nmax_steps: 100\nreference: stages/sft-seed1\nkl_coef: 0.02\n", i+1)
		salsa := strings.Replace(ppo, "sft-seed1", "sft-seed1,stages/sft-seed2@0.5,0.5", 1)
		o.PPO = append(o.PPO, fakeRun(t, root, fmt.Sprintf("ppo-seed%d", i+1), ppo, 100, bend(0.5)))
		o.SALSA = append(o.SALSA, fakeRun(t, root, fmt.Sprintf("salsa-seed%d", i+1), salsa, 100, bend(0.6)))
		add(o.PPO[i], 0.3, 8)
		add(o.SALSA[i], 0.3+gap, 9)
	}
	o.Eval = filepath.Join(root, "stages", "eval")
	writeFake(t, filepath.Join(o.Eval, "eval.json"), e)
	o.Sweep = filepath.Join(root, "stages", "sweep")
	writeFake(t, filepath.Join(o.Sweep, "sweep.json"), fakeSweep(o.SFT, 2, 2.5, 2))
	writeFake(t, filepath.Join(root, "state.json"), map[string]any{"recipe": "demo", "stages": []map[string]any{
		{"name": "ppo-seed1", "kind": "ppo", "status": "done", "key": "k", "seconds": 30.0}}})
	return &o
}

func fakeSweep(members []string, losses ...float64) job.Sweep {
	s := job.Sweep{Members: members}
	for i, loss := range losses {
		s.Points = append(s.Points, job.SweepPoint{Alpha: float64(i) / float64(len(losses)-1), Measures: job.Measures{Loss: &loss, KL: map[string]float64{"sft-seed1": 1, "sft-seed2": 2}}})
	}
	return s
}

func writeFake(t *testing.T, path string, content any) {
	t.Helper()
	raw, err := json.Marshal(content)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, raw, 0o644))
}

// made runs the report and returns its scalars, its numbers and its page.
func made(t *testing.T, o *Options) (map[string]float64, findings, string) {
	t.Helper()
	scalars, err := Write(context.Background(), o)
	require.NoError(t, err)
	var f findings
	require.NoError(t, readJSON(filepath.Join(o.Out, "report.json"), &f))
	page, err := os.ReadFile(filepath.Join(o.Out, "report.html"))
	require.NoError(t, err)
	return scalars, f, string(page)
}

func TestReportIsWrittenAgain(t *testing.T) {
	o := world(t, 0.19, 0.20)
	made(t, o)
	o.Title, o.PPO, o.SALSA = "A second look", nil, nil
	_, _, page := made(t, o)
	assert.Contains(t, page, "A second look")
	assert.NoFileExists(t, filepath.Join(o.Out, frontierFile), "no chart of runs that the page does not show")
}

func TestReportNumbers(t *testing.T) {
	scalars, f, page := made(t, world(t, 0.19, 0.20, 0.21))
	require.Equal(t, "gold", f.Differences[0].Measure)
	gold := f.Differences[0]
	assert.InDelta(t, 0.2, gold.Mean, 1e-9)
	assert.InDelta(t, 0.2, gold.Low, 1e-9, "the same gap on every prompt: pairing must cancel what prompts have in common")
	assert.InDeltaSlice(t, []float64{0.19, 0.20, 0.21}, gold.PerSeed, 1e-9)
	assert.InDelta(t, 0.2-4.302652730*0.01/math.Sqrt(3), gold.OverSeeds.Low, 1e-6, "Student's t with 2 degrees of freedom")
	assert.InDelta(t, 0.7, f.RewardModel.Held, 1e-12)
	assert.InDelta(t, 0.2, scalars["difference/gold"], 1e-9)
	assert.InDelta(t, 1, scalars["difference/kl"], 1e-9)
	assert.Equal(t, []string{"SFT 1", "SFT 2", "PPO", "SALSA"}, []string{f.Table[0].Method, f.Table[1].Method, f.Table[2].Method, f.Table[3].Method})
	assert.InDelta(t, 1, f.Table[3].WinGold.Mean, 1e-12)
	assert.InDelta(t, 0, f.Table[0].WinGold.Mean, 1e-12)
	assert.Nil(t, f.Table[2].WinGold, "PPO does not play against itself")
	assert.InDelta(t, 0.5, f.Table[2].Measures["ended"].Mean, 1e-12)
	assert.Contains(t, page, "soup of SFT 1 and SFT 2, shares 0.5 and 0.5")
	assert.Contains(t, page, "<code>reference</code> and the seed", "all that PPO and SALSA differ in")
	assert.Contains(t, page, "A task with &lt;tags&gt; &amp; signs.")
}

func TestReportFrontierNumbers(t *testing.T) {
	_, f, page := made(t, world(t, 0.2, 0.2))
	require.Len(t, f.Summits, 4)
	ppo := f.Summits[0]
	assert.InDelta(t, 5, ppo.Best.KL, 0.4)
	assert.InDelta(t, 0.5, ppo.Best.Value, 0.01)
	assert.True(t, ppo.bent())
	assert.False(t, f.Summits[2].bent(), "the score never falls")
	assert.Contains(t, page, ": over-optimisation.")
	require.Len(t, f.EqualKL, 4)
	for _, e := range f.EqualKL {
		assert.InDelta(t, 1.2, e.SALSA/e.PPO, 1e-6, "0.6 to 0.5 everywhere, at KL %g", e.KL)
		assert.Len(t, e.PerSeed, 2)
	}
	assert.Contains(t, page, "rises by +0.5000 at most (α = 0.5)", "the barrier of the sweep")
}

func TestVerdictFollowsTheNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		gaps    []float64
		outcome string
		title   string
	}{
		"ahead":           {[]float64{0.2, 0.21, 0.19}, aheadSALSA, "SALSA ends with a higher gold reward than PPO"},
		"behind":          {[]float64{-0.2, -0.21, -0.19}, aheadPPO, "SALSA ends with a lower gold reward than PPO"},
		"nothing":         {[]float64{0, 0, 0}, undecided, "No difference between SALSA and PPO beyond chance"},
		"seeds disagree":  {[]float64{0.3, -0.1, 0.1}, undecided, "but not with every seed"},
		"seeds far apart": {[]float64{0.01, 0.5, 0.02}, undecided, "with every one of 3 seeds, too few"},
		"one seed":        {[]float64{0.2}, undecided, "one seed cannot tell method from luck"},
	} {
		t.Run(name, func(t *testing.T) {
			_, f, page := made(t, world(t, c.gaps...))
			assert.Equal(t, c.outcome, f.Verdict.Outcome)
			assert.Contains(t, f.Verdict.Title, c.title)
			assert.Contains(t, page, c.title)
		})
	}
}

// A page that loads anything is not self-contained, and one that runs scripts is more than a page.
func TestReportNeedsNothingElse(t *testing.T) {
	o := world(t, 0.1, 0.2)
	_, _, page := made(t, o)
	svg, err := os.ReadFile(filepath.Join(o.Out, "frontier.svg"))
	require.NoError(t, err)
	outside := regexp.MustCompile(`(?i)https?://|<script|<link|<img|@import|url\(|\ssrc=|href="[^#]`)
	assert.Empty(t, outside.FindAllString(page, -1))
	assert.Empty(t, outside.FindAllString(strings.Replace(string(svg), "http://www.w3.org/2000/svg", "", 1), -1), "but for its namespace")
}

func TestReportIsReproducible(t *testing.T) {
	o := world(t, 0.1, 0.2)
	_, _, first := made(t, o)
	require.NoError(t, os.RemoveAll(o.Out))
	_, _, second := made(t, o)
	assert.Equal(t, first, second)
}

func TestReportLeavesOutWhatIsMissing(t *testing.T) {
	root := t.TempDir()
	o := Default()
	o.Out = filepath.Join(root, "out")
	o.PPO = []string{fakeRun(t, root, "ppo", "seed: 3\n", 3, func(step int) map[string]float64 {
		return map[string]float64{keyScore: 1, keyKLStart: float64(step), keyKL: float64(step)}
	})}
	_, f, page := made(t, &o)
	assert.Equal(t, unknown, f.Verdict.Outcome)
	for _, part := range []string{"Gold over KL", "SFT losses", "The reward model&#39;s accuracy", "The walk along α", "The final evaluation", "Samples side by side", "The pipeline&#39;s stages"} {
		assert.Regexp(t, part+"[^<]*: left out, for ", page)
	}

	o = Default()
	o.Out, o.Eval = filepath.Join(root, "out2"), world(t, 0.1, 0.1).Eval
	_, f, page = made(t, &o)
	assert.Equal(t, "sft", f.Table[0].Method, "with no run named, models are grouped by their names")
	assert.Contains(t, page, "PPO&#39;s and SALSA&#39;s curves: left out")
}

func TestReportRefusesBrokenInput(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, o *Options)
		want  string
	}{
		"no run.yaml": {func(t *testing.T, o *Options) {
			require.NoError(t, os.Remove(filepath.Join(o.PPO[0], "run.yaml")))
		}, "run.yaml"},
		"no metrics": {func(t *testing.T, o *Options) {
			require.NoError(t, os.Remove(filepath.Join(o.SFT[1], "metrics.jsonl")))
		}, "metrics.jsonl"},
		"no eval.json":  {func(_ *testing.T, o *Options) { o.Eval = o.Reward }, "eval.json"},
		"no sweep.json": {func(_ *testing.T, o *Options) { o.Sweep = o.Reward }, "sweep.json"},
		"not JSON": {func(t *testing.T, o *Options) {
			require.NoError(t, os.WriteFile(filepath.Join(o.Eval, "eval.json"), []byte("{"), 0o644))
		}, "eval.json"},
		"too few values":    {func(t *testing.T, o *Options) { shorten(t, o.Eval) }, "model ppo-seed1 has 3 values of gold for 40 prompts with 2 samples each"},
		"output not empty":  {func(t *testing.T, o *Options) { writeFake(t, filepath.Join(o.Out, "x"), 1) }, "is not empty"},
		"nothing evaluated": {func(t *testing.T, o *Options) { writeFake(t, filepath.Join(o.Eval, "eval.json"), job.Evaluation{}) }, "at least one model"},
	} {
		t.Run(name, func(t *testing.T) {
			o := world(t, 0.1)
			c.spoil(t, o)
			_, err := Write(context.Background(), o)
			var f *fault.Error
			require.ErrorAs(t, err, &f)
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

// shorten cuts off PPO's gold in an eval.json.
func shorten(t *testing.T, dir string) {
	t.Helper()
	var e job.Evaluation
	path := filepath.Join(dir, "eval.json")
	require.NoError(t, readJSON(path, &e))
	for i := range e.Models {
		if e.Models[i].Name == "ppo-seed1" {
			e.Models[i].Gold = e.Models[i].Gold[:3]
		}
	}
	writeFake(t, path, e)
}

func TestBinned(t *testing.T) {
	var rows []metrics.Row
	for step, v := range []float64{1, 3, 10, 20} {
		rows = append(rows, metrics.Row{Step: step + 1, Values: map[string]float64{"x": v}})
	}
	rows = append(rows, metrics.Row{Step: 7, Values: map[string]float64{"x": 5}}, metrics.Row{Step: 7, Values: map[string]float64{"eval_x": 9}})
	got := binned(rows, "x", 2)
	require.Len(t, got, 4)
	assert.Equal(t, []float64{2, 15}, got[:2])
	assert.True(t, math.IsNaN(got[2]), "no step 5 or 6")
	assert.InDelta(t, 5, got[3], 0, "the last row has another metric only")
	assert.Equal(t, []eval.Point{{X: 2, Y: 2}, {X: 15, Y: 15}}, (&ranRun{rows: rows}).path("x", "x", 2), "a path ends at a gap")
}

func TestRunningMean(t *testing.T) {
	var line []eval.Point
	for i := range 40 {
		line = append(line, eval.Point{X: float64(i), Y: 2 * float64(i)})
	}
	got := runningMean(line)
	assert.Equal(t, eval.Point{X: 1, Y: 2}, got[0], "three points at the end")
	assert.Equal(t, eval.Point{X: 20, Y: 40}, got[20], "a straight line stays one")
	assert.Equal(t, line[:8], runningMean(line[:8]), "short curves are left alone")
}

func TestFixedDigits(t *testing.T) {
	for v, want := range map[float64]string{0.0004: "0.00", -0.0004: "0.00", -1.239: "−1.24", 12345.6: "12345.60"} {
		assert.Equal(t, want, fixedDigits(v, 2))
	}
	assert.Equal(t, "+0.50", signed(0.5, 2))
}

func TestReportCommandCanBeTyped(t *testing.T) {
	o := Options{Title: "it's $5", PPO: []string{"a", "b"}, BaseName: "sft", Out: "o"}
	assert.Equal(t, "salsa report \\\n  --title 'it'\\''s $5' \\\n  --ppo a,b \\\n  --base-name sft \\\n  --out o", o.command())
}

func TestSummitsText(t *testing.T) {
	flat := summit{Method: "PPO", Metric: keyGold, Best: spot{3, 0.31}, First: spot{0, 0.2}, Last: spot{4, 0.30}, Noise: 0.02}
	assert.Contains(t, bendText(flat, nil), "no over-optimisation shows")
	falls := flat
	falls.Last.Value = 0.1
	down := summit{Method: "PPO", Metric: keyScore, Best: spot{1, 2}, First: spot{0, 1}, Last: spot{4, 0.5}, Noise: 0.01}
	assert.Contains(t, bendText(falls, []summit{down}), "not over-optimisation alone")
}

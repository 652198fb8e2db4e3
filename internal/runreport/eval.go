package runreport

// The statistics of a report over eval.json. The unit of chance is the prompt: a prompt's samples, and the seeds of
// a method, are averaged before prompts are resampled.

import (
	"fmt"
	"path/filepath"
	"slices"

	"salsa/eval"
	"salsa/internal/job"

	"gonum.org/v1/gonum/stat"
)

// Names of the methods, as the page prints them.
const (
	namePPO   = "PPO"
	nameSALSA = "SALSA"
	nameSoup  = "Soup"
)

// contender is a method in the final evaluation: its models, one per seed.
type contender struct {
	name   string
	seeds  []string
	models []*job.EvaluatedModel
}

// measure is one quantity of a sample.
type measure struct {
	key, title string
	digits     int
	of         func(m *job.EvaluatedModel) []float64 // per sample; nil where it was not measured
}

// measures lists what the evaluation holds, in the order of the table.
func (m *material) measures() []measure {
	all := []measure{
		{"gold", "gold reward", 3, func(e *job.EvaluatedModel) []float64 { return e.Gold }},
		{"safety", "exact safety", 3, func(e *job.EvaluatedModel) []float64 { return e.Safety }},
		{"reward", "reward model's score", 3, func(e *job.EvaluatedModel) []float64 { return e.Reward }},
		{"kl", "KL to " + m.display(m.base), 2, func(e *job.EvaluatedModel) []float64 { return e.KL[m.base] }},
		{"kl_soup", "KL to the soup", 2, func(e *job.EvaluatedModel) []float64 { return e.KL[m.soup] }},
		{"length", "tokens", 1, func(e *job.EvaluatedModel) []float64 { return lengthsOf(e) }},
		{"ended", "ended by itself", 3, func(e *job.EvaluatedModel) []float64 { return endedOf(e) }},
	}
	return slices.DeleteFunc(all, func(x measure) bool {
		return !slices.ContainsFunc(m.eval.Models, func(e job.EvaluatedModel) bool { return len(x.of(&e)) > 0 })
	})
}

func lengthsOf(e *job.EvaluatedModel) []float64 {
	out := make([]float64, len(e.Length))
	for i, n := range e.Length {
		out[i] = float64(n)
	}
	return out
}

func endedOf(e *job.EvaluatedModel) []float64 {
	out := make([]float64, len(e.Ended))
	for i, ended := range e.Ended {
		if ended {
			out[i] = 1
		}
	}
	return out
}

// display is the name under which the page knows a model folder: SFT models are numbered, for they differ.
func (m *material) display(name string) string {
	for i, run := range m.sft {
		if run.name == name {
			return fmt.Sprintf("SFT %d", i+1)
		}
	}
	if m.soup == name {
		return nameSoup
	}
	return name
}

// contenders sorts the evaluated models into methods: the SFT models one by one, the soup, PPO and SALSA with their
// seeds together, then what no option names, seeds together too.
func (m *material) contenders() []contender {
	if m.eval == nil {
		return nil
	}
	var list []contender
	for _, run := range m.sft {
		list = append(list, contender{name: m.display(run.name)})
	}
	list = append(list, contender{name: nameSoup}, contender{name: namePPO}, contender{name: nameSALSA})
	for i := range m.eval.Models {
		model := &m.eval.Models[i]
		name, seed := m.place(model)
		at := slices.IndexFunc(list, func(c contender) bool { return c.name == name })
		if at < 0 {
			at, list = len(list), append(list, contender{name: name})
		}
		list[at].models, list[at].seeds = append(list[at].models, model), append(list[at].seeds, seed)
	}
	return slices.DeleteFunc(list, func(c contender) bool { return len(c.models) == 0 })
}

// place names the method and the seed of an evaluated model: by its folder, or by its name if the folder has moved.
func (m *material) place(e *job.EvaluatedModel) (method, seed string) {
	for _, group := range []struct {
		name string
		runs []*ranRun
	}{{namePPO, m.ppo}, {nameSALSA, m.salsa}} {
		for _, run := range group.runs {
			if sameFolder(run.dir, e.Dir) || run.name == e.Name {
				return group.name, run.seed
			}
		}
	}
	if name := m.display(e.Name); name != e.Name {
		return name, ""
	}
	if found := seedSuffix.FindStringSubmatch(e.Name); found != nil {
		return e.Name[:len(e.Name)-len(found[0])], found[1]
	}
	return e.Name, ""
}

func sameFolder(a, b string) bool {
	x, errX := filepath.Abs(a)
	y, errY := filepath.Abs(b)
	return errX == nil && errY == nil && x == y
}

// find returns the contender of that name, or nil.
func find(list []contender, name string) *contender {
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	return nil
}

// perPrompt averages a measure over a contender's seeds and samples, prompt by prompt; nil if a model lacks it.
func (c *contender) perPrompt(x measure, samples int) []float64 {
	var out []float64
	for _, m := range c.models {
		values := x.of(m)
		if len(values) == 0 {
			return nil
		}
		if out == nil {
			out = make([]float64, len(values)/samples)
		}
		for i, v := range values {
			out[i/samples] += v / float64(samples*len(c.models))
		}
	}
	return out
}

// alone is the contender with one of its seeds only; nil if it has no model of that seed.
func (c *contender) alone(seed string) *contender {
	i := slices.Index(c.seeds, seed)
	if i < 0 {
		return nil
	}
	return &contender{name: c.name, seeds: c.seeds[i : i+1], models: c.models[i : i+1]}
}

// difference is SALSA minus PPO, or any other pair, in one measure.
type difference struct {
	measure  measure
	interval eval.Interval
	seeds    []string // that both have
	perSeed  []float64
	overSeed *eval.Interval // Student's, over perSeed; nil with fewer than two seeds
}

// differ compares a and b on the same prompts; ok is false where one of them lacks the measure.
func differ(a, b *contender, x measure, samples int) (d difference, ok bool, err error) {
	first, second := a.perPrompt(x, samples), b.perPrompt(x, samples)
	if first == nil || second == nil {
		return d, false, nil
	}
	d.measure = x
	if d.interval, err = (eval.Bootstrap{}).Paired(first, second, nil); err != nil {
		return d, false, err
	}
	for _, seed := range a.seeds {
		p, q := a.alone(seed), b.alone(seed)
		if q == nil || seed == "" {
			continue
		}
		d.seeds = append(d.seeds, seed)
		d.perSeed = append(d.perSeed, stat.Mean(p.perPrompt(x, samples), nil)-stat.Mean(q.perPrompt(x, samples), nil))
	}
	if len(d.perSeed) < 2 {
		return d, true, nil
	}
	over, err := eval.MeanT(d.perSeed, 0)
	d.overSeed = &over
	return d, err == nil, err
}

// row is the difference as report.json holds it.
func (d *difference) row() diffRow {
	row := diffRow{Measure: d.measure.key, estimate: estimateOf(d.interval), Seeds: d.seeds, PerSeed: d.perSeed}
	if d.overSeed != nil {
		over := estimateOf(*d.overSeed)
		row.OverSeeds = &over
	}
	return row
}

// agree reports whether every seed points to the side of the mean.
func (d *difference) agree() bool {
	for _, v := range d.perSeed {
		if v*d.interval.Mean <= 0 {
			return false
		}
	}
	return true
}

// beyondPrompts reports whether the interval over prompts leaves out 0.
func (d *difference) beyondPrompts() bool { return d.interval.Excludes(0) }

// beyondSeeds reports whether the interval over seeds leaves out 0, which takes two seeds at least.
func (d *difference) beyondSeeds() bool { return d.overSeed != nil && d.overSeed.Excludes(0) }

// winRate plays every seed of a against every seed of b, sample by sample; games of a prompt are one cluster.
func winRate(a, b *contender, x measure, e *job.Evaluation) (w eval.WinRate, ok bool, err error) {
	var first, second []float64
	var clusters []string
	for _, p := range a.models {
		for _, q := range b.models {
			u, v := x.of(p), x.of(q)
			if len(u) == 0 || len(v) == 0 {
				return w, false, nil
			}
			first, second = append(first, u...), append(second, v...)
			for i := range u {
				clusters = append(clusters, fmt.Sprint(i/e.Samples))
			}
		}
	}
	w, err = (eval.Bootstrap{}).FromScores(first, second, 0, clusters)
	return w, err == nil, err
}

package runreport

// The numbers of a comparison: each method's means with intervals over prompts and spread over seeds, its win rate
// against the baseline, and what it took.

import (
	"math"
	"slices"

	"salsa/eval"
	"salsa/internal/job"

	"gonum.org/v1/gonum/stat"
)

// methodRow is a method in compare.json.
type methodRow struct {
	Method   string             `json:"method"`
	Seeds    []string           `json:"seeds"`
	Measures map[string]overall `json:"measures"`
	WinRate  *overall           `json:"win_rate,omitempty"` // against the baseline, by the deciding measure
	Against  *diffRow           `json:"difference,omitempty"`
	Samples  float64            `json:"samples_drawn,omitempty"`   // per run
	Offline  bool               `json:"samples_offline,omitempty"` // drawn before the run, to make its data
	Seconds  float64            `json:"seconds_per_run,omitempty"`
	Chosen   []chosen           `json:"chosen,omitempty"`

	verdict string // aheadOf, behind, undecided, or "" where nothing was compared
}

// overall is an estimate with its interval over prompts, seeds pooled, and every seed's own value.
type overall struct {
	estimate
	PerSeed []float64 `json:"per_seed"`
	SD      float64   `json:"sd_over_seeds"` // 0 with one seed
}

// chosen is a setting that was tuned, and what was tried.
type chosen struct {
	Key   string   `json:"key"`
	Value string   `json:"value"`
	Tried []string `json:"tried"`
}

// Verdicts of a method against the baseline.
const (
	ahead  = "ahead"
	behind = "behind"
)

// measure fills in every method's row.
func (c *comparison) measure() error {
	list := []measure{
		{"gold", "gold reward", 3, func(e *job.EvaluatedModel) []float64 { return e.Gold }},
		{"reward", "reward model's score", 3, func(e *job.EvaluatedModel) []float64 { return e.Reward }},
		{"safety", "exact safety", 3, func(e *job.EvaluatedModel) []float64 { return e.Safety }},
		{"kl", "KL to " + c.start, 2, func(e *job.EvaluatedModel) []float64 { return e.KL[c.start] }},
		{"length", "tokens", 1, lengthsOf},
		{"ended", "ended by itself", 3, endedOf},
	}
	for _, x := range list {
		if slices.ContainsFunc(c.eval.Models, func(e job.EvaluatedModel) bool { return len(x.of(&e)) > 0 }) {
			c.measures = append(c.measures, x)
		}
	}
	c.judge = c.measures[0] // length is always there
	for _, m := range c.methods {
		m.row = methodRow{Method: m.name, Seeds: m.seeds, Measures: map[string]overall{}}
		for _, x := range c.measures {
			if err := c.estimate(m, x); err != nil {
				return err
			}
		}
		if err := c.hold(m); err != nil {
			return err
		}
		c.cost(m)
	}
	return nil
}

// judged reports whether there is a reward to decide by.
func (c *comparison) judged() bool { return c.judge.key == "gold" || c.judge.key == "reward" }

func (c *comparison) estimate(m *contestant, x measure) error {
	values := m.perPrompt(x, c.eval.Samples)
	if values == nil {
		return nil
	}
	e, err := (eval.Bootstrap{}).Mean(values, nil)
	if err != nil {
		return err
	}
	out := overall{estimate: estimateOf(e)}
	for _, seed := range m.seeds {
		out.PerSeed = append(out.PerSeed, stat.Mean(m.alone(seed).perPrompt(x, c.eval.Samples), nil))
	}
	out.SD = spread(out.PerSeed)
	m.row.Measures[x.key] = out
	return nil
}

// spread is the standard deviation over seeds; 0 with one.
func spread(values []float64) float64 {
	if len(values) < 2 {
		return 0
	}
	return stat.StdDev(values, nil)
}

// hold compares a method with the baseline in the deciding measure.
func (c *comparison) hold(m *contestant) error {
	if m == c.baseline || !c.judged() {
		return nil
	}
	rate, ok, err := winRate(&m.contender, &c.baseline.contender, c.judge, c.eval)
	if err != nil || !ok {
		return err
	}
	m.row.WinRate = &overall{estimate: estimateOf(rate.Rate)}
	for _, seed := range m.seeds {
		one, _, err := winRate(m.alone(seed), &c.baseline.contender, c.judge, c.eval)
		if err != nil {
			return err
		}
		m.row.WinRate.PerSeed = append(m.row.WinRate.PerSeed, one.Rate.Mean)
	}
	m.row.WinRate.SD = spread(m.row.WinRate.PerSeed)
	d, ok, err := differ(&m.contender, &c.baseline.contender, c.judge, c.eval.Samples)
	if err != nil || !ok {
		return err
	}
	row := d.row()
	m.row.Against, m.row.verdict = &row, undecided
	if d.beyondPrompts() && d.beyondSeeds() {
		m.row.verdict = ahead
		if d.interval.Mean < 0 {
			m.row.verdict = behind
		}
	}
	return nil
}

// cost reads what the method's runs took: samples, time, and the settings that were tuned.
func (c *comparison) cost(m *contestant) {
	var seconds, samples []float64
	for _, run := range m.runs {
		if run == nil {
			continue
		}
		total := 0.0
		for _, row := range run.rows {
			total += row.Values["s_per_step"]
		}
		seconds = append(seconds, total)
		for _, key := range []string{"samples_drawn", "episode"} {
			if v, ok := run.lastOf(key); ok {
				samples = append(samples, v)
				break
			}
		}
	}
	if len(seconds) > 0 {
		m.row.Seconds = stat.Mean(seconds, nil)
	}
	switch {
	case len(samples) > 0:
		m.row.Samples = slices.Max(samples)
	case c.opts.OfflineSamples > 0 && m.learnt():
		m.row.Samples, m.row.Offline = float64(c.opts.OfflineSamples), true
	}
	m.row.Chosen = m.settingsChosen()
}

// settingsChosen lists what was tuned, in the order of run.yaml, for maps have none.
func (m *contestant) settingsChosen() []chosen {
	if m.choice == nil {
		return nil
	}
	var list []chosen
	for _, key := range m.runs[0].keys() {
		value, ok := m.choice.Values[key]
		if !ok {
			continue
		}
		x := chosen{Key: key, Value: value}
		for _, candidate := range m.choice.Candidates {
			x.Tried = append(x.Tried, candidate.Values[key])
		}
		list = append(list, x)
	}
	return list
}

// learnt reports whether the contestant is a method that learnt from preferences: one that has a reference or was
// tuned, not a model that others began with.
func (m *contestant) learnt() bool {
	return m.choice != nil || slices.ContainsFunc(m.runs, func(r *ranRun) bool { return r != nil && r.settings.Get("reference") != nil })
}

// keys lists the settings of a run in the order of its run.yaml.
func (r *ranRun) keys() []string {
	if r == nil {
		return nil
	}
	var keys []string
	for _, e := range r.settings.Entries {
		keys = append(keys, e.Key)
	}
	return keys
}

// comparedNumbers is compare.json.
type comparedNumbers struct {
	Title    string      `json:"title"`
	Baseline string      `json:"baseline"`
	Judge    string      `json:"judge"` // decides: gold or reward
	KLTo     string      `json:"kl_to,omitempty"`
	Prompts  int         `json:"prompts"`
	Samples  int         `json:"samples_per_prompt"`
	Methods  []methodRow `json:"methods"`
}

func (c *comparison) numbers() comparedNumbers {
	out := comparedNumbers{Title: c.opts.Title, Baseline: c.baseline.name, Judge: c.judge.key, KLTo: c.start, Prompts: len(c.eval.Prompts), Samples: c.eval.Samples}
	for _, m := range c.methods {
		out.Methods = append(out.Methods, m.row)
	}
	return out
}

// scalars are the means that --json prints.
func (c *comparison) scalars() map[string]float64 {
	out := map[string]float64{}
	for _, m := range c.methods {
		for _, x := range c.measures {
			if e, ok := m.row.Measures[x.key]; ok {
				out[m.name+"/"+x.key] = e.Mean
			}
		}
		if m.row.WinRate != nil {
			out[m.name+"/win_rate"] = m.row.WinRate.Mean
		}
	}
	return out
}

// budgets tells the largest and the smallest number of samples that a method drew.
func (c *comparison) budgets() (low, high float64) {
	low = math.Inf(1)
	for _, m := range c.methods {
		if m.row.Samples > 0 {
			low, high = min(low, m.row.Samples), max(high, m.row.Samples)
		}
	}
	return low, high
}

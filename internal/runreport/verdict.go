package runreport

// The verdict at the top of a report. Its words follow from the numbers by fixed rules, whichever way they fall: a
// side is ahead if two intervals leave out 0, the paired bootstrap over prompts and Student's over seeds. The first
// covers the luck of prompts and samples, the second the luck of training; either alone would cry wolf.

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"salsa/internal/report"
)

// findings are the numbers of a report: what report.json holds.
type findings struct {
	Title       string         `json:"title"`
	Verdict     verdict        `json:"verdict"`
	Table       []tableRow     `json:"table"`                 // the final evaluation
	Differences []diffRow      `json:"differences,omitempty"` // SALSA − PPO
	Summits     []summit       `json:"summits,omitempty"`     // of the training curves
	EqualKL     []atEqualKL    `json:"equal_kl,omitempty"`
	RewardModel rewardAccuracy `json:"reward_model"`
	Stages      []stageTime    `json:"stages,omitempty"`

	diffs    []difference
	fromBase map[string]difference // PPO and SALSA minus the start policy, in the deciding measure
}

// verdict is the outcome in one word and the sentences of the page.
type verdict struct {
	Measure string   `json:"measure"` // that decides: gold, reward, or "" without an evaluation
	Outcome string   `json:"outcome"` // salsa, ppo, undecided, or unknown
	Title   string   `json:"title"`
	Text    []string `json:"text"`
}

// Outcomes of a verdict.
const (
	aheadSALSA = "salsa"
	aheadPPO   = "ppo"
	undecided  = "undecided"
	unknown    = "unknown"
)

// estimate is an interval in report.json.
type estimate struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// tableRow is a method in the final evaluation; measures by their keys.
type tableRow struct {
	Method   string              `json:"method"`
	Models   int                 `json:"models"` // seeds
	Measures map[string]estimate `json:"measures"`
	WinGold  *estimate           `json:"win_rate_gold,omitempty"` // against PPO
	WinScore *estimate           `json:"win_rate_reward,omitempty"`
}

// diffRow is SALSA minus PPO in one measure.
type diffRow struct {
	Measure string `json:"measure"`
	estimate
	Seeds     []string  `json:"seeds,omitempty"`
	PerSeed   []float64 `json:"per_seed,omitempty"`
	OverSeeds *estimate `json:"over_seeds,omitempty"` // Student's interval over the seeds' differences
}

// decide writes the verdict.
func (m *material) decide(f *findings) {
	v := &f.Verdict
	v.Outcome = unknown
	if len(f.diffs) == 0 {
		v.Title = "No verdict: there is no final evaluation of both PPO and SALSA"
		v.Text = []string{"The curves below come from training batches; run `salsa eval` on both with held-out prompts and name its folder with `--eval`."}
		return
	}
	main := f.diffs[0]
	if v.Measure = main.measure.key; v.Measure != "gold" && v.Measure != "reward" {
		v.Measure = ""
		v.Title = "No verdict: the final evaluation has neither a gold reward nor a reward model's score"
		v.Text = []string{"Run `salsa eval` with `--reward-model`, and name its folder with `--eval`."}
		return
	}
	v.Outcome, v.Title = outcome(main)
	v.Text = append([]string{sentence(main)}, m.caveats(f)...)
}

// outcome is the rule of this file's head.
func outcome(d difference) (word, title string) {
	what, side, win := d.measure.title, "higher", aheadSALSA
	if d.interval.Mean < 0 {
		side, win = "lower", aheadPPO
	}
	switch {
	case !d.beyondPrompts():
		return undecided, fmt.Sprintf("No difference between SALSA and PPO beyond chance in the %s", what)
	case d.overSeed == nil:
		return undecided, fmt.Sprintf("SALSA's run ends with a %s %s than PPO's, but one seed cannot tell method from luck", side, what)
	case !d.agree():
		return undecided, fmt.Sprintf("SALSA's mean %s is %s than PPO's, but not with every seed: no difference beyond the luck of training", what, side)
	case !d.beyondSeeds():
		return undecided, fmt.Sprintf("SALSA's %s is %s than PPO's with every one of %d seeds, too few to rule out the luck of training", what, side, len(d.perSeed))
	}
	return win, fmt.Sprintf("SALSA ends with a %s %s than PPO", side, what)
}

// sentence tells the deciding difference with its intervals.
func sentence(d difference) string {
	digits := d.measure.digits
	out := fmt.Sprintf("%s on held-out prompts: SALSA − PPO = **%s**, %s over prompts", capital(d.measure.title), signed(d.interval.Mean, digits), ends(estimateOf(d.interval), digits))
	if d.overSeed != nil {
		out += fmt.Sprintf(" and %s over %d seeds", ends(estimateOf(*d.overSeed), digits), len(d.perSeed))
	}
	return out + " (95 % intervals). An interval that holds 0 allows for no difference at all."
}

// caveats are the sentences that keep a reader from concluding too much or too little.
func (m *material) caveats(f *findings) []string {
	var out []string
	if text := m.againstStart(f); text != "" {
		out = append(out, text)
	}
	gold, score, kl := pick(f.diffs, "gold"), pick(f.diffs, "reward"), pick(f.diffs, "kl")
	if gold == nil && score != nil {
		out = append(out, "There is no gold reward here. The reward model's score is what both methods optimise: a higher score alone does not make a better model.")
	}
	if kl != nil && kl.beyondPrompts() && kl.beyondSeeds() {
		further := nameSALSA
		if kl.interval.Mean < 0 {
			further = namePPO
		}
		out = append(out, fmt.Sprintf("%s moved further from %s. Where a run stops is a choice of steps and β: the curves below compare both at equal KL.", further, m.display(m.base)))
	}
	return out
}

// againstStart tells whether PPO and SALSA are better than the model they began with, in the deciding measure, and
// whether the reward model thinks otherwise.
func (m *material) againstStart(f *findings) string {
	var parts []string
	worse, scored := 0, 0
	for _, name := range []string{namePPO, nameSALSA} {
		d, ok := f.fromBase[name]
		if !ok {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s **%s** %s", name, signed(d.interval.Mean, d.measure.digits), ends(estimateOf(d.interval), d.measure.digits)))
		if d.interval.High < 0 {
			worse++
		}
		if f.meanOf(name, "reward") > f.meanOf(m.display(m.base), "reward") {
			scored++
		}
	}
	if len(parts) == 0 {
		return ""
	}
	out := fmt.Sprintf("Against %s, where both began: %s.", m.display(m.base), strings.Join(parts, ", "))
	if worse == len(parts) && scored == worse {
		out += " **Both are worse than their start although the reward model scores them higher: over-optimisation.**"
	}
	return out
}

// differenceTable sets PPO and SALSA side by side in every measure.
func (m *material) differenceTable(f *findings) report.Table {
	t := report.Table{Title: "SALSA minus PPO on held-out prompts", Columns: []report.Column{{Name: "Measure"}, {Name: "PPO", Numeric: true}, {Name: "SALSA", Numeric: true},
		{Name: "Difference, interval over prompts", Numeric: true}, {Name: "Interval over seeds", Numeric: true}, {Name: "By seed"}},
		Caption: fmt.Sprintf("95 %% intervals: paired bootstrap over %d prompts with %d samples each, seeds averaged; Student's t over the seeds' differences.", len(m.eval.Prompts), m.eval.Samples)}
	for i, d := range f.diffs {
		digits, row := d.measure.digits, []report.Cell{report.Text(capital(d.measure.title))}
		for _, name := range []string{namePPO, nameSALSA} {
			row = append(row, report.Text(fixedDigits(f.meanOf(name, d.measure.key), digits)))
		}
		cell := report.Text(signed(d.interval.Mean, digits))
		cell.Detail = ends(f.Differences[i].estimate, digits)
		over := report.Text("–")
		if d.overSeed != nil {
			over.Text = ends(estimateOf(*d.overSeed), digits)
		}
		var seeds []string
		for _, v := range d.perSeed {
			seeds = append(seeds, signed(v, digits))
		}
		t.Rows = append(t.Rows, append(row, cell, over, report.Text(strings.Join(seeds, ", "))))
	}
	return t
}

// meanOf is a method's mean in the table; NaN where it has none.
func (f *findings) meanOf(name, key string) float64 {
	for _, row := range f.Table {
		if e, ok := row.Measures[key]; ok && row.Method == name {
			return e.Mean
		}
	}
	return math.NaN()
}

func pick(list []difference, key string) *difference {
	for i := range list {
		if list[i].measure.key == key {
			return &list[i]
		}
	}
	return nil
}

// note is the verdict as a callout.
func (v verdict) note() report.Note {
	mark := map[string]report.Verdict{aheadSALSA: report.Good, aheadPPO: report.Bad, undecided: report.Mixed, unknown: report.Info}
	return report.Note{Verdict: mark[v.Outcome], Title: v.Title, Text: v.Text}
}

// tiles are the key figures under the verdict.
func (m *material) tiles(f *findings) report.Tiles {
	var tiles report.Tiles
	for _, name := range []string{m.display(m.base), namePPO, nameSALSA} {
		if t, ok := m.tile(f, name); ok {
			tiles = append(tiles, t)
		}
	}
	if a := f.RewardModel; a.Held > 0 {
		tiles = append(tiles, report.Tile{Name: "Reward model, held-out pairs", Value: report.Number(100*a.Held, 1) + " %", Detail: "of the annotator's choices foreseen"})
	}
	if total := m.totalSeconds(); total > 0 {
		tiles = append(tiles, report.Tile{Name: "Wall time, all stages", Value: span(total), Detail: m.perMethodTime()})
	}
	return tiles
}

// tile shows a method's gold reward, or its score where there is no gold.
func (m *material) tile(f *findings, name string) (t report.Tile, ok bool) {
	for _, row := range f.Table {
		if row.Method != name {
			continue
		}
		if e, has := row.Measures["gold"]; has {
			return report.Tile{Name: "Gold, " + name, Value: report.Number(100*e.Mean, 1) + " %",
				Detail: fmt.Sprintf("of the optimum; %s to %s", report.Number(100*e.Low, 1), report.Number(100*e.High, 1))}, true
		}
		if e, has := row.Measures["reward"]; has {
			return report.Tile{Name: "Score, " + name, Value: report.Number(e.Mean, 2),
				Detail: fmt.Sprintf("%s to %s", report.Number(e.Low, 2), report.Number(e.High, 2))}, true
		}
	}
	return t, false
}

// perMethodTime tells how long a run of each method took on average.
func (m *material) perMethodTime() string {
	var parts []string
	for _, x := range m.methods() {
		total := 0.0
		for _, run := range x.runs {
			total += m.seconds(run.name)
		}
		if total > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", x.name, span(total/float64(len(x.runs)))))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + " per run"
}

func (m *material) totalSeconds() float64 {
	total := 0.0
	for _, s := range m.state.Stages {
		total += s.Seconds
	}
	return total
}

// signed prints a difference with its sign.
func signed(v float64, digits int) string {
	text := fixedDigits(v, digits)
	if v > 0 {
		return "+" + text
	}
	return text
}

// fixedDigits prints v with just so many digits, however small it is, and a true minus sign; what rounds to 0 has none.
func fixedDigits(v float64, digits int) string {
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Trim(text, "-0.") == "" {
		text = strings.TrimPrefix(text, "-")
	}
	return strings.ReplaceAll(text, "-", "−")
}

// ends prints an interval of differences.
func ends(e estimate, digits int) string {
	return fmt.Sprintf("[%s, %s]", signed(e.Low, digits), signed(e.High, digits))
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// span prints a duration for people.
func span(seconds float64) string {
	switch {
	case seconds < 10:
		return report.Number(seconds, 1) + " s"
	case seconds < 100:
		return report.Number(seconds, 0) + " s"
	case seconds < 5400:
		return report.Number(seconds/60, 1) + " min"
	}
	return report.Number(math.Round(seconds/360)/10, 1) + " h"
}

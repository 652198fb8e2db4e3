package runreport

// Sections of a report about eval.json: the table, its pictures, and samples side by side.

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"salsa/internal/job"
	"salsa/internal/report"

	"gonum.org/v1/gonum/stat"
)

// finalSection is the final evaluation on held-out prompts.
func (m *material) finalSection(f *findings, list []contender) report.Section {
	s := report.Section{Title: "Final evaluation"}
	if m.eval == nil {
		s.Blocks = append(s.Blocks, left("The final evaluation", "there is no `eval.json` (`salsa eval`, then `--eval`)"))
		return s
	}
	s.Intro = fmt.Sprintf("%d held-out prompts, %d samples each at temperature %g; the same judges for all. Seeds of a method are averaged.", len(m.eval.Prompts), m.eval.Samples, m.eval.Temperature)
	s.Blocks = append(s.Blocks, m.rewardTable(f), m.distanceTable(f))
	var charts report.Columns
	for _, x := range m.measures() {
		switch x.key {
		case "gold":
			charts = append(charts, f.bars("Gold reward", x.key, report.Axis{Label: "share of the optimum", Percent: true}))
		case "reward":
			charts = append(charts, f.bars("Reward model's score", x.key, report.Axis{Label: "score"}))
		}
	}
	if rates := f.rateBars(); len(rates.Rows) > 0 {
		charts = append(charts, rates)
	} else {
		s.Blocks = append(s.Blocks, left("Win rates", "PPO was not evaluated, or nothing but PPO was"))
	}
	if chart, ok := m.heldOutFrontier(list); ok {
		charts = append(charts, chart)
	}
	if len(charts) > 0 {
		s.Blocks = append(s.Blocks, charts)
	}
	s.Blocks = append(s.Blocks, m.perModel())
	return s
}

// rewardTable is what the judges say of each method.
func (m *material) rewardTable(f *findings) report.Table {
	t := report.Table{Title: "Rewards", Columns: []report.Column{{Name: "Model"}},
		Caption: "Means with 95 % bootstrap intervals over prompts. Win rates against PPO: every seed against every seed, sample by sample, ties count half."}
	judges := slices.DeleteFunc(m.measures(), func(x measure) bool { return x.key != "gold" && x.key != "reward" })
	for _, x := range judges {
		t.Columns = append(t.Columns, report.Column{Name: capital(x.title), Numeric: true})
	}
	for _, x := range judges {
		t.Columns = append(t.Columns, report.Column{Name: "Wins by " + shortName(x.key) + ", %", Numeric: true})
	}
	for _, r := range f.Table {
		row := []report.Cell{r.label()}
		for _, x := range judges {
			row = append(row, cellOf(r.Measures, x))
		}
		for _, x := range judges {
			row = append(row, percent(r.winsBy(x.key)))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// shortName is a judge's name in a narrow place.
func shortName(key string) string {
	if key == "reward" {
		return "score"
	}
	return key
}

func (r tableRow) winsBy(key string) *estimate {
	if key == "gold" {
		return r.WinGold
	}
	return r.WinScore
}

// label names the row's method and its seeds.
func (r tableRow) label() report.Cell {
	name := report.Text(r.Method)
	if r.Models > 1 {
		name.Detail = fmt.Sprintf("%d seeds", r.Models)
	}
	return name
}

// distanceTable is how far each method moved, and the form of its completions.
func (m *material) distanceTable(f *findings) report.Table {
	t := report.Table{Title: "Distance and form", Columns: []report.Column{{Name: "Model"}}, Caption: "KL in nats per completion; a sampled estimate, which may fall below 0 where two models hardly differ."}
	measures := slices.DeleteFunc(m.measures(), func(x measure) bool { return x.key == "gold" || x.key == "reward" })
	for _, x := range measures {
		t.Columns = append(t.Columns, report.Column{Name: capital(x.title), Numeric: true})
	}
	for _, r := range f.Table {
		row := []report.Cell{r.label()}
		for _, x := range measures {
			row = append(row, cellOf(r.Measures, x))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func cellOf(measures map[string]estimate, x measure) report.Cell {
	e, ok := measures[x.key]
	if !ok {
		return report.Text("–")
	}
	return estimated(e, x.digits)
}

func percent(e *estimate) report.Cell {
	if e == nil {
		return report.Text("–")
	}
	return estimated(estimate{Mean: 100 * e.Mean, Low: 100 * e.Low, High: 100 * e.High}, 1)
}

// estimated is a cell with an interval. None is marked as the best: that is the verdict's to say, not a digit's.
func estimated(e estimate, digits int) report.Cell {
	cell := report.Text(fixedDigits(e.Mean, digits))
	cell.Detail = fmt.Sprintf("[%s, %s]", fixedDigits(e.Low, digits), fixedDigits(e.High, digits))
	return cell
}

// bars draws a measure of all methods.
func (f *findings) bars(title, key string, axis report.Axis) report.BarCI {
	chart := report.BarCI{Title: title, X: axis}
	for _, r := range f.Table {
		if e, ok := r.Measures[key]; ok {
			chart.Rows = append(chart.Rows, report.Estimate{Label: r.Method, Series: r.Method, Value: e.Mean, Low: e.Low, High: e.High})
		}
	}
	return chart
}

// rateBars draws the win rates against PPO.
func (f *findings) rateBars() report.BarCI {
	chart := report.BarCI{Title: "Win rate against PPO", X: report.Axis{Label: "wins, ties half", Percent: true}, Reference: 0.5, ReferenceText: "even"}
	for _, judge := range []struct {
		label string
		of    func(r tableRow) *estimate
	}{{"by gold", func(r tableRow) *estimate { return r.WinGold }}, {"by score", func(r tableRow) *estimate { return r.WinScore }}} {
		for _, r := range f.Table {
			if e := judge.of(r); e != nil {
				chart.Rows = append(chart.Rows, report.Estimate{Label: judge.label, Series: r.Method, Value: e.Mean, Low: e.Low, High: e.High})
			}
		}
	}
	return chart
}

// heldOutFrontier places every evaluated model by its KL and its reward.
func (m *material) heldOutFrontier(list []contender) (chart report.ScatterChart, ok bool) {
	measures := m.measures()
	at := slices.IndexFunc(measures, func(x measure) bool { return x.key == "kl" })
	if at < 0 || (measures[0].key != "gold" && measures[0].key != "reward") {
		return chart, false
	}
	kl, reward := measures[at], measures[0]
	chart = report.ScatterChart{Title: capital(reward.title) + " over KL", X: report.Axis{Label: kl.title, Unit: "nats", Include: []float64{0}},
		Y: report.Axis{Label: reward.title}, Caption: "Every model of the final evaluation is a point; seeds of a method share colour and shape."}
	for _, c := range list {
		g := report.Group{Name: c.name}
		for i, model := range c.models {
			if len(kl.of(model)) == 0 || len(reward.of(model)) == 0 {
				continue
			}
			name := ""
			if c.seeds[i] != "" {
				name = "seed " + c.seeds[i]
			}
			g.Lines = append(g.Lines, report.Trace{Name: name, Points: []report.Point{{X: stat.Mean(kl.of(model), nil), Y: stat.Mean(reward.of(model), nil)}}})
		}
		if len(g.Lines) > 0 {
			chart.Groups = append(chart.Groups, g)
		}
	}
	return chart, len(chart.Groups) > 0
}

// perModel lists every evaluated model by itself, so that seeds can be seen.
func (m *material) perModel() report.Block {
	t := report.Table{Columns: []report.Column{{Name: "Model"}}}
	measures := m.measures()
	for _, x := range measures {
		t.Columns = append(t.Columns, report.Column{Name: capital(x.title), Numeric: true})
	}
	for i := range m.eval.Models {
		model := &m.eval.Models[i]
		row := []report.Cell{report.Text(model.Name)}
		for _, x := range measures {
			if values := x.of(model); len(values) > 0 {
				row = append(row, report.Text(fixedDigits(stat.Mean(values, nil), x.digits)))
			} else {
				row = append(row, report.Text("–"))
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return report.Details{Summary: fmt.Sprintf("All %d models one by one", len(m.eval.Models)), Blocks: []report.Block{t}}
}

// shownSamples is how many prompts the samples section shows.
const shownSamples = 6

// samplesSection sets the answers of the start policy, PPO and SALSA side by side.
func (m *material) samplesSection(list []contender) report.Section {
	s := report.Section{Title: "Samples"}
	var shown []*job.EvaluatedModel
	var names []string
	for _, name := range []string{m.display(m.base), namePPO, nameSALSA} {
		if c := find(list, name); c != nil && len(c.models[0].Text) > 0 {
			shown, names = append(shown, c.models[0]), append(names, name)
		}
	}
	if len(shown) == 0 {
		s.Blocks = append(s.Blocks, left("Samples side by side", "no evaluated model of these methods has its texts in an `eval.json`"))
		return s
	}
	count := min(shownSamples, len(m.eval.Prompts))
	s.Intro = fmt.Sprintf("%d held-out prompts at even distances through the list, for each the first sample of each method's first seed: chosen by place, not by looks.", count)
	block := report.Samples{Methods: names, ScoreName: "gold"}
	if len(shown[0].Gold) == 0 {
		block.ScoreName = "score"
	}
	for i := range count {
		prompt := i * len(m.eval.Prompts) / count
		row := report.SampleRow{Prompt: m.eval.Prompts[prompt]}
		for _, model := range shown {
			row.Answers = append(row.Answers, answerOf(model, prompt*m.eval.Samples))
		}
		block.Rows = append(block.Rows, row)
	}
	s.Blocks = append(s.Blocks, block)
	return s
}

// answerOf is a sample with its gold reward below it, or the reward model's score where there is no gold.
func answerOf(e *job.EvaluatedModel, at int) report.Sample {
	a := report.Sample{Text: strings.TrimSpace(e.Text[at]), Score: math.NaN()}
	var notes []string
	switch {
	case len(e.Gold) > 0:
		a.Score = e.Gold[at]
	case len(e.Reward) > 0:
		a.Score = e.Reward[at]
	}
	if len(e.Gold) > 0 && len(e.Reward) > 0 {
		notes = append(notes, "reward model "+fixedDigits(e.Reward[at], 2))
	}
	notes = append(notes, fmt.Sprintf("%d tokens", e.Length[at]))
	if !e.Ended[at] {
		notes = append(notes, "cut off")
	}
	a.Note = strings.Join(notes, " · ")
	return a
}

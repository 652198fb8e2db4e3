package runreport

// The page of a comparison.

import (
	"fmt"
	"slices"
	"strings"

	"salsa/internal/report"

	"gonum.org/v1/gonum/stat"
)

func (c *comparison) page() *report.Report {
	page := &report.Report{Title: c.opts.Title, Subtitle: c.opts.Lead, Footer: madeBy(compareNumbers)}
	for _, m := range c.methods {
		page.Series = append(page.Series, m.name)
	}
	title, text := c.summary()
	page.Lead = []report.Block{report.Note{Title: title, Text: text}}
	page.Sections = []report.Section{
		{Title: "Methods", Intro: c.chosenBy(), Blocks: []report.Block{
			c.table("Results", c.caption(), c.results()), c.table("What they took", "", c.costs())}},
		c.frontierSection(),
		{Title: "Every run", Intro: "Each seed by itself: what the means hide.", Blocks: []report.Block{c.everyRun()}},
		c.tuningSection(),
		c.samplesSection(),
	}
	page.Sections = slices.DeleteFunc(page.Sections, func(s report.Section) bool { return len(s.Blocks) == 0 })
	return page
}

// chosenBy says how settings were picked.
func (c *comparison) chosenBy() string {
	for _, m := range c.methods {
		if m.choice != nil {
			return fmt.Sprintf("Each method's settings are the best of its grid by mean %s on prompts of their own, with a seed of their own; the numbers below come from other prompts and other seeds.", m.choice.By)
		}
	}
	return ""
}

// frontiers draws each judge's reward over KL: the deciding one first.
func (c *comparison) frontiers() []report.ScatterChart {
	var charts []report.ScatterChart
	at := slices.IndexFunc(c.measures, func(x measure) bool { return x.key == "kl" })
	if at < 0 {
		return nil
	}
	kl := c.measures[at]
	for _, x := range c.measures {
		if x.key != "gold" && x.key != "reward" && x.key != "safety" {
			continue
		}
		chart := report.ScatterChart{Title: capital(x.title) + " over KL", Direct: true,
			X: report.Axis{Label: kl.title, Unit: "nats per completion", Include: []float64{0}}, Y: report.Axis{Label: x.title},
			Caption: "Small: a seed. Large: the mean over seeds. Up and to the left is better: more reward for the same distance."}
		for _, m := range c.methods {
			if g, ok := m.cloud(kl, x); ok {
				chart.Groups = append(chart.Groups, g)
			}
		}
		charts = append(charts, chart)
	}
	return charts
}

// cloud is a method's place in a chart: a point per seed, and their mean.
func (m *contestant) cloud(xAxis, yAxis measure) (report.Group, bool) {
	x, okX := m.row.Measures[xAxis.key]
	y, okY := m.row.Measures[yAxis.key]
	g := report.Group{Name: m.name}
	if !okX || !okY {
		return g, false
	}
	for i, seed := range m.seeds {
		g.Lines = append(g.Lines, report.Trace{Name: "seed " + seed, Points: []report.Point{{X: x.PerSeed[i], Y: y.PerSeed[i]}}})
	}
	g.Mean = []report.Point{{X: stat.Mean(x.PerSeed, nil), Y: stat.Mean(y.PerSeed, nil)}}
	return g, true
}

func (c *comparison) frontierSection() report.Section {
	s := report.Section{Title: "Frontier"}
	for _, chart := range c.frontiers() {
		s.Blocks = append(s.Blocks, chart)
	}
	rates := report.BarCI{Title: "Win rate against " + c.baseline.name, Reference: 0.5, ReferenceText: "even",
		X: report.Axis{Label: "wins by " + c.judge.title + ", ties half", Percent: true}}
	for _, m := range c.methods {
		if w := m.row.WinRate; w != nil {
			rates.Rows = append(rates.Rows, report.Estimate{Label: m.name, Series: m.name, Value: w.Mean, Low: w.Low, High: w.High})
		}
	}
	if len(rates.Rows) > 0 {
		s.Blocks = append(s.Blocks, rates)
	}
	return s
}

// everyRun lists each model by itself.
func (c *comparison) everyRun() report.Table {
	t := report.Table{Columns: []report.Column{{Name: "Method"}, {Name: "Seed"}}}
	for _, x := range c.measures {
		t.Columns = append(t.Columns, report.Column{Name: capital(x.title), Numeric: true})
	}
	t.Columns = append(t.Columns, report.Column{Name: "Wins, %", Numeric: true})
	for _, m := range c.methods {
		for i := range m.seeds {
			t.Rows = append(t.Rows, c.runRow(m, i))
		}
	}
	return t
}

// runRow is the i-th model of a method.
func (c *comparison) runRow(m *contestant, i int) []report.Cell {
	row := []report.Cell{report.Text(m.name), report.Text(m.seeds[i])}
	for _, x := range c.measures {
		text := none
		if e, ok := m.row.Measures[x.key]; ok {
			text = fixedDigits(e.PerSeed[i], x.digits)
		}
		row = append(row, report.Text(text))
	}
	wins := none
	if m.row.WinRate != nil {
		wins = fixedDigits(100*m.row.WinRate.PerSeed[i], 1)
	}
	return append(row, report.Text(wins))
}

// tuningSection lists what every choice was made from.
func (c *comparison) tuningSection() report.Section {
	s := report.Section{Title: "Tuning", Intro: "Every value tried, with its mean on the tuning prompts; the chosen one is marked."}
	t := report.Table{Columns: []report.Column{{Name: "Method"}, {Name: "Settings"}, {Name: "Mean", Numeric: true}, {Name: ""}}}
	for _, m := range c.methods {
		if m.choice == nil {
			continue
		}
		for i, candidate := range m.choice.Candidates {
			var settings []string
			for _, x := range m.row.Chosen {
				settings = append(settings, x.Key+" "+x.Tried[i])
			}
			mark := ""
			if candidate.Name == m.choice.Chosen {
				mark = "chosen"
			}
			t.Rows = append(t.Rows, []report.Cell{report.Text(m.name), report.Text(strings.Join(settings, ", ")),
				estimated(estimate{candidate.Mean, candidate.Low, candidate.High}, 3), report.Text(mark)})
		}
	}
	if len(t.Rows) > 0 {
		s.Blocks = append(s.Blocks, t)
	}
	return s
}

// comparedSamples is how many prompts the samples section shows.
const comparedSamples = 4

// samplesSection sets one answer of every method side by side.
func (c *comparison) samplesSection() report.Section {
	s := report.Section{Title: "Samples"}
	block := report.Samples{ScoreName: c.judge.key}
	var shown []*contestant
	for _, m := range c.methods {
		if len(m.models[0].Text) > 0 {
			shown, block.Methods = append(shown, m), append(block.Methods, m.name)
		}
	}
	if len(shown) == 0 {
		return s
	}
	count := min(comparedSamples, len(c.eval.Prompts))
	s.Intro = fmt.Sprintf("%d prompts at even distances through the list, for each the first sample of each method's first seed: chosen by place, not by looks.", count)
	for i := range count {
		prompt := i * len(c.eval.Prompts) / count
		row := report.SampleRow{Prompt: c.eval.Prompts[prompt]}
		for _, m := range shown {
			row.Answers = append(row.Answers, answerOf(m.models[0], prompt*c.eval.Samples))
		}
		block.Rows = append(block.Rows, row)
	}
	s.Blocks = append(s.Blocks, block)
	return s
}

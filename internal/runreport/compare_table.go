package runreport

// The table of a comparison, once for the page and once in Markdown, and the sentences that sum it up.

import (
	"fmt"
	"slices"
	"strings"

	"salsa/internal/report"
)

// tableColumn is a column of the comparison; cell returns a value and, smaller, what belongs to it.
type tableColumn struct {
	name string
	cell func(m *contestant) (text, detail string)
}

// columns lists those that any method fills: results first, then the costs.
func (c *comparison) columns() []tableColumn { return slices.Concat(c.results(), c.costs()[1:]) }

func (c *comparison) filled(list []tableColumn) []tableColumn {
	return slices.DeleteFunc(list, func(col tableColumn) bool {
		return !slices.ContainsFunc(c.methods, func(m *contestant) bool { text, _ := col.cell(m); return text != none })
	})
}

// results are what the methods came to.
func (c *comparison) results() []tableColumn {
	list := []tableColumn{{"Method", func(m *contestant) (string, string) { return m.name, m.seedCount() }}}
	for _, x := range c.measures {
		if x.key == "length" || x.key == "ended" {
			continue
		}
		list = append(list, tableColumn{capital(x.title), func(m *contestant) (string, string) { return m.shown(x) }})
	}
	return c.filled(append(list,
		tableColumn{"Wins against " + c.baseline.name + ", %", func(m *contestant) (string, string) { return m.row.WinRate.percent() }},
		tableColumn{"Tokens", func(m *contestant) (string, string) { text, _ := m.shown(c.lengths()); return text, "" }}))
}

// costs are what they took, and with which settings.
func (c *comparison) costs() []tableColumn {
	return c.filled([]tableColumn{
		{"Method", func(m *contestant) (string, string) { return m.name, "" }},
		{"Samples", func(m *contestant) (string, string) { return m.drawn() }},
		{"Time", func(m *contestant) (string, string) { return m.took(), "" }},
		{"Tuned", func(m *contestant) (string, string) { return m.tuned() }}})
}

// none stands in a cell that has no value.
const none = "–"

func (c *comparison) lengths() measure {
	return c.measures[slices.IndexFunc(c.measures, func(x measure) bool { return x.key == "length" })]
}

func (m *contestant) seedCount() string {
	if len(m.seeds) < 2 {
		return ""
	}
	return fmt.Sprintf("%d seeds", len(m.seeds))
}

// shown is a measure with its interval over prompts and its spread over seeds.
func (m *contestant) shown(x measure) (text, detail string) {
	e, ok := m.row.Measures[x.key]
	if !ok {
		return none, ""
	}
	return e.shown(x.digits)
}

func (e *overall) shown(digits int) (text, detail string) {
	detail = fmt.Sprintf("[%s, %s]", fixedDigits(e.Low, digits), fixedDigits(e.High, digits))
	if len(e.PerSeed) > 1 {
		detail += " ±" + fixedDigits(e.SD, digits)
	}
	return fixedDigits(e.Mean, digits), detail
}

// percent is a rate in percent; none for nil.
func (e *overall) percent() (text, detail string) {
	if e == nil {
		return none, ""
	}
	scaled := overall{estimate: estimate{100 * e.Mean, 100 * e.Low, 100 * e.High}, PerSeed: e.PerSeed, SD: 100 * e.SD}
	return scaled.shown(1)
}

func (m *contestant) drawn() (text, detail string) {
	if m.row.Samples == 0 {
		return none, ""
	}
	if m.row.Offline {
		detail = "offline"
	}
	return report.Number(m.row.Samples, 0), detail
}

func (m *contestant) took() string {
	if m.row.Seconds == 0 {
		return none
	}
	return span(m.row.Seconds)
}

// tuned names the settings that were chosen, and what was tried.
func (m *contestant) tuned() (text, detail string) {
	if len(m.row.Chosen) == 0 {
		return none, ""
	}
	var values, tried []string
	for _, x := range m.row.Chosen {
		values = append(values, x.Key+" "+x.Value)
		list := slices.Compact(slices.Sorted(slices.Values(x.Tried)))
		tried = append(tried, strings.Join(list, ", "))
	}
	return strings.Join(values, ", "), "of " + strings.Join(tried, "; ")
}

// table is a part of the comparison for the page.
func (c *comparison) table(title, caption string, columns []tableColumn) report.Table {
	t := report.Table{Title: title, Caption: caption}
	for i, col := range columns {
		t.Columns = append(t.Columns, report.Column{Name: col.name, Numeric: i > 0 && col.name != "Tuned"})
	}
	for _, m := range c.methods {
		var row []report.Cell
		for _, col := range columns {
			text, detail := col.cell(m)
			cell := report.Text(text)
			cell.Detail = detail
			row = append(row, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// markdown is the comparison as a table that can be pasted into a document, with what must be known to read it.
func (c *comparison) markdown() string {
	var out strings.Builder
	columns := c.columns()
	fmt.Fprintf(&out, "# %s\n\n", c.opts.Title)
	title, text := c.summary()
	fmt.Fprintf(&out, "%s\n\n", strings.Join(append([]string{title + "."}, text...), "\n\n"))
	for _, col := range columns {
		fmt.Fprintf(&out, "| %s ", escaped(col.name))
	}
	out.WriteString("|\n|")
	for i, col := range columns {
		if i == 0 || col.name == "Tuned" {
			out.WriteString(" --- |")
		} else {
			out.WriteString(" ---: |")
		}
	}
	for _, m := range c.methods {
		out.WriteString("\n|")
		for _, col := range columns {
			text, detail := col.cell(m)
			fmt.Fprintf(&out, " %s |", escaped(strings.TrimSpace(text+" "+detail)))
		}
	}
	fmt.Fprintf(&out, "\n\n%s\n", c.caption())
	return out.String()
}

// escaped keeps text from ending its cell.
func escaped(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// caption says how the numbers were made.
func (c *comparison) caption() string {
	out := fmt.Sprintf("%d prompts, %d samples each at temperature %g. [·, ·]: 95 %% bootstrap interval over prompts, seeds pooled; ±: standard deviation over seeds.",
		len(c.eval.Prompts), c.eval.Samples, c.eval.Temperature)
	if c.judged() {
		out += fmt.Sprintf(" Wins are by %s: every seed against every seed of %s, sample by sample, ties count half.", c.judge.title, c.baseline.name)
	}
	if c.start != "" {
		out += " KL in nats per completion."
	}
	if low, high := c.budgets(); high > 0 {
		out += " Samples: drawn per run; " + budgetText(low, high)
	}
	return out + " Time: training steps, per run, on one machine."
}

func budgetText(low, high float64) string {
	if low == high {
		return "the same number for all methods."
	}
	return fmt.Sprintf("**not the same for all methods: %s to %s.**", report.Number(low, 0), report.Number(high, 0))
}

// summary says which methods are told apart from the baseline; every word follows from the numbers.
func (c *comparison) summary() (title string, text []string) {
	if !c.judged() {
		return "No verdict: the evaluation has neither a gold reward nor a reward model's score", nil
	}
	groups := map[string][]string{}
	compared := 0
	for _, m := range c.methods {
		if m.row.verdict != "" && m.learnt() {
			groups[m.row.verdict] = append(groups[m.row.verdict], m.name)
			compared++
		}
	}
	title = fmt.Sprintf("Beyond the luck of prompts and of training, %d of the methods end above %s in %s and %d below",
		len(groups[ahead]), c.baseline.name, c.judge.title, len(groups[behind]))
	for _, g := range []struct{ verdict, words string }{{ahead, "Above"}, {behind, "Below"}, {undecided, "Not told apart"}} {
		if list := groups[g.verdict]; len(list) > 0 {
			text = append(text, fmt.Sprintf("%s: %s.", g.words, strings.Join(list, ", ")))
		}
	}
	if compared > 4 {
		text = append(text, fmt.Sprintf("With %d comparisons at 95 %%, about one in twenty may look decided by chance alone.", compared))
	}
	return title, text
}

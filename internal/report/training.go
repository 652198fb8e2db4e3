// Training curves from metrics.jsonl: the metrics that matter first, by meaning, all others behind a
// click, for one run or for several laid over each other.

package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"salsa/internal/metrics"
)

// Training is one run's rows, as metrics.Read returns them.
type Training struct {
	Name string // the run's or method's name, its legend when several are compared
	Rows []metrics.Row
}

// panel is a chart of metrics that belong together; labels name its lines.
type panel struct {
	title, unit  string
	keys, labels []string
}

// panels lists the charts in the order of a report.
var panels = []panel{
	{"Loss", "", []string{"loss"}, []string{"loss"}},
	{"Score", "reward model", []string{"objective/scores", "objective/rlhf_reward"}, []string{"score", "score − KL penalty"}},
	{"Reward", "", []string{"reward"}, []string{"reward"}},
	{"KL to the reference", "nats per completion", []string{"objective/kl"}, []string{"KL"}},
	{"Rewards of the pair", "", []string{"rewards/chosen", "rewards/rejected", "rewards/margins"}, []string{"chosen", "rejected", "margin"}},
	{"Accuracy", "", []string{"rewards/accuracies", "accuracy", "mean_token_accuracy"}, []string{"preferred answer", "preferred answer", "next token"}},
	{"Margin", "", []string{"margin"}, []string{"margin"}},
	{"Entropy", "nats per token", []string{"policy/entropy_avg", "entropy"}, []string{"entropy", "entropy"}},
	{"Losses", "", []string{"loss/policy_avg", "loss/value_avg"}, []string{"policy", "value"}},
	{"Clipped", "share of tokens", []string{"policy/clipfrac_avg", "val/clipfrac_avg"}, []string{"policy", "value"}},
	{"Change per update", "nats per token", []string{"policy/approxkl_avg"}, []string{"approximate KL"}},
	{"Completion length", "tokens", []string{"completions/mean_length", "response_length/mean"}, []string{"mean", "mean"}},
	{"Gradient norm", "", []string{"grad_norm"}, []string{"norm"}},
	{"Learning rate", "", []string{"lr", "learning_rate"}, []string{"lr", "lr"}},
}

// TrainingBlocks charts the runs' metrics over optimizer steps. One run shows related metrics in one chart;
// several runs get a chart per metric with a line per run. Metrics that no panel knows follow in a
// closed part, timings in another.
func TrainingBlocks(runs ...Training) []Block {
	left := allKeys(runs)
	var charts Columns
	for _, p := range panels {
		if len(runs) == 1 {
			if chart, ok := p.chart(runs[0]); ok {
				charts = append(charts, chart)
			}
		}
		for i, key := range p.keys {
			if !slices.Contains(left, key) {
				continue
			}
			left = slices.DeleteFunc(left, func(k string) bool { return k == key })
			if len(runs) > 1 {
				charts = append(charts, compared(p.heading(i), p.unit, key, runs))
			}
		}
	}
	var other, timing Columns
	for _, key := range left {
		if metrics.IsTiming(key) {
			timing = append(timing, compared(key, "", key, runs))
			continue
		}
		other = append(other, compared(key, "", key, runs))
	}
	var blocks []Block
	if len(charts) > 0 {
		blocks = append(blocks, charts)
	}
	if len(other) > 0 {
		blocks = append(blocks, Details{Summary: fmt.Sprintf("All other metrics (%d)", len(other)), Blocks: []Block{other}})
	}
	if len(timing) > 0 {
		blocks = append(blocks, Details{Summary: fmt.Sprintf("Speed and memory (%d)", len(timing)), Blocks: []Block{timing}})
	}
	return blocks
}

// heading titles the chart of a single key of the panel.
func (p panel) heading(i int) string {
	if len(p.keys) == 1 || strings.EqualFold(p.labels[i], p.title) {
		return p.title
	}
	return p.title + ": " + p.labels[i]
}

// chart draws all keys of the panel that the run has.
func (p panel) chart(run Training) (LineChart, bool) {
	chart := LineChart{Title: p.title, X: Axis{Label: "step"}, Y: Axis{Unit: p.unit}}
	var keys []string
	for i, key := range p.keys {
		if s := series(p.labels[i], key, run.Rows); len(s.Points) > 0 {
			chart.Series, keys = append(chart.Series, s), append(keys, key)
		}
	}
	chart.Y.Label = strings.Join(keys, ", ")
	return chart, len(chart.Series) > 0
}

// compared draws one metric of all runs.
func compared(title, unit, key string, runs []Training) LineChart {
	chart := LineChart{Title: title, X: Axis{Label: "step"}, Y: Axis{Label: key, Unit: unit}}
	for _, run := range runs {
		chart.Series = append(chart.Series, series(run.Name, key, run.Rows))
	}
	return chart
}

// series picks one metric out of rows.
func series(name, key string, rows []metrics.Row) Series {
	s := Series{Name: name}
	for _, row := range rows {
		if v, ok := row.Values[key]; ok {
			s.Points = append(s.Points, Point{X: float64(row.Step), Y: v})
		}
	}
	if len(s.Points) > 2*marked {
		s.Smooth = 0.8
	}
	return s
}

// allKeys lists every metric of the runs, sorted.
func allKeys(runs []Training) []string {
	seen := map[string]bool{}
	for _, run := range runs {
		for _, row := range run.Rows {
			for key := range row.Values {
				seen[key] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// HintNotes turns the hints that a run gave into notes; none makes a note that says so.
func HintNotes(hints []metrics.Hint) []Block {
	if len(hints) == 0 {
		return []Block{Note{Verdict: Good, Title: "All watched metrics stayed in their healthy ranges"}}
	}
	var notes []Block
	for _, h := range hints {
		notes = append(notes, Note{Verdict: Mixed, Title: fmt.Sprintf("%s was %s at step %d", h.Key, brief(h.Value), h.Step),
			Text: []string{strings.ToUpper(h.Text[:1]) + h.Text[1:] + "."}})
	}
	return notes
}

// HintsOf replays the healthy ranges over finished rows.
func HintsOf(rows []metrics.Row) []metrics.Hint {
	var watch metrics.Watch
	for _, row := range rows {
		watch.Check(row.Step, row.Values)
	}
	return watch.Hints()
}

package runreport

// Sections of a report: curves, the walk along α, the final evaluation and samples.

import (
	"fmt"
	"math"
	"strings"

	"salsa/internal/job"
	"salsa/internal/report"
)

// frontierCharts draws gold and score over KL: the frontier.
func (m *material) frontierCharts(stride int) []report.ScatterChart {
	var charts []report.ScatterChart
	caption := fmt.Sprintf("Thin lines: seeds, a point is the mean of %s. Bold: mean over seeds and neighbouring points. Where a colour is missing, the lines lie on top of each other.", strideText(stride))
	for _, x := range []struct{ title, key, label string }{
		{"Gold reward over KL", keyGold, "gold reward, share of the optimum"},
		{"Reward model's score over KL", keyScore, "reward model's score"},
	} {
		chart := m.frontier(x.title, x.key, x.label, stride)
		if chart.Caption = caption; len(chart.Groups) > 0 {
			charts = append(charts, chart)
		}
	}
	return charts
}

// frontierSection explains and draws the frontier.
func (m *material) frontierSection(f *findings, stride int) report.Section {
	s := report.Section{Title: "Reward against KL", Intro: "Further from the start policy (to the right) the reward model's score should rise, for that is what is optimised. What counts is how high the true reward stands at the same distance. Where the score goes on rising and gold falls, the policy has found the reward model's mistakes: over-optimisation."}
	charts := m.frontierCharts(stride)
	if len(charts) == 0 {
		s.Blocks = append(s.Blocks, left("The frontier", "no run of PPO or SALSA logged its KL to the start policy (`--watch-kl`)"))
		return s
	}
	if len(charts) == 2 {
		s.Blocks = append(s.Blocks, report.Columns{charts[0], charts[1]})
	} else {
		s.Blocks = append(s.Blocks, charts[0], left("Gold over KL", "no exact reward was logged; whether the score's rise is real cannot be seen here"))
	}
	for _, x := range f.Summits {
		if x.Metric == keyGold {
			s.Blocks = append(s.Blocks, report.Paragraph(bendText(x, f.Summits)))
		}
	}
	if len(f.EqualKL) > 0 {
		s.Blocks = append(s.Blocks, m.equalTable(f))
	} else if len(m.methods()) == 2 {
		s.Blocks = append(s.Blocks, left("The comparison at equal KL", "the two mean curves share no range of KL"))
	}
	return s
}

// bendText tells what a method's gold curve does, and whether the reward model noticed.
func bendText(gold summit, all []summit) string {
	at := func(p spot) string { return fmt.Sprintf("%s at KL %s", fixedDigits(p.Value, 3), fixedDigits(p.KL, 1)) }
	if !gold.bent() {
		return fmt.Sprintf("**%s**: gold goes from %s to %s. Its best, %s, is not clearly above its end: no over-optimisation shows within these steps.",
			gold.Method, at(gold.First), at(gold.Last), at(gold.Best))
	}
	out := fmt.Sprintf("**%s**: gold rises from %s to %s (step %d) and then falls to %s", gold.Method, at(gold.First), at(gold.Best), gold.BestAt, at(gold.Last))
	if gold.Best == gold.First {
		out = fmt.Sprintf("**%s**: gold never rises; it falls from %s to %s", gold.Method, at(gold.First), at(gold.Last))
	}
	for _, score := range all {
		if score.Metric != keyScore || score.Method != gold.Method {
			continue
		}
		rise := fmt.Sprintf("the reward model's score goes from %s to %s", fixedDigits(score.First.Value, 2), fixedDigits(score.Last.Value, 2))
		if score.Last.Value > score.First.Value && !score.bent() {
			return out + ", while " + rise + ": over-optimisation."
		}
		return out + ", and " + rise + ": not over-optimisation alone, the run as a whole went wrong."
	}
	return out + "."
}

// equalTable compares the mean curves at equal KL.
func (m *material) equalTable(f *findings) report.Table {
	what, digits := "gold", 3
	if m.frontierKey() != keyGold {
		what, digits = "score", 2
	}
	t := report.Table{Title: "At equal KL", Columns: []report.Column{{Name: "KL to the start policy"}, {Name: "PPO, " + what, Numeric: true},
		{Name: "SALSA, " + what, Numeric: true}, {Name: "SALSA − PPO", Numeric: true}, {Name: "By seed"}},
		Caption: "Read off the bold curves by interpolation, within the range that both reach; where a curve passes a KL more than once, at its best. Seeds are compared where both of a seed came so far; no interval is given, for points of one run are not independent."}
	for _, e := range f.EqualKL {
		var seeds []string
		for _, v := range e.PerSeed {
			seeds = append(seeds, signed(v, digits))
		}
		t.Rows = append(t.Rows, []report.Cell{report.Text(fixedDigits(e.KL, 1)), report.Text(fixedDigits(e.PPO, digits)), report.Text(fixedDigits(e.SALSA, digits)),
			report.Text(signed(e.SALSA-e.PPO, digits)), report.Text(strings.Join(seeds, ", "))})
	}
	return t
}

// learning draws the curves of PPO and SALSA, of the SFT runs and of the reward model.
func (m *material) learning(stride int) report.Section {
	s := report.Section{Title: "Learning curves", Intro: fmt.Sprintf("Means over seeds, a point for %s; the band goes from the lowest seed to the highest.", strideText(stride))}
	main := []struct{ title, unit, key string }{
		{"Gold reward", "share of the optimum", keyGold}, {"Reward model's score", "", keyScore},
		{"KL to its own reference", "nats per completion", keyKL}, {"KL to the start policy", "nats per completion", keyKLStart},
		{"Completion length", "tokens", "completions/mean_length"}, {"Entropy", "nats per token", "policy/entropy_avg"},
	}
	more := []struct{ title, unit, key string }{
		{"KL to the soup", "nats per completion", keyKL + "_" + m.soup}, {"Completions cut off", "share", "completions/clipped_ratio"},
		{"Value network: variance explained", "share", "val/explained_var"}, {"Value loss", "", "loss/value_avg"},
		{"Change per update", "nats per token", "policy/approxkl_avg"}, {"Clipped tokens", "share", "policy/clipfrac_avg"},
	}
	var top, rest, before report.Columns
	for _, x := range main {
		if chart, ok := m.banded(x.title, x.unit, x.key, stride); ok {
			top = append(top, chart)
		}
	}
	for _, x := range more {
		if chart, ok := m.banded(x.title, x.unit, x.key, stride); ok {
			rest = append(rest, chart)
		}
	}
	if len(m.sft) > 0 {
		before = append(before, m.sftChart())
	} else {
		s.Blocks = append(s.Blocks, left("SFT losses", "no SFT run is named (`--sft`)"))
	}
	if m.reward != nil {
		before = append(before, m.rewardChart())
	} else {
		s.Blocks = append(s.Blocks, left("The reward model's accuracy", "its run is not named (`--reward`)"))
	}
	if len(top) > 0 {
		s.Blocks = append(s.Blocks, top, report.Details{Summary: fmt.Sprintf("%d more curves of PPO and SALSA", len(rest)), Blocks: []report.Block{rest}})
	} else {
		s.Blocks = append(s.Blocks, left("PPO's and SALSA's curves", "no run of theirs is named (`--ppo`, `--salsa`)"))
	}
	if len(before) > 0 {
		s.Blocks = append(s.Blocks, before)
	}
	if len(top) > 0 {
		s.Blocks = append(s.Blocks, m.health())
	}
	return s
}

// health lists where runs of PPO and SALSA left the ranges that are usual for their metrics.
func (m *material) health() report.Block {
	t := report.Table{Columns: []report.Column{{Name: "Run"}, {Name: "Metric"}, {Name: "Step", Numeric: true}, {Name: "Value", Numeric: true}, {Name: "What it may mean"}}}
	for _, x := range m.methods() {
		for _, run := range x.runs {
			for _, h := range report.HintsOf(run.rows) {
				t.Rows = append(t.Rows, []report.Cell{report.Text(run.name), report.Text(h.Key), report.Text(fmt.Sprint(h.Step)), report.Value(h.Value, 3), report.Text(h.Text)})
			}
		}
	}
	if len(t.Rows) == 0 {
		return report.Note{Verdict: report.Good, Title: "All watched metrics of PPO and SALSA stayed in their usual ranges"}
	}
	return report.Details{Summary: fmt.Sprintf("%d times a metric left its usual range", len(t.Rows)), Blocks: []report.Block{t}}
}

// sftChart draws the training losses of the SFT runs, and their held-out losses where they were measured on the way.
func (m *material) sftChart() report.LineChart {
	chart := report.LineChart{Title: "SFT: loss per token", X: report.Axis{Label: "step"}, Y: report.Axis{Label: "nats"}}
	var held []string
	for _, run := range m.sft {
		chart.Series = append(chart.Series, run.line(m.display(run.name), "loss"))
		if v, ok := run.lastOf("eval_loss"); ok {
			held = append(held, fmt.Sprintf("%s %s", m.display(run.name), report.Number(v, 3)))
		}
	}
	if len(held) > 0 {
		chart.Caption = "On held-out demonstrations at the end: " + strings.Join(held, ", ") + "."
	}
	return chart
}

// Lines of the reward model's chart; they keep colours of their own, so that none looks like a method's.
const (
	seriesAccuracy = "accuracy"
	seriesLoss     = "loss"
)

// rewardChart draws the reward model's accuracy, a point for a stride of its own.
func (m *material) rewardChart() report.LineChart {
	chart := report.LineChart{Title: "Reward model: accuracy and loss", X: report.Axis{Label: "step"},
		Series: []report.Series{m.reward.line(seriesAccuracy, "accuracy"), m.reward.line(seriesLoss, "loss")}}
	if a := m.reward.accuracy(); a.Held > 0 {
		chart.Caption = fmt.Sprintf("Accuracy: share of pairs where the chosen answer scores higher. At the end %s %% on held-out pairs, %s %% in training. No model can foresee an annotator's own slips.",
			report.Number(100*a.Held, 1), report.Number(100*a.Train, 1))
	}
	return chart
}

// line is a metric of one run, averaged to at most curvePoints points.
func (r *ranRun) line(name, key string) report.Series {
	stride := max(1, (r.steps()+curvePoints-1)/curvePoints)
	s := report.Series{Name: name}
	for i, v := range binned(r.rows, key, stride) {
		s.Points = append(s.Points, report.Point{X: middle(i, stride), Y: v})
	}
	return s
}

// sweepSection draws what the mixes of two SFT models are worth.
func (m *material) sweepSection() report.Section {
	s := report.Section{Title: "Walk along α", Intro: "Each point is a soup α·first + (1−α)·second, measured on held-out rows. If the loss sags or stays level between the ends, the two fine-tunes lie in one basin and their mean is a model too; a hill in between would make it a poor reference."}
	if m.sweep == nil || len(m.sweep.Points) == 0 {
		s.Blocks = append(s.Blocks, left("The walk along α", "there is no `sweep.json` (`salsa soup --sweep 0:1:0.1`)"))
		return s
	}
	var charts report.Columns
	for _, x := range []struct {
		title, unit string
		of          func(p job.SweepPoint) *float64
	}{
		{"Held-out loss", "nats per token", func(p job.SweepPoint) *float64 { return p.Loss }},
		{"Reward model's score", "", func(p job.SweepPoint) *float64 { return p.Reward }},
		{"Gold reward", "share of the optimum", func(p job.SweepPoint) *float64 { return p.Gold }},
	} {
		line := report.Series{Name: nameSoup}
		for _, p := range m.sweep.Points {
			if v := x.of(p); v != nil {
				line.Points = append(line.Points, report.Point{X: p.Alpha, Y: *v})
			}
		}
		if len(line.Points) > 0 {
			charts = append(charts, report.LineChart{Title: x.title, X: report.Axis{Label: "α"}, Y: report.Axis{Label: x.unit}, Series: []report.Series{line}})
		}
	}
	charts = append(charts, m.sweepKL())
	s.Blocks = append(s.Blocks, charts)
	if text := m.barrierText(); text != "" {
		s.Blocks = append(s.Blocks, report.Paragraph(text))
	}
	return s
}

// slightRise is a rise of the loss, in nats per token, that no reader need worry about.
const slightRise = 0.001

// barrierText tells how far the loss between the ends rises above the straight line from end to end: the barrier
// that linear mode connectivity is about (Frankle et al. 2020, arXiv 1912.05671).
func (m *material) barrierText() string {
	points := m.sweep.Points
	first, last := points[0], points[len(points)-1]
	if first.Loss == nil || last.Loss == nil || len(points) < 3 {
		return ""
	}
	worst, at := math.Inf(-1), 0.0
	for _, p := range points[1 : len(points)-1] {
		if p.Loss == nil {
			continue
		}
		share := (p.Alpha - first.Alpha) / (last.Alpha - first.Alpha)
		if rise := *p.Loss - (1-share)**first.Loss - share**last.Loss; rise > worst {
			worst, at = rise, p.Alpha
		}
	}
	if math.IsInf(worst, -1) {
		return ""
	}
	rises := fmt.Sprintf("Above the straight line between the ends the held-out loss rises by %s at most (α = %g)", signed(worst, 4), at)
	out := "**Barrier.** " + rises
	switch {
	case worst <= 0:
		out = fmt.Sprintf("**No barrier.** Between the ends the held-out loss stays below the straight line that joins them, by %.4f at least (α = %g)", -worst, at)
	case worst < slightRise:
		out = "**No barrier to speak of.** " + rises
	}
	return out + ". Scores, gold and KL come from samples, so their neighbouring points also differ by chance."
}

// sweepKL draws the KL to each member along α.
func (m *material) sweepKL() report.LineChart {
	chart := report.LineChart{Title: "KL to each end", X: report.Axis{Label: "α"}, Y: report.Axis{Label: "nats per completion", Include: []float64{0}}}
	for _, dir := range m.sweep.Members {
		line := report.Series{Name: m.display(lastName(dir))}
		for _, p := range m.sweep.Points {
			if v, ok := p.KL[lastName(dir)]; ok {
				line.Points = append(line.Points, report.Point{X: p.Alpha, Y: v})
			}
		}
		chart.Series = append(chart.Series, line)
	}
	return chart
}

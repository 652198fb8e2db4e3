package job

// Sections of a report: curves, the walk along α, the final evaluation and samples.

import (
	"fmt"
	"strings"

	"salsa/internal/report"
)

// frontierCharts draws gold and score over KL: the frontier.
func (m *material) frontierCharts(stride int) []report.ScatterChart {
	var charts []report.ScatterChart
	caption := fmt.Sprintf("Thin lines: seeds, a point is the mean of %s. Bold: mean over seeds and neighbouring points.", strideText(stride))
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
	s := report.Section{Title: "Reward against KL", Intro: "Further from the start policy (to the right) the reward model's score rises, for that is what is optimised. What counts is how high the true reward stands at the same distance. Where the score goes on rising and gold falls, the policy has found the reward model's mistakes: over-optimisation."}
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

// bendText tells what a method's gold curve does.
func bendText(gold summit, all []summit) string {
	out := fmt.Sprintf("**%s**: mean gold %s at KL %s (step %d) is the best of the curve", gold.Method,
		report.Number(gold.Best.Value, 3), report.Number(gold.Best.KL, 1), gold.BestAt)
	if !gold.bent() {
		return out + fmt.Sprintf("; it ends at %s (KL %s), not clearly below it: no over-optimisation shows within these steps.", report.Number(gold.Last.Value, 3), report.Number(gold.Last.KL, 1))
	}
	out += fmt.Sprintf(", and it falls to %s at KL %s", report.Number(gold.Last.Value, 3), report.Number(gold.Last.KL, 1))
	for _, score := range all {
		if score.Metric != keyScore || score.Method != gold.Method {
			continue
		}
		if !score.bent() {
			return out + fmt.Sprintf(" while the reward model's score stays up (best %s, end %s): over-optimisation.", report.Number(score.Best.Value, 2), report.Number(score.Last.Value, 2))
		}
	}
	return out + "; the score falls too, so this is a run that went off, not only a reward model that was gamed."
}

// equalTable compares the mean curves at equal KL.
func (m *material) equalTable(f *findings) report.Table {
	what, digits := "gold", 3
	if m.frontierKey() != keyGold {
		what, digits = "score", 2
	}
	t := report.Table{Title: "At equal KL", Columns: []report.Column{{Name: "KL to the start policy", Numeric: true}, {Name: "PPO, " + what, Numeric: true},
		{Name: "SALSA, " + what, Numeric: true}, {Name: "SALSA − PPO", Numeric: true}, {Name: "by seed"}},
		Caption: "Read off the bold curves by interpolation, within the range that both reach; where a curve passes a KL more than once, at its best. Seeds are compared where both of a seed came so far; no interval is given, for points of one run are not independent."}
	for _, e := range f.EqualKL {
		var seeds []string
		for _, v := range e.PerSeed {
			seeds = append(seeds, signed(v, digits))
		}
		t.Rows = append(t.Rows, []report.Cell{report.Value(e.KL, 1), report.Value(e.PPO, digits), report.Value(e.SALSA, digits),
			report.Text(signed(e.SALSA-e.PPO, digits)), report.Text(strings.Join(seeds, ", "))})
	}
	return t
}

// learning draws the curves of PPO and SALSA, of the SFT runs and of the reward model.
func (m *material) learning(stride int) report.Section {
	s := report.Section{Title: "Learning curves", Intro: fmt.Sprintf("Means over seeds, a point for %s; the band goes from the lowest seed to the highest.", strideText(stride))}
	main := []struct{ title, unit, key string }{
		{"Gold reward", "share of the optimum", keyGold}, {"Reward model's score", "", keyScore},
		{"KL to the own reference", "nats per completion", keyKL}, {"KL to the start policy", "nats per completion", keyKLStart},
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
	return s
}

// sftChart draws the training losses of the SFT runs, and their held-out losses where they were measured on the way.
func (m *material) sftChart() report.LineChart {
	chart := report.LineChart{Title: "SFT: loss per token", X: report.Axis{Label: "step"}, Y: report.Axis{Unit: "nats"}}
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

// rewardChart draws the reward model's accuracy, a point for a stride of its own.
func (m *material) rewardChart() report.LineChart {
	chart := report.LineChart{Title: "Reward model: accuracy and loss", X: report.Axis{Label: "step"},
		Series: []report.Series{m.reward.line("accuracy", "accuracy"), m.reward.line("loss", "loss")}}
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
	s := report.Section{Title: "Along the way between two models", Intro: "Each point is a soup α·first + (1−α)·second, measured on held-out rows. If the loss sags or stays level between the ends, the two fine-tunes lie in one basin and their mean is a model too; a hill in between would make it a poor reference."}
	if m.sweep == nil || len(m.sweep.Points) == 0 {
		s.Blocks = append(s.Blocks, left("The walk along α", "there is no `sweep.json` (`salsa soup --sweep 0:1:0.1`)"))
		return s
	}
	var charts report.Columns
	for _, x := range []struct {
		title, unit string
		of          func(p SweepPoint) *float64
	}{
		{"Held-out loss", "nats per token", func(p SweepPoint) *float64 { return p.Loss }},
		{"Reward model's score", "", func(p SweepPoint) *float64 { return p.Reward }},
		{"Gold reward", "share of the optimum", func(p SweepPoint) *float64 { return p.Gold }},
	} {
		line := report.Series{Name: nameSoup}
		for _, p := range m.sweep.Points {
			if v := x.of(p); v != nil {
				line.Points = append(line.Points, report.Point{X: p.Alpha, Y: *v})
			}
		}
		if len(line.Points) > 0 {
			charts = append(charts, report.LineChart{Title: x.title, X: report.Axis{Label: "α"}, Y: report.Axis{Unit: x.unit}, Series: []report.Series{line}})
		}
	}
	charts = append(charts, m.sweepKL())
	s.Blocks = append(s.Blocks, charts)
	return s
}

// sweepKL draws the KL to each member along α.
func (m *material) sweepKL() report.LineChart {
	chart := report.LineChart{Title: "KL to each end", X: report.Axis{Label: "α"}, Y: report.Axis{Unit: "nats per completion", Include: []float64{0}}}
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

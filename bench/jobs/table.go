package main

// results.md: one table, in units that people read.

import (
	"fmt"
	"strings"
)

func (r *results) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# Whole jobs beside the Python tools\n\n")
	fmt.Fprintf(&out, "Written by `make bench-jobs`; docs/performance.md says what each row is. Salsa %s, %s, %s, %d threads on %d cores, fp32 unless a row says\n",
		r.Commit, r.Date, r.CPU, r.Threads, r.Cores)
	fmt.Fprintf(&out, "otherwise, a Llama of 58 million parameters. Figures are medians of processes that ran in turn; a ratio is the rival's figure over salsa's of\n")
	fmt.Fprintf(&out, "the same round (above 1: salsa is ahead), with the least and the largest of all rounds in brackets.\n\n")
	fmt.Fprintf(&out, "| job | measure | salsa | stock | tuned | stock/salsa | tuned/salsa | rounds |\n|---|---|--:|--:|--:|--:|--:|--:|\n")
	last := ""
	for _, l := range r.Lines {
		name := ""
		if l.Row != last {
			name = fmt.Sprintf("**%s**: %s", l.Row, l.What)
		}
		last = l.Row
		tuned, ratio := "", ""
		if l.Tuned != nil {
			tuned, ratio = l.show(l.Tuned.Median), l.RatioTuned.ratio()
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s | %s | %d |\n", name, l.title(), l.show(l.Salsa.Median), l.show(l.Stock.Median), tuned,
			l.RatioStock.ratio(), ratio, l.Rounds)
	}
	fmt.Fprintf(&out, "\nThe machine's limits, measured in the same run:\n\n| limit | value |\n|---|--:|\n")
	for _, l := range r.Limits {
		fmt.Fprintf(&out, "| %s | %.4g %s |\n", l.Name, l.Value, l.Unit)
	}
	return out.String()
}

func (s spread) ratio() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Low, s.High) }

// title is the measure as the table names it.
func (l line) title() string {
	switch {
	case l.Measure == "rss":
		return "peak memory"
	case l.Measure == "wall":
		return "whole process"
	case l.throughput():
		return l.Unit + "s per second"
	case l.Measure == "step":
		return "time per " + l.Unit
	}
	return l.Measure
}

// throughput reports whether readers expect a speed where a time is kept. The ratio stays that of times.
func (l line) throughput() bool {
	return l.Measure == "step" && (l.Unit == "token" || l.Unit == "pair")
}

func (l line) show(v float64) string {
	switch {
	case l.Measure == "rss":
		return fmt.Sprintf("%.0f MB", v/1e6)
	case l.throughput():
		return fmt.Sprintf("%.4g", 1/v)
	case v < 1e-4:
		return fmt.Sprintf("%.3g µs", v*1e6)
	case v < 0.1:
		return fmt.Sprintf("%.3g ms", v*1e3)
	}
	return fmt.Sprintf("%.3g s", v)
}

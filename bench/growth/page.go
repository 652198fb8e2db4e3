package main

// The fit, the figures and the table.

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/report"
)

// exponent is the slope of log y over log x by least squares: 1 is linear, 2 quadratic.
func exponent(xs, ys []float64) float64 {
	n, sx, sy := float64(len(xs)), 0.0, 0.0
	for i := range xs {
		sx, sy = sx+math.Log(xs[i]), sy+math.Log(ys[i])
	}
	var top, bottom float64
	for i := range xs {
		dx := math.Log(xs[i]) - sx/n
		top, bottom = top+dx*(math.Log(ys[i])-sy/n), bottom+dx*dx
	}
	return top / bottom
}

// columns returns a curve's points as numbers side by side.
func (m measured) columns() (xs, seconds, bytes []float64) {
	for _, p := range m.Points {
		xs, seconds, bytes = append(xs, p.X), append(seconds, p.Seconds), append(bytes, p.Bytes)
	}
	return xs, seconds, bytes
}

// fits are the exponents over all points, and over the upper ones, where fixed costs weigh less.
func fits(xs, ys []float64) (all, upper float64) {
	from := max(0, len(xs)-3)
	return exponent(xs, ys), exponent(xs[from:], ys[from:])
}

// Lines of the page between which the program writes.
const (
	begin = "<!-- growth: written by make bench-growth -->"
	end   = "<!-- end of growth -->"
)

// writePage draws the figures beside the page and replaces the part of the page between the two marks.
func writePage(page string, known []measured) error {
	raw, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fault.Inputf("%s: the lines %q and %q are not both there; restore them", page, begin, end)
	}
	folder := filepath.Join(filepath.Dir(page), "growth")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var table, figures strings.Builder
	table.WriteString("| what grows | from | to | cost | time: exponent | upper three | memory at the ends |\n|---|--:|--:|---|--:|--:|---|\n")
	for _, c := range curves {
		at := slices.IndexFunc(known, func(m measured) bool { return m.Name == c.name })
		if at < 0 || len(known[at].Points) < 3 {
			continue
		}
		m := known[at]
		xs, seconds, bytes := m.columns()
		all, upper := fits(xs, seconds)
		last := len(xs) - 1
		fmt.Fprintf(&table, "| %s | %.0f | %.0f | %s: %.3g s → %.3g s | %.2f | %.2f | %.0f → %.0f MB |\n", c.axis, xs[0], xs[last], c.what,
			seconds[0], seconds[last], all, upper, bytes[0]/1e6, bytes[last]/1e6)
		for _, f := range []struct{ kind, unit string }{{"time", "s"}, {"memory", "MB"}} {
			if err := draw(folder, c, m, f.kind, f.unit); err != nil {
				return err
			}
			fmt.Fprintf(&figures, "![%s against %s](growth/%s-%s.svg)\n", f.kind, c.axis, c.name, f.kind)
		}
	}
	return os.WriteFile(page, []byte(head+begin+"\n\n"+table.String()+"\n"+figures.String()+"\n"+end+tail), 0o644)
}

// draw writes one curve as a figure on logarithmic axes, with a line of exponent 1 through its last point.
func draw(folder string, c curve, m measured, kind, unit string) error {
	series := []report.Series{{Name: kind}, {Name: "in proportion", Dashed: true}}
	xs, seconds, bytes := m.columns()
	ys := seconds
	if kind == "memory" {
		for i := range bytes {
			bytes[i] /= 1e6
		}
		ys = bytes
	}
	last := len(xs) - 1
	for i := range xs {
		series[0].Points = append(series[0].Points, report.Point{X: xs[i], Y: ys[i]})
		series[1].Points = append(series[1].Points, report.Point{X: xs[i], Y: ys[last] * xs[i] / xs[last]})
	}
	if kind == "memory" {
		series = series[:1] // a process has its libraries in memory before the first row: nothing is in proportion
	}
	chart := report.LineChart{
		Title:   fmt.Sprintf("%s against %s", strings.ToUpper(kind[:1])+kind[1:], c.axis),
		Caption: c.what,
		X:       report.Axis{Label: c.axis, Log: true},
		Y:       report.Axis{Label: map[string]string{"time": "time", "memory": "peak memory"}[kind], Unit: unit, Log: true},
		Series:  series,
	}
	file, err := os.Create(filepath.Join(folder, c.name+"-"+kind+".svg"))
	if err != nil {
		return err
	}
	if err := report.WriteSVG(file, chart); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// Interval charts: one row per benchmark, a point with its confidence interval per method.

package report

import (
	"fmt"
	"slices"
)

// Estimate is a value with an interval, drawn in the row named Label in the colour of Series.
type Estimate struct {
	Label, Series    string
	Value, Low, High float64
	Text             string // printed at the right; "" prints value and interval
}

// BarCI draws estimates with their intervals, and a line that stands for "no difference".
type BarCI struct {
	Title, Caption string
	X              Axis
	Rows           []Estimate
	Reference      float64
	ReferenceText  string // "" draws no reference line
}

const (
	rowHeight  = 30.0 // of one estimate
	groupSpace = 12.0 // between labels
	labelSpace = 20.0 // of a label above its rows, where there is no room beside them
)

// stacked reports whether labels go above their rows: on narrow drawings, unless all are short.
func (b BarCI) stacked(width float64) bool {
	const short = 70.0 // leaves the values most of a narrow drawing
	return width < 600 && slices.ContainsFunc(b.Rows, func(r Estimate) bool { return textWidth(r.Label, textSize+0.5) > short })
}

// headroom is the space above the rows: for the name of the reference line, if there is one.
func (b BarCI) headroom() float64 {
	if b.ReferenceText == "" {
		return 6
	}
	return 26
}

func (b BarCI) render(p *page)                { p.figure(b) }
func (b BarCI) head() (title, caption string) { return b.Title, b.Caption }

func (b BarCI) names() []string {
	var names []string
	for _, r := range b.Rows {
		if !slices.Contains(names, r.Series) {
			names = append(names, r.Series)
		}
	}
	return names
}

// keys lists what the legend must explain: nothing where every row is labelled with its own series.
func (b BarCI) keys() []string {
	if !slices.ContainsFunc(b.Rows, func(r Estimate) bool { return r.Label != r.Series }) {
		return nil
	}
	return b.names()
}

// labels lists the rows' labels in the order of first appearance.
func (b BarCI) labels() []string {
	var labels []string
	for _, r := range b.Rows {
		if !slices.Contains(labels, r.Label) {
			labels = append(labels, r.Label)
		}
	}
	return labels
}

func (b BarCI) height(width float64) float64 {
	labels := float64(len(b.labels()))
	height := legendHeight(b.keys(), width) + b.headroom() + rowHeight*float64(len(b.Rows)) + groupSpace*labels + 52
	if b.stacked(width) {
		height += labelSpace * labels
	}
	return height
}

func (b BarCI) draw(c *canvas, width, height float64) {
	top := c.legend(b.keys(), width) + b.headroom()
	left, right := 0.0, 0.0
	var xs []float64
	for _, r := range b.Rows {
		left = max(left, textWidth(r.Label, textSize+0.5)+18)
		right = max(right, textWidth(b.text(r), textSize)+24)
		xs = append(xs, finite(r.Value, r.Low, r.High)...)
	}
	if b.ReferenceText != "" {
		xs = append(xs, b.Reference)
	}
	left = min(left, width*0.4)
	if b.stacked(width) {
		left = 20 // half a tick label
	}
	x := newScale(b.X, xs, left, width-right, loose)
	bottom := height - 46
	for i, v := range x.ticks {
		at := x.pixel(v)
		c.void("line", "class", "grid", "x1", px(at), "x2", px(at), "y1", px(top), "y2", px(bottom))
		c.leaf("text", x.label(i), "class", "tick", "text-anchor", "middle", "x", px(at), "y", px(bottom+18))
	}
	c.leaf("text", b.X.title(), "class", "axis", "text-anchor", "middle", "x", px((left+width-right)/2), "y", px(height-6))
	if b.ReferenceText != "" {
		at := x.at(b.Reference)
		c.void("line", "class", "reference", "x1", px(at), "x2", px(at), "y1", px(top-4), "y2", px(bottom))
		c.leaf("text", b.ReferenceText, "class", "tick", "text-anchor", "middle", "x", px(at), "y", px(top-10))
	}
	b.rows(c, x, top, width, right)
}

// rows draws the estimates, grouped by label.
func (b BarCI) rows(c *canvas, x *scale, y, width, right float64) {
	for _, label := range b.labels() {
		y += groupSpace / 2
		if b.stacked(width) {
			c.leaf("text", label, "class", "label", "x", "0", "y", px(y+14))
			y += labelSpace
		}
		start := y
		for _, r := range b.Rows {
			if r.Label != label {
				continue
			}
			b.estimate(c, x, r, y+rowHeight/2)
			c.leaf("text", b.text(r), "class", "value", "x", px(width-right+14), "y", px(y+rowHeight/2+4))
			y += rowHeight
		}
		if !b.stacked(width) {
			c.leaf("text", label, "class", "label", "x", "0", "y", px((start+y)/2+4))
		}
		y += groupSpace / 2
	}
}

// estimate draws a point with its whiskers.
func (b BarCI) estimate(c *canvas, x *scale, r Estimate, y float64) {
	color := c.color[r.Series]
	if x.drawable(r.Low) && x.drawable(r.High) {
		low, high := x.at(r.Low), x.at(r.High)
		c.void("path", "class", class("s", color), "stroke-width", "2.4",
			"d", path(low, y, high, y)+path(low, y-5, low, y+5)+path(high, y-5, high, y+5))
	}
	if x.drawable(r.Value) {
		c.marker(color, x.at(r.Value), y, 5.4, fmt.Sprintf("%s, %s: %s", r.Label, r.Series, b.text(r)))
	}
}

func (b BarCI) text(r Estimate) string {
	switch {
	case r.Text != "":
		return r.Text
	case b.X.Percent:
		return fmt.Sprintf("%s %% [%s, %s]", Number(100*r.Value, 1), Number(100*r.Low, 1), Number(100*r.High, 1))
	}
	return fmt.Sprintf("%s [%s, %s]", Number(r.Value, 3), Number(r.Low, 3), Number(r.High, 3))
}

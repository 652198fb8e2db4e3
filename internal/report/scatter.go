// Scatter charts: reward against KL, where a method is a colour, a seed a thin line, a checkpoint a point
// and the mean over seeds a bold line. Where many methods end in one place each, names stand beside their means.

package report

import (
	"fmt"
	"math"
)

// Group is one method of a ScatterChart.
type Group struct {
	Name  string
	Lines []Trace // one per seed
	Mean  []Point // mean over the seeds, checkpoint by checkpoint; one point is a large marker; nil draws none
}

// Trace is one seed's path through its checkpoints.
type Trace struct {
	Name   string // "seed 1"
	Points []Point
	Labels []string // per point, "step 200"; nil for none
}

// ScatterChart draws groups of traces in the plane.
type ScatterChart struct {
	Title, Caption string
	X, Y           Axis
	Groups         []Group
	Direct         bool // write each name beside the last point of its mean, and no legend
}

func (s ScatterChart) render(p *page)                { p.figure(s) }
func (s ScatterChart) head() (title, caption string) { return s.Title, s.Caption }

func (s ScatterChart) names() []string {
	var names []string
	for _, g := range s.Groups {
		names = append(names, g.Name)
	}
	return names
}

// keys lists what the legend must explain.
func (s ScatterChart) keys() []string {
	if s.Direct {
		return nil
	}
	return s.names()
}

func (s ScatterChart) height(width float64) float64 {
	room := 190.0
	if s.Direct {
		room += 9 * float64(len(s.Groups)) // for the names
	}
	return math.Round(room+0.28*width) + legendHeight(s.keys(), width)
}

func (s ScatterChart) draw(c *canvas, width, height float64) {
	var xs, ys []float64
	add := func(points []Point) {
		for _, pt := range points {
			xs, ys = append(xs, pt.X), append(ys, pt.Y)
		}
	}
	for _, g := range s.Groups {
		for _, t := range g.Lines {
			add(t.Points)
		}
		add(g.Mean)
	}
	p := c.axes(xs, ys, s.X, s.Y, width, height, c.legend(s.keys(), width), loose)
	for _, g := range s.Groups {
		for _, t := range g.Lines {
			s.trace(c, p, g, t)
		}
	}
	for _, g := range s.Groups { // means last: above every point
		c.polyline(p, g.Mean, "halo", "6", "")
		c.polyline(p, g.Mean, class("s", c.color[g.Name]), "3", "")
	}
	for _, g := range s.Groups {
		if len(g.Mean) == 1 && p.holds(g.Mean[0].X, g.Mean[0].Y) {
			tip := fmt.Sprintf("%s, mean of %d: %s %s, %s %s", g.Name, len(g.Lines), s.X.Label, brief(g.Mean[0].X), s.Y.Label, brief(g.Mean[0].Y))
			c.marker(c.color[g.Name], p.x.at(g.Mean[0].X), p.y.at(g.Mean[0].Y), 6.5, tip)
		}
	}
	if s.Direct {
		s.labels(c, p)
	}
}

// labels writes the names beside the means.
func (s ScatterChart) labels(c *canvas, p plot) {
	var list []label
	for _, g := range s.Groups {
		if len(g.Mean) == 0 {
			continue
		}
		if last := g.Mean[len(g.Mean)-1]; p.holds(last.X, last.Y) {
			list = append(list, label{text: g.Name, x: p.x.at(last.X), y: p.y.at(last.Y)})
		}
	}
	c.labels(list, p)
}

// trace draws one seed: a faint line, and its checkpoints.
func (s ScatterChart) trace(c *canvas, p plot, g Group, t Trace) {
	color := c.color[g.Name]
	c.polyline(p, t.Points, class("s", color)+" faint", "1.2", "")
	c.tag("g", "class", "dots")
	for i, pt := range t.Points {
		if !p.holds(pt.X, pt.Y) {
			continue
		}
		tip := g.Name
		if t.Name != "" {
			tip += ", " + t.Name
		}
		if i < len(t.Labels) {
			tip += ", " + t.Labels[i]
		}
		tip = fmt.Sprintf("%s: %s %s, %s %s", tip, s.X.Label, brief(pt.X), s.Y.Label, brief(pt.Y))
		c.marker(color, p.x.at(pt.X), p.y.at(pt.Y), 3.6, tip)
	}
	c.end()
}

// Line charts: a metric over training steps, with an optional band around it.

package report

import (
	"fmt"
	"math"
)

// Point is one place of a line. Low and High bound it where the series has a band.
type Point struct {
	X, Y      float64
	Low, High float64
}

// Series is one line of a LineChart. Points that are NaN or infinite leave a gap.
type Series struct {
	Name   string
	Points []Point
	Band   bool    // shade from Low to High
	Smooth float64 // 0 draws the points as they are; w in (0,1) draws their moving average, the raw line faint behind it
	Dashed bool    // a reference or a target rather than a measurement
}

// LineChart draws lines over a common x axis, left to right.
type LineChart struct {
	Title, Caption string
	X, Y           Axis
	Series         []Series
}

// marked is the number of points up to which each is drawn with a marker and its tooltip.
const marked = 40

func (l LineChart) render(p *page)                { p.figure(l) }
func (l LineChart) head() (title, caption string) { return l.Title, l.Caption }

func (l LineChart) names() []string {
	var names []string
	for _, s := range l.Series {
		names = append(names, s.Name)
	}
	return names
}

func (l LineChart) height(width float64) float64 {
	return math.Round(150+0.22*width) + legendHeight(l.names(), width)
}

func (l LineChart) draw(c *canvas, width, height float64) {
	var xs, ys []float64
	for _, s := range l.Series {
		for _, pt := range s.Points {
			xs, ys = append(xs, pt.X), append(ys, pt.Y)
			if s.Band {
				ys = append(ys, finite(pt.Low, pt.High)...)
			}
		}
	}
	p := c.axes(xs, ys, l.X, l.Y, width, height, c.legend(l.names(), width), tight)
	for _, s := range l.Series {
		if s.Band {
			c.band(p, s.Points, c.color[s.Name])
		}
	}
	for _, s := range l.Series {
		l.line(c, p, s)
	}
}

// line draws one series: raw, smoothed, markers.
func (l LineChart) line(c *canvas, p plot, s Series) {
	color := c.color[s.Name]
	points, dash := s.Points, ""
	if s.Dashed {
		dash = "5 5"
	}
	if s.Smooth > 0 && len(points) > 10 {
		c.polyline(p, thin(points), class("s", color)+" raw", "1", "")
		points = smooth(points, s.Smooth)
	}
	c.polyline(p, thin(points), class("s", color), "2.2", dash)
	if len(points) > marked || s.Dashed {
		return
	}
	for _, pt := range points {
		if p.holds(pt.X, pt.Y) {
			c.marker(color, p.x.at(pt.X), p.y.at(pt.Y), 3.4, l.tooltip(s, pt))
		}
	}
}

func (l LineChart) tooltip(s Series, pt Point) string {
	out := fmt.Sprintf("%s: %s at %s %s", s.Name, brief(pt.Y), l.X.Label, brief(pt.X))
	if s.Band {
		out += fmt.Sprintf(" [%s, %s]", brief(pt.Low), brief(pt.High))
	}
	return out
}

// polyline draws the points in pieces, broken where one cannot be drawn.
func (c *canvas) polyline(p plot, points []Point, cls, width, dash string) {
	var xy []float64
	flush := func() {
		if len(xy) >= 4 {
			c.void("path", "class", cls, "d", path(xy...), "stroke-width", width, "stroke-dasharray", dash)
		}
		xy = xy[:0]
	}
	for _, pt := range points {
		if !p.holds(pt.X, pt.Y) {
			flush()
			continue
		}
		xy = append(xy, p.x.at(pt.X), p.y.at(pt.Y))
	}
	flush()
}

// band shades between Low and High, in pieces as polyline.
func (c *canvas) band(p plot, points []Point, color int) {
	var upper, lower []float64
	flush := func() {
		if len(upper) >= 4 {
			outline := upper
			for i := len(lower) - 2; i >= 0; i -= 2 {
				outline = append(outline, lower[i], lower[i+1])
			}
			c.void("path", "class", class("b", color), "d", path(outline...)+"Z")
		}
		upper, lower = nil, nil
	}
	for _, pt := range points {
		if !p.holds(pt.X, pt.Low) || !p.holds(pt.X, pt.High) {
			flush()
			continue
		}
		upper = append(upper, p.x.at(pt.X), p.y.at(pt.High))
		lower = append(lower, p.x.at(pt.X), p.y.at(pt.Low))
	}
	flush()
}

// smooth is the exponential moving average with weight w on the past, corrected for its start as
// TensorBoard's; gaps stay gaps.
func smooth(points []Point, w float64) []Point {
	out := make([]Point, len(points))
	sum, weight := 0.0, 0.0
	for i, pt := range points {
		out[i] = pt
		if len(finite(pt.Y)) == 0 {
			continue
		}
		sum, weight = w*sum+(1-w)*pt.Y, w*weight+(1-w)
		out[i].Y = sum / weight
	}
	return out
}

// thin keeps the lowest and the highest of each run of points once there are more than a line can show;
// peaks survive, the file stays small.
func thin(points []Point) []Point {
	const buckets = 300
	if len(points) <= 2*buckets {
		return points
	}
	var out []Point
	for b := range buckets {
		part := points[b*len(points)/buckets : (b+1)*len(points)/buckets]
		low, high := 0, 0
		for i, pt := range part {
			if pt.Y < part[low].Y {
				low = i
			}
			if !(pt.Y <= part[high].Y) { // a NaN wins: a gap must stay visible
				high = i
			}
		}
		out = append(out, part[min(low, high)])
		if low != high {
			out = append(out, part[max(low, high)])
		}
	}
	return out
}

// brief prints a value with four significant digits at most.
func brief(v float64) string {
	size := math.Abs(v)
	switch {
	case size >= 1000 || v == math.Trunc(v):
		return Number(v, 0)
	case size >= 10:
		return Number(v, 1)
	}
	return Number(v, 3)
}

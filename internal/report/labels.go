// Names beside points: each is put as near to its point as it can without covering another name or another
// point, and is tied to it by a thin line where that is not beside it.

package report

import (
	"math"
	"slices"
)

// label is a name and the point that it belongs to, in pixels; place fills in the upper left corner of its box.
type label struct {
	text          string
	x, y          float64
	left, top     float64
	width, height float64
}

// Distances of a name from its point, in pixels: beside it, and then further and further out.
const (
	beside    = 11.0
	furthest  = 130.0
	nextRing  = 9.0
	labelLine = 15.0 // height of a name
)

// labels places names and writes them.
func (c *canvas) labels(list []label, p plot) {
	for _, l := range place(list, p.left, p.top, p.right, p.bottom) {
		middle := l.top + l.height/2
		end := min(max(l.x, l.left), l.left+l.width)
		if math.Hypot(end-l.x, middle-l.y) > 2.2*beside {
			c.void("line", "class", "base", "x1", px(l.x), "y1", px(l.y), "x2", px(end), "y2", px(middle))
		}
		c.leaf("text", l.text, "class", "label", "x", px(l.left), "y", px(l.top+l.height-4))
	}
}

// place finds a box for each name within the area, from the top down. A name that fits nowhere stays beside its
// point: a crowded name is better than none.
func place(list []label, left, top, right, bottom float64) []label {
	points := slices.Clone(list)
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b label) int {
		switch {
		case a.y < b.y:
			return -1
		case a.y > b.y:
			return 1
		}
		return 0
	})
	for i := range out {
		l := &out[i]
		l.width, l.height = textWidth(l.text, textSize+0.5), labelLine
		free := func() bool {
			return l.left >= left && l.top >= top && l.left+l.width <= right && l.top+l.height <= bottom &&
				!slices.ContainsFunc(out[:i], func(o label) bool { return l.overlaps(o) }) &&
				!slices.ContainsFunc(points, func(o label) bool { return l.covers(o.x, o.y) })
		}
		if !l.search(free) {
			l.at(beside, 0)
		}
	}
	return out
}

// search tries places ring by ring, to the right first; it reports whether one is free.
func (l *label) search(free func() bool) bool {
	for ring := beside; ring <= furthest; ring += nextRing {
		for _, turn := range []float64{0, 1, 0.5, 0.25, 0.75, -0.25, -0.75, -0.5, 0.12, -0.12, 0.88, -0.88} {
			l.at(ring, turn*math.Pi)
			if free() {
				return true
			}
		}
	}
	return false
}

// at puts the box so that its nearest side is ring pixels from the point in the direction of the angle, upwards for
// positive ones.
func (l *label) at(ring, angle float64) {
	x, y := l.x+ring*math.Cos(angle), l.y-ring*math.Sin(angle)
	l.left = x - l.width*(1-math.Cos(angle))/2
	l.top = y - l.height*(1+math.Sin(angle))/2
}

func (l *label) overlaps(o label) bool {
	const air = 2.0
	return l.left < o.left+o.width+air && o.left < l.left+l.width+air && l.top < o.top+o.height && o.top < l.top+l.height
}

// covers reports whether the box hides the marker of a point.
func (l *label) covers(x, y float64) bool {
	const marker = 6.0
	return x > l.left-marker && x < l.left+l.width+marker && y > l.top-marker && y < l.top+l.height+marker
}

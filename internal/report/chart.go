// What all charts share: frame, grid, legend, colours, and their two homes, a figure in the page and an
// SVG file of its own.

package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Chart is a Block that is a picture.
type Chart interface {
	Block
	head() (title, caption string)
	names() []string                       // series, in the order of the legend
	height(width float64) float64          // of the drawing at that width
	draw(c *canvas, width, height float64) // within (0,0)…(width,height)
}

// Widths of drawings in their own units, close to pixels on a desktop screen.
const (
	fullWidth  = 960.0 // alone in a row of the page
	halfWidth  = 470.0 // in Columns
	aloneWidth = 720.0 // in an SVG file
	textSize   = 12.5
)

// canvas is the markup of one drawing together with the colours of its series.
type canvas struct {
	*markup
	color map[string]int
}

// newCanvas gives each series its colour: pinned names keep their place in the whole document, the others
// take the colours left over, in order.
func newCanvas(m *markup, pinned, names []string) *canvas {
	c := &canvas{markup: m, color: map[string]int{}}
	used := map[int]bool{}
	for _, name := range names {
		if at := slices.Index(pinned, name); at >= 0 {
			c.color[name], used[at] = at, true
		}
	}
	next := 0
	for _, name := range names {
		if _, ok := c.color[name]; ok {
			continue
		}
		for used[next] {
			next++
		}
		c.color[name], used[next] = next, true
	}
	return c
}

// figure writes a chart into the page. One that has a row to itself is drawn twice, for wide and for small
// screens; the style sheet shows the one that fits, with text of one size on both.
func (p *page) figure(chart Chart) {
	title, caption := chart.head()
	p.tag("figure", "class", "chart")
	p.heading(title)
	if p.narrow {
		p.drawing(chart, halfWidth, "fig half")
	} else {
		p.drawing(chart, fullWidth, "fig wide")
		p.drawing(chart, halfWidth, "fig half slim")
	}
	p.caption(caption)
	p.end()
}

// drawing writes a chart as an SVG element.
func (p *page) drawing(chart Chart, width float64, cls string) {
	title, _ := chart.head()
	height := chart.height(width)
	p.tag("svg", "class", cls, "viewBox", fmt.Sprintf("0 0 %s %s", px(width), px(height)), "role", "img", "aria-label", title)
	chart.draw(newCanvas(p.markup, p.report.Series, chart.names()), width, height)
	p.end()
}

// WriteSVG writes one chart as an SVG file that stands alone: its style, title and background are inside,
// it follows the viewer's light or dark setting, and it loads nothing. series pins colours as
// Report.Series does.
func WriteSVG(w io.Writer, chart Chart, series ...string) error {
	const margin = 24.0
	title, caption := chart.head()
	top := margin
	if title != "" {
		top += 34
	}
	width, height := aloneWidth, chart.height(aloneWidth)
	lines := wrap(caption, width, textSize)
	bottom := margin + 18*float64(len(lines))
	m := &markup{}
	m.tag("svg", "xmlns", "http://www.w3.org/2000/svg", "class", "fig", "role", "img", "aria-label", title,
		"width", px(width+2*margin), "height", px(height+top+bottom),
		"viewBox", fmt.Sprintf("0 0 %s %s", px(width+2*margin), px(height+top+bottom)))
	m.tag("style")
	m.constant(chartStyle(true))
	m.end()
	m.void("rect", "class", "paper", "width", "100%", "height", "100%", "rx", "10")
	if title != "" {
		m.leaf("text", title, "class", "title", "x", px(margin), "y", px(margin+18))
	}
	m.tag("g", "transform", fmt.Sprintf("translate(%s %s)", px(margin), px(top)))
	chart.draw(newCanvas(m, series, chart.names()), width, height)
	m.end()
	for i, line := range lines {
		m.leaf("text", line, "x", px(margin), "y", px(top+height+22+18*float64(i)))
	}
	m.end()
	if _, err := io.WriteString(w, m.String()+"\n"); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// wrap breaks text into lines of at most width.
func wrap(text string, width, size float64) []string {
	var lines []string
	for _, word := range strings.Fields(text) {
		last := len(lines) - 1
		if last >= 0 && textWidth(lines[last]+" "+word, size) <= width {
			lines[last] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}

// legend draws the keys of the series in rows and returns the height it took. One series needs none.
func (c *canvas) legend(names []string, width float64) float64 {
	if len(names) < 2 {
		return 0
	}
	const row = 22.0
	x, y := 0.0, 8.0
	for _, name := range names {
		need := 26 + textWidth(name, textSize) + 20
		if x > 0 && x+need > width {
			x, y = 0, y+row
		}
		color := c.color[name]
		c.void("line", "class", class("s", color), "x1", px(x), "x2", px(x+20), "y1", px(y), "y2", px(y), "stroke-width", "2.5")
		c.marker(color, x+10, y, 4, "")
		c.leaf("text", name, "class", "key", "x", px(x+27), "y", px(y+4.5))
		x += need
	}
	return y + 14
}

// legendHeight is what legend will return.
func legendHeight(names []string, width float64) float64 {
	return newCanvas(&markup{}, nil, names).legend(names, width)
}

// marker draws the shape that belongs to a colour, so that colour is never the only difference. A
// tooltip makes it answer to the mouse.
func (c *canvas) marker(color int, x, y, r float64, tooltip string) {
	cls := class("f", color)
	write := func(name string, attrs ...string) {
		if tooltip == "" {
			c.void(name, append(attrs, "class", cls)...)
			return
		}
		c.tag(name, append(attrs, "class", cls+" hit")...)
		c.leaf("title", tooltip)
		c.end()
	}
	switch color % 4 {
	case 0:
		write("circle", "cx", px(x), "cy", px(y), "r", px(r))
	case 1:
		write("rect", "x", px(x-r*0.9), "y", px(y-r*0.9), "width", px(1.8*r), "height", px(1.8*r))
	case 2:
		write("path", "d", path(x, y-1.25*r, x+1.15*r, y+0.85*r, x-1.15*r, y+0.85*r)+"Z")
	default:
		write("path", "d", path(x, y-1.3*r, x+1.3*r, y, x, y+1.3*r, x-1.3*r, y)+"Z")
	}
}

// path is the data of a polyline through x, y, x, y…
func path(xy ...float64) string {
	var out strings.Builder
	for i := 0; i+1 < len(xy); i += 2 {
		letter := "L"
		if i == 0 {
			letter = "M"
		}
		out.WriteString(letter + px(xy[i]) + " " + px(xy[i+1]))
	}
	return out.String()
}

// plot is the inner area of a chart with two axes.
type plot struct {
	x, y                     *scale
	left, top, right, bottom float64
}

// axes draws grid, ticks and axis titles for the values given and returns the area to draw in.
func (c *canvas) axes(xs, ys []float64, xAxis, yAxis Axis, width, height, top float64, airX bool) plot {
	p := plot{top: top + 12, right: width - 14, bottom: height - 30}
	if xAxis.title() != "" {
		p.bottom -= 20
	}
	if yAxis.title() != "" {
		c.leaf("text", yAxis.title(), "class", "axis", "x", "0", "y", px(top+12))
		p.top += 18
	}
	p.y = newScale(yAxis, ys, p.bottom, p.top, loose)
	for i := range p.y.ticks {
		p.left = max(p.left, textWidth(p.y.label(i), textSize)+10)
	}
	p.x = newScale(xAxis, xs, p.left, p.right, airX)
	for i, v := range p.y.ticks {
		y := p.y.pixel(v)
		c.void("line", "class", "grid", "x1", px(p.left), "x2", px(p.right), "y1", px(y), "y2", px(y))
		c.leaf("text", p.y.label(i), "class", "tick", "text-anchor", "end", "x", px(p.left-8), "y", px(y+4))
	}
	c.void("line", "class", "base", "x1", px(p.left), "x2", px(p.right), "y1", px(p.bottom), "y2", px(p.bottom))
	for i, v := range p.x.ticks {
		x := p.x.pixel(v)
		c.void("line", "class", "base", "x1", px(x), "x2", px(x), "y1", px(p.bottom), "y2", px(p.bottom+5))
		c.leaf("text", p.x.label(i), "class", "tick", "text-anchor", "middle", "x", px(x), "y", px(p.bottom+20))
	}
	c.leaf("text", xAxis.title(), "class", "axis", "text-anchor", "middle", "x", px((p.left+p.right)/2), "y", px(height-6))
	return p
}

// holds reports whether a point can be drawn.
func (p plot) holds(x, y float64) bool { return p.x.drawable(x) && p.y.drawable(y) }

// finite drops values that no axis can show.
func finite(values ...float64) []float64 {
	return slices.DeleteFunc(values, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}

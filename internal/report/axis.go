// Axes: from data to pixels, with round tick values.

package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Axis describes one direction of a chart.
type Axis struct {
	Label   string    // what it is: "KL to the reference"
	Unit    string    // in what: "nats"; printed in brackets
	Log     bool      // logarithmic; values that are not positive are left out
	Percent bool      // values are shares: ticks read 25 %
	Include []float64 // values that the axis must reach, such as 0 or 0.5
}

// title is the axis label with its unit.
func (a Axis) title() string {
	if a.Unit == "" {
		return a.Label
	}
	return a.Label + " (" + a.Unit + ")"
}

// scale maps values to pixels.
type scale struct {
	axis     Axis
	min, max float64 // of the data side; exponents of ten on a log axis
	from, to float64 // pixels
	ticks    []float64
}

// tight and loose say whether a scale ends at its data or leaves some air around them.
const (
	tight = false
	loose = true
)

// newScale covers the values given, those that can be drawn, from pixel from to pixel to.
func newScale(axis Axis, values []float64, from, to float64, air bool) *scale {
	s := &scale{axis: axis, from: from, to: to, min: math.Inf(1), max: math.Inf(-1)}
	for _, v := range slices.Concat(values, axis.Include) {
		if s.drawable(v) {
			s.min, s.max = min(s.min, s.plain(v)), max(s.max, s.plain(v))
		}
	}
	if s.min > s.max {
		s.min, s.max = 0, 1 // nothing to draw: an empty unit axis
	}
	if s.min == s.max {
		pad := max(math.Abs(s.min)*0.1, 1e-9)
		if s.min == 0 || axis.Log {
			pad = 1
		}
		s.min, s.max = s.min-pad, s.max+pad
	}
	if air {
		s.widen()
	}
	apart := 62.0 // pixels between ticks: a label's width, or on an upright axis a few lines
	if from > to {
		apart = 34
	}
	s.place(max(2, math.Abs(to-from)/apart))
	return s
}

// widen adds a twentieth on each side that does not end at a value the axis was asked to include: an axis
// from zero starts at zero.
func (s *scale) widen() {
	air := (s.max - s.min) / 20
	low, high := s.min-air, s.max+air
	for _, v := range s.axis.Include {
		if s.drawable(v) && s.plain(v) == s.min {
			low = s.min
		}
		if s.drawable(v) && s.plain(v) == s.max {
			high = s.max
		}
	}
	s.min, s.max = low, high
}

// place sets the ticks, at most count of them, at round values within the scale.
func (s *scale) place(count float64) {
	step := niceStep((s.max - s.min) / count)
	if s.axis.Log {
		step = max(1, math.Round(step))
	}
	for i := math.Ceil(s.min/step - 1e-9); i <= math.Floor(s.max/step+1e-9); i++ {
		s.ticks = append(s.ticks, i*step)
	}
	if s.axis.Log && step == 1 && len(s.ticks) < 3 && 3*(s.max-s.min) <= count {
		s.within()
	}
}

// within sets the ticks of a logarithmic axis that spans few powers of ten: at 1, 2 and 5 times each.
func (s *scale) within() {
	s.ticks = nil
	for decade := math.Floor(s.min); decade <= s.max; decade++ {
		for _, m := range []float64{1, 2, 5} {
			if v := decade + math.Log10(m); v >= s.min-1e-9 && v <= s.max+1e-9 {
				s.ticks = append(s.ticks, v)
			}
		}
	}
}

// niceStep returns the least of 1, 2 and 5 times a power of ten that is not below v.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// drawable reports whether the axis has a place for v.
func (s *scale) drawable(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!s.axis.Log || v > 0)
}

// plain is the value that is linear in pixels.
func (s *scale) plain(v float64) float64 {
	if s.axis.Log {
		return math.Log10(v)
	}
	return v
}

// at returns the pixel of a drawable value.
func (s *scale) at(v float64) float64 { return s.pixel(s.plain(v)) }

func (s *scale) pixel(plain float64) float64 {
	return s.from + (plain-s.min)/(s.max-s.min)*(s.to-s.from)
}

// label prints the tick of index i.
func (s *scale) label(i int) string {
	v := s.ticks[i]
	if s.axis.Log {
		decade := math.Floor(v + 1e-9)
		value, _ := strconv.ParseFloat(fmt.Sprintf("%.0fe%.0f", math.Pow(10, v-decade), decade), 64) // 1, 2 or 5 of it, exactly
		return Number(value, 0)
	}
	step := 1.0
	if len(s.ticks) > 1 {
		step = s.ticks[1] - s.ticks[0]
	}
	if math.Abs(v) < step/1e6 {
		v = 0 // i*step of a tick at zero may leave a rounding error
	}
	if s.axis.Percent {
		return Number(100*v, decimals(100*step)) + " %"
	}
	if top := max(math.Abs(s.min), math.Abs(s.max)); top >= 1e4 || (top < 1e-3 && top > 0) {
		return Number(v, 0)
	}
	return fixed(v, decimals(step))
}

// decimals is how many digits after the point tell multiples of step apart.
func decimals(step float64) int {
	return max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
}

// Number prints a value for people: the given digits after the point, "12.5k" and "3.2M" for large ones,
// "3e−6" for tiny ones, a real minus sign, "–" for NaN.
func Number(v float64, digits int) string {
	size := math.Abs(v)
	switch {
	case math.IsNaN(v):
		return "–"
	case math.IsInf(v, 1):
		return "∞"
	case math.IsInf(v, -1):
		return "−∞"
	case size >= 1e9:
		return minus(strconv.FormatFloat(v, 'g', 3, 64))
	case size >= 1e6:
		return trimmed(v/1e6) + "M"
	case size >= 1e4:
		return trimmed(v/1e3) + "k"
	case size > 0 && size < 1e-3 && size < math.Pow(10, -float64(digits)):
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
		if len(mantissa) > 4 {
			mantissa, exponent, _ = strings.Cut(strconv.FormatFloat(v, 'e', 1, 64), "e")
		}
		n, _ := strconv.Atoi(exponent) // FormatFloat's own exponent
		return minus(mantissa + "e" + strconv.Itoa(n))
	case digits == 0 && v != math.Trunc(v):
		return trimmed(v)
	}
	return fixed(v, digits)
}

func fixed(v float64, digits int) string { return minus(strconv.FormatFloat(v, 'f', digits, 64)) }

// trimmed prints three significant digits without needless zeros.
func trimmed(v float64) string { return minus(strconv.FormatFloat(v, 'g', 3, 64)) }

func minus(s string) string { return strings.ReplaceAll(s, "-", "−") }

// textWidth estimates the width of a sans-serif text; exact enough to lay out labels.
func textWidth(s string, size float64) float64 {
	width := 0.0
	for _, r := range s {
		switch {
		case strings.ContainsRune("iljtf.,:;|!'()[] ", r):
			width += 0.32
		case strings.ContainsRune("mwMW%@", r):
			width += 0.88
		case r >= 'A' && r <= 'Z':
			width += 0.68
		case r > 0x2e80:
			width += 1
		default:
			width += 0.57
		}
	}
	return width * size
}

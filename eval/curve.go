// Curves of reward against KL: two methods may only be compared at the same KL, or more optimisation
// passes for a better method.

package eval

import (
	"slices"

	"salsa/internal/fault"
)

// Point is a checkpoint on a curve: X is its KL to the common reference, Y its reward.
type Point struct{ X, Y float64 }

// MeanCurve averages curves of several seeds checkpoint by checkpoint, over both axes; it ends with the
// shortest curve.
func MeanCurve(curves [][]Point) []Point {
	if len(curves) == 0 {
		return nil
	}
	n := len(curves[0])
	for _, c := range curves {
		n = min(n, len(c))
	}
	out := make([]Point, n)
	for i := range out {
		for _, c := range curves {
			out[i].X += c[i].X / float64(len(curves))
			out[i].Y += c[i].Y / float64(len(curves))
		}
	}
	return out
}

// At interpolates a curve linearly at x. A curve that passes x more than once gives its highest value:
// the best checkpoint within that KL. x outside the curve is an input error, never an extrapolation.
func At(curve []Point, x float64) (float64, error) {
	best, found := 0.0, false
	for i, p := range curve {
		q := p
		if i > 0 {
			q = curve[i-1]
		}
		if x < min(p.X, q.X) || x > max(p.X, q.X) {
			continue
		}
		y := max(p.Y, q.Y)
		if p.X != q.X {
			y = q.Y + (p.Y-q.Y)*(x-q.X)/(p.X-q.X)
		}
		if !found || y > best {
			best, found = y, true
		}
	}
	if !found {
		return 0, fault.Inputf("eval: the curve of %d checkpoints has no point at %g; compare where both curves are", len(curve), x)
	}
	return best, nil
}

// Overlap returns the range of x that all curves cover; ok is false when there is none.
func Overlap(curves ...[]Point) (low, high float64, ok bool) {
	byX := func(a, b Point) int {
		switch {
		case a.X < b.X:
			return -1
		case a.X > b.X:
			return 1
		}
		return 0
	}
	for i, c := range curves {
		if len(c) == 0 {
			return 0, 0, false
		}
		from, to := slices.MinFunc(c, byX).X, slices.MaxFunc(c, byX).X
		if i == 0 {
			low, high = from, to
		}
		low, high = max(low, from), min(high, to)
	}
	return low, high, len(curves) > 0 && low <= high
}

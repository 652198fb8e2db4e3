package soup

// Spherical interpolation of two members.

import "math"

// slerpLinear is the cosine above which two vectors are taken for parallel, as mergekit takes them.
const slerpLinear = 0.9995

// Slerp goes from the first member to the second along the arc between them, tensor by tensor, each flattened: with
// Ω the angle, sin((1-t)Ω)/sinΩ·θ_1 + sin(tΩ)/sinΩ·θ_2, where t is the second member's share (Shoemake, SIGGRAPH 1985).
// Without a base the vectors are the weights themselves, as in mergekit's slerp; with one they are the task vectors
// θ_k - base, as in WARP (Ramé et al., arXiv 2406.16768, §3.2) and mergekit's nuslerp. Where |cosΩ| > 0.9995, or one of
// the vectors is zero and Ω undefined, it is the straight line. mergekit differs in two cases: its nuslerp has that
// line only where 1-cos²Ω ≤ 1e-16, and a zero vector is at a right angle to any other.
func Slerp(shares Shares) Recipe {
	return func(in Inputs) (Mixer, error) {
		dots, err := in.dots()
		if err != nil {
			return nil, err
		}
		a, b := arc(dots[0][0], dots[1][1], dots[0][1], shares(in.Name)[1])
		if in.Base != nil {
			return aroundBase([]float64{a, b}), nil
		}
		return weighted([]float64{a, b}), nil
	}
}

// arc returns the coefficients of two vectors, given by their squared norms and their product, at t of the way.
func arc(aa, bb, ab, t float64) (a, b float64) {
	if aa == 0 || bb == 0 {
		return 1 - t, t
	}
	cos := ab / (math.Sqrt(aa) * math.Sqrt(bb))
	if math.Abs(cos) > slerpLinear {
		return 1 - t, t
	}
	omega := math.Acos(cos)
	return math.Sin((1-t)*omega) / math.Sin(omega), math.Sin(t*omega) / math.Sin(omega)
}

// Length: how far reward and verdicts follow it, and the win rate with its influence taken out, after
// AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475).

package eval

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"salsa/internal/fault"
)

// Correlation returns Pearson's correlation, such as that of rewards with completion lengths; NaN when
// either side does not vary or fewer than two values are given.
func Correlation(x, y []float64) float64 {
	if len(x) < 2 {
		return math.NaN()
	}
	return stat.Correlation(x, y, nil)
}

// RankCorrelation returns Spearman's correlation: Pearson's of the ranks, ties sharing their mean rank.
func RankCorrelation(x, y []float64) float64 { return Correlation(ranks(x), ranks(y)) }

func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case x[a] < x[b]:
			return -1
		case x[a] > x[b]:
			return 1
		}
		return 0
	})
	out := make([]float64, len(x))
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && x[order[to]] == x[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			out[i] = float64(from+to+1) / 2
		}
		from = to
	}
	return out
}

// LengthModel is the logistic model of a preference for the model over the baseline on prompt i:
//
//	logit p_i = Theta + Phi·tanh((len(baseline_i) − len(model_i))/Scale) + Psi·γ_i
//
// γ_i is the prompt's known difficulty, 0 where none is known. A negative Phi is a judge that likes length.
type LengthModel struct {
	Theta, Phi, Psi float64
	Scale           float64 // sample standard deviation of the length differences
}

// At returns the predicted preferences for length differences delta (baseline minus model) and
// difficulties gamma; a nil slice stands for zeros.
func (m LengthModel) At(delta, gamma []float64) []float64 {
	out := make([]float64, max(len(delta), len(gamma)))
	for i := range out {
		logit := m.Theta
		if delta != nil {
			logit += m.Phi * math.Tanh(delta[i]/m.Scale)
		}
		if gamma != nil {
			logit += m.Psi * gamma[i]
		}
		out[i] = 1 / (1 + math.Exp(-logit))
	}
	return out
}

// WinRate is the length-controlled win rate: the mean preference had all answers the baseline's length.
// gamma nil stands for prompts of no known difficulty.
func (m LengthModel) WinRate(gamma []float64) float64 {
	if gamma == nil {
		gamma = []float64{0}
	}
	return stat.Mean(m.At(nil, gamma), nil)
}

// Penalties on Phi² and Theta². The first keeps Phi finite when length alone decides every game; the
// second, small enough to move no rate by 0.001, keeps Theta finite when every game has one winner.
const (
	lengthPenalty = 0.5
	thetaPenalty  = 0.005
)

// FitLength fits Theta and Phi to outcomes in [0, 1] and both answers' lengths by penalised maximum
// likelihood. Unlike AlpacaEval it fits one pair of models, knows no difficulties and penalises Phi by its
// square, with a fixed weight in place of cross-validation. Lengths that never differ leave Phi at 0.
func FitLength(outcomes, model, baseline []float64) (LengthModel, error) {
	n := len(outcomes)
	if n < 2 || len(model) != n || len(baseline) != n {
		return LengthModel{}, fault.Inputf("eval: length control of %d outcomes with %d and %d lengths; it wants at least 2 and equal counts", n, len(model), len(baseline))
	}
	delta := make([]float64, n)
	for i := range delta {
		delta[i] = baseline[i] - model[i]
	}
	m := LengthModel{Scale: stat.StdDev(delta, nil)}
	if m.Scale == 0 {
		m.Scale = 1 // one length difference throughout: tanh of it is a constant
	}
	for i := range delta {
		delta[i] = math.Tanh(delta[i] / m.Scale)
	}
	for range 100 {
		step, err := m.newton(outcomes, delta)
		if err != nil {
			return LengthModel{}, err
		}
		if step < 1e-10 {
			return m, nil
		}
	}
	return LengthModel{}, fmt.Errorf("eval: length control of %d outcomes did not converge; report the plain win rate", n)
}

// newton takes one damped Newton step on Theta and Phi and returns its size.
func (m *LengthModel) newton(outcomes, x []float64) (float64, error) {
	g0, g1 := thetaPenalty*m.Theta, lengthPenalty*m.Phi
	h00, h01, h11 := thetaPenalty, 0.0, lengthPenalty
	for i, v := range outcomes {
		p := 1 / (1 + math.Exp(-m.Theta-m.Phi*x[i]))
		g0, g1 = g0+p-v, g1+(p-v)*x[i]
		w := p * (1 - p)
		h00, h01, h11 = h00+w, h01+w*x[i], h11+w*x[i]*x[i]
	}
	var step mat.VecDense
	if err := step.SolveVec(mat.NewSymDense(2, []float64{h00, h01, h01, h11}), mat.NewVecDense(2, []float64{g0, g1})); err != nil {
		return 0, fmt.Errorf("eval: length control: %w", err)
	}
	size := math.Hypot(step.AtVec(0), step.AtVec(1))
	damp := min(1, 2/size)
	m.Theta -= damp * step.AtVec(0)
	m.Phi -= damp * step.AtVec(1)
	return size, nil
}

// LengthControlled returns the length-controlled win rate with a bootstrap interval over prompts, each
// resample fitted anew. outcomes, model and baseline hold one entry per prompt.
func (b Bootstrap) LengthControlled(outcomes, model, baseline []float64) (Interval, error) {
	if _, err := FitLength(outcomes, model, baseline); err != nil {
		return Interval{}, err
	}
	n := len(outcomes)
	o, x, y := make([]float64, n), make([]float64, n), make([]float64, n)
	var failed error
	out, err := b.Of(n, func(draw []int) float64 {
		for i, c := range draw {
			o[i], x[i], y[i] = outcomes[c], model[c], baseline[c]
		}
		m, err := FitLength(o, x, y)
		if err != nil {
			failed = err
		}
		return m.WinRate(nil)
	})
	if failed != nil {
		return Interval{}, failed
	}
	return out, err
}

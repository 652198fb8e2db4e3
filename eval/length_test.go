package eval

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLengthModelWorkedNumbers(t *testing.T) {
	m := LengthModel{Theta: 0.2, Phi: -0.8, Psi: 0.5, Scale: 202.0725942163690}
	gamma := []float64{-1, 0, 1.5}
	require.InDelta(t, 0.565502, m.WinRate(gamma), 1e-6)
	for i, want := range []float64{0.264665, 0.637946, 0.680483} {
		require.InDelta(t, want, m.At([]float64{300, -100, 50}, gamma)[i], 1e-6)
	}
}

// A judge that looks at length alone prefers the model, whose answers are mostly longer; with length
// taken out nothing is left of its lead.
func TestLengthOnlyJudgeFallsToHalf(t *testing.T) {
	const n = 400
	outcomes, model := make([]float64, n), gaussian(n, 130, 40, 8)
	baseline := gaussian(n, 100, 40, 9)
	for i := range outcomes {
		if model[i] > baseline[i] {
			outcomes[i] = 1
		}
	}
	plain, err := Bootstrap{}.FromOutcomes(outcomes, nil)
	require.NoError(t, err)
	require.Greater(t, plain.Rate.Low, 0.6)
	adjusted, err := Bootstrap{Resamples: 200}.LengthControlled(outcomes, model, baseline)
	require.NoError(t, err)
	require.InDelta(t, 0.5, adjusted.Mean, 0.1)
	require.False(t, adjusted.Excludes(0.5), adjusted.String())
}

// A judge that knows nothing of length keeps its win rate.
func TestLengthControlLeavesAFairJudgeAlone(t *testing.T) {
	const n = 2000
	model, baseline, luck := gaussian(n, 130, 40, 10), gaussian(n, 100, 40, 11), gaussian(n, 0, 1, 12)
	outcomes := make([]float64, n)
	for i := range outcomes {
		if luck[i] < 0.5244 { // 70 % of a normal distribution
			outcomes[i] = 1
		}
	}
	m, err := FitLength(outcomes, model, baseline)
	require.NoError(t, err)
	require.InDelta(t, 0.70, m.WinRate(nil), 0.03)
	require.InDelta(t, 0, m.Phi, 0.3)
}

func TestFitLengthIsTheMaximumOfItsLikelihood(t *testing.T) {
	model, baseline := gaussian(50, 120, 30, 13), gaussian(50, 100, 30, 14)
	outcomes := make([]float64, 50)
	for i := range outcomes {
		outcomes[i] = float64(i%3) / 2
	}
	m, err := FitLength(outcomes, model, baseline)
	require.NoError(t, err)
	loss := func(theta, phi float64) float64 {
		sum := (thetaPenalty*theta*theta + lengthPenalty*phi*phi) / 2
		delta := make([]float64, 50)
		for i := range delta {
			delta[i] = baseline[i] - model[i]
		}
		for i, p := range (LengthModel{Theta: theta, Phi: phi, Scale: m.Scale}).At(delta, nil) {
			sum -= outcomes[i]*math.Log(p) + (1-outcomes[i])*math.Log(1-p)
		}
		return sum
	}
	best := loss(m.Theta, m.Phi)
	for _, d := range [][2]float64{{0.01, 0}, {-0.01, 0}, {0, 0.01}, {0, -0.01}} {
		require.Greater(t, loss(m.Theta+d[0], m.Phi+d[1]), best)
	}
}

func TestAllWonStaysFinite(t *testing.T) {
	m, err := FitLength([]float64{1, 1, 1, 1}, []float64{5, 5, 5, 5}, []float64{4, 4, 4, 4})
	require.NoError(t, err)
	require.Greater(t, m.WinRate(nil), 0.9)
	require.Less(t, m.WinRate(nil), 1.0)
}

func TestCorrelations(t *testing.T) {
	x := []float64{1, 2, 3, 4}
	require.InDelta(t, 1, Correlation(x, []float64{2, 4, 6, 8}), 1e-12)
	require.InDelta(t, -1, RankCorrelation(x, []float64{100, 10, 1, 0}), 1e-12)
	require.InDelta(t, 0.9486832980505138, RankCorrelation(x, []float64{1, 2, 2, 9}), 1e-12) // 4.5/√(5·4.5)
	require.True(t, math.IsNaN(Correlation(x, []float64{1, 1, 1, 1})))
	require.True(t, math.IsNaN(Correlation([]float64{1}, []float64{1})))
}

func TestDiversity(t *testing.T) {
	loop := []int{1, 2, 1, 2, 1, 2}
	require.InDelta(t, 2.0/6, DistinctN([][]int{loop}, 1), 1e-12)
	require.InDelta(t, 2.0/5, DistinctN([][]int{loop}, 2), 1e-12)
	require.InDelta(t, 3.0/5, Repetition([][]int{loop}, 2), 1e-12)
	require.InDelta(t, 0.3, Repetition([][]int{loop, {1, 2, 3}, {7}}, 2), 1e-12, "the short one is left out")
	require.InDelta(t, 3.0/5, DistinctN([][]int{{1, 2, 3}, {256, 1, 2, 3}}, 2), 1e-12, "ids beyond a byte")
	require.True(t, math.IsNaN(DistinctN(nil, 1)))
	require.True(t, math.IsNaN(Repetition([][]int{{1}}, 2)))
	require.Equal(t, [][]int{{0, 1, 0}, {1}}, Words([]string{"a b\na", " b "}))
}

func TestCurves(t *testing.T) {
	mean := MeanCurve([][]Point{{{0, 0}, {2, 4}, {9, 9}}, {{0, 2}, {4, 6}}})
	require.Equal(t, []Point{{0, 1}, {3, 5}}, mean)
	require.Nil(t, MeanCurve(nil))

	y, err := At(mean, 1.5)
	require.NoError(t, err)
	require.InDelta(t, 3, y, 1e-12)
	y, err = At([]Point{{0, 0}, {4, 8}, {2, 1}}, 3) // the KL came back: 6 on the way up, 4.5 on the way down
	require.NoError(t, err)
	require.InDelta(t, 6, y, 1e-12)

	low, high, ok := Overlap([]Point{{0, 0}, {5, 1}}, []Point{{7, 0}, {2, 1}})
	require.True(t, ok)
	require.Equal(t, []float64{2, 5}, []float64{low, high})
	_, _, ok = Overlap([]Point{{0, 0}}, []Point{{1, 0}})
	require.False(t, ok)
	_, _, ok = Overlap()
	require.False(t, ok)
}

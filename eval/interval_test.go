package eval

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
)

// gaussian returns n draws of a normal distribution.
func gaussian(n int, mean, sd float64, seed uint64) []float64 {
	rng := rand.New(rand.NewPCG(seed, 1))
	out := make([]float64, n)
	for i := range out {
		out[i] = mean + sd*rng.NormFloat64()
	}
	return out
}

func TestBootstrapAgreesWithTheNormalInterval(t *testing.T) {
	values := gaussian(400, 2, 3, 1)
	got, err := Bootstrap{Resamples: 10000, Seed: 3}.Mean(values, nil)
	require.NoError(t, err)
	want, err := MeanT(values, 0.95)
	require.NoError(t, err)
	require.InDelta(t, want.Mean, got.Mean, 1e-12)
	require.InDelta(t, want.Low, got.Low, 0.02)
	require.InDelta(t, want.High, got.High, 0.02)
	require.Equal(t, 400, got.Clusters)
}

func TestBootstrapIsFixedByItsSeed(t *testing.T) {
	values := gaussian(50, 0, 1, 2)
	one, err := Bootstrap{Seed: 1}.Mean(values, nil)
	require.NoError(t, err)
	again, err := Bootstrap{Seed: 1}.Mean(values, nil)
	require.NoError(t, err)
	other, err := Bootstrap{Seed: 2}.Mean(values, nil)
	require.NoError(t, err)
	require.Equal(t, one, again)
	require.NotEqual(t, one.Low, other.Low)
}

func TestBootstrapCoversTheTruth(t *testing.T) {
	hits := 0
	for trial := range uint64(300) {
		got, err := Bootstrap{Resamples: 400, Seed: trial}.Mean(gaussian(60, 1, 1, trial), nil)
		require.NoError(t, err)
		if !got.Excludes(1) {
			hits++
		}
	}
	require.InDelta(t, 0.95, float64(hits)/300, 0.03)
}

// Copies of a prompt's score carry no new information: only clusters may narrow an interval.
func TestClustersNotGamesSetTheWidth(t *testing.T) {
	values := gaussian(40, 0, 1, 4)
	var copies []float64
	var names []string
	for i, v := range values {
		for range 10 {
			copies, names = append(copies, v), append(names, fmt.Sprint("prompt ", i))
		}
	}
	want, err := Bootstrap{}.Mean(values, nil)
	require.NoError(t, err)
	got, err := Bootstrap{}.Mean(copies, names)
	require.NoError(t, err)
	require.InDelta(t, want.Low, got.Low, 1e-12)
	require.InDelta(t, want.High, got.High, 1e-12)
	require.Equal(t, 400, got.N)
	require.Equal(t, 40, got.Clusters)
	naive, err := Bootstrap{}.Mean(copies, nil)
	require.NoError(t, err)
	require.Less(t, naive.High-naive.Low, 0.5*(got.High-got.Low))
}

func TestPairedIsNarrowerThanApart(t *testing.T) {
	prompt, noise := gaussian(200, 0, 5, 5), gaussian(200, 0.2, 0.1, 6)
	first := make([]float64, 200)
	for i := range first {
		first[i] = prompt[i] + noise[i]
	}
	got, err := Bootstrap{}.Paired(first, prompt, nil)
	require.NoError(t, err)
	require.InDelta(t, 0.2, got.Mean, 0.02)
	require.True(t, got.Excludes(0))
	require.Less(t, got.High-got.Low, 0.05)
}

func TestMeanTAndWilsonOfKnownNumbers(t *testing.T) {
	got, err := MeanT([]float64{1, 2, 3}, 0.95) // t(0.975, 2) = 4.302653, sd 1
	require.NoError(t, err)
	require.InDelta(t, 2, got.Mean, 1e-12)
	require.InDelta(t, 2+4.302653/math.Sqrt(3), got.High, 1e-5)

	all, err := Wilson(1, 10, 0.95) // low = n/(n+z²)
	require.NoError(t, err)
	require.InDelta(t, 10/(10+1.959964*1.959964), all.Low, 1e-6)
	require.Equal(t, 1.0, all.High)
	half, err := Wilson(0.5, 100, 0.95)
	require.NoError(t, err)
	require.InDelta(t, 0.403832, half.Low, 1e-6)
	require.InDelta(t, 0.596168, half.High, 1e-6)
}

func TestBadStatisticsInputIsRefused(t *testing.T) {
	var input *fault.Error
	for name, call := range map[string]func() error{
		"one prompt":    func() error { _, err := Bootstrap{}.Mean([]float64{1}, nil); return err },
		"one cluster":   func() error { _, err := Bootstrap{}.Mean([]float64{1, 2}, []string{"a", "a"}); return err },
		"NaN":           func() error { _, err := Bootstrap{}.Mean([]float64{1, math.NaN()}, nil); return err },
		"level":         func() error { _, err := Bootstrap{Level: 95}.Mean([]float64{1, 2}, nil); return err },
		"resamples":     func() error { _, err := Bootstrap{Resamples: 3}.Mean([]float64{1, 2}, nil); return err },
		"t of one":      func() error { _, err := MeanT([]float64{1}, 0); return err },
		"rate above 1":  func() error { _, err := Wilson(1.1, 5, 0); return err },
		"length counts": func() error { _, err := FitLength([]float64{1, 0}, []float64{1}, []float64{1, 2}); return err },
		"curve":         func() error { _, err := At([]Point{{0, 1}, {1, 2}}, 3); return err },
	} {
		require.ErrorAs(t, call(), &input, name)
	}
	_, err := Bootstrap{}.Paired([]float64{1, 2}, []float64{1}, nil)
	require.ErrorContains(t, err, "same prompts")
	_, err = Bootstrap{}.Mean([]float64{1, 2}, []string{"a"})
	require.ErrorContains(t, err, "must match")
	_, err = Bootstrap{}.FromOutcomes([]float64{1, 0.7}, nil)
	require.ErrorContains(t, err, "outcome 1 is 0.7")
}

func TestIntervalText(t *testing.T) {
	i := Interval{Mean: 0.607143, Low: 0.55, High: 0.66, Level: 0.95, Clusters: 80}
	require.Equal(t, "0.607 [0.550, 0.660] (95%, n=80)", i.String())
	require.Equal(t, 66.0, i.Scale(100).High)
}

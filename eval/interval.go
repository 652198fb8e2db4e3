// Package eval turns scores and judges' verdicts into numbers with intervals. The unit of chance is the
// prompt: all games, samples and turns of one prompt stand or fall together, so intervals resample whole
// prompts (clusters), never single games, which would make them too narrow.
package eval

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"salsa/internal/fault"
)

// Interval is an estimate with a confidence interval.
type Interval struct {
	Mean, Low, High float64
	Level           float64 // coverage, such as 0.95
	N               int     // observations
	Clusters        int     // independent units among them: prompts, questions or seeds
	Method          string  // "bootstrap", "student" or "wilson"
}

// String returns "0.607 [0.551, 0.662] (95%, n=80)".
func (i Interval) String() string {
	return fmt.Sprintf("%.3f [%.3f, %.3f] (%g%%, n=%d)", i.Mean, i.Low, i.High, 100*i.Level, i.Clusters)
}

// Excludes reports whether v lies outside the interval: the estimate differs from v at this level.
func (i Interval) Excludes(v float64) bool { return v < i.Low || v > i.High }

// Scale returns the interval with mean and ends multiplied by factor > 0, such as 100 for percent.
func (i Interval) Scale(factor float64) Interval {
	i.Mean, i.Low, i.High = i.Mean*factor, i.Low*factor, i.High*factor
	return i
}

// Bootstrap is the percentile bootstrap (Efron and Tibshirani 1993, ch. 13) over clusters. The zero
// value draws 2000 resamples for a 95 % interval with seed 0. The same seed gives the same interval;
// NumPy's will differ in the last digits.
type Bootstrap struct {
	Resamples int     // 0 is 2000
	Level     float64 // 0 is 0.95
	Seed      uint64
}

func (b Bootstrap) withDefaults() Bootstrap {
	if b.Resamples == 0 {
		b.Resamples = 2000
	}
	if b.Level == 0 {
		b.Level = 0.95
	}
	return b
}

// Of returns the interval of any statistic of n clusters; statistic gets the indices of the clusters
// drawn, with repeats, and first 0…n-1 for the estimate itself. It must not keep the slice. Fewer than
// two clusters are an input error, for they tell nothing about chance.
func (b Bootstrap) Of(n int, statistic func(clusters []int) float64) (Interval, error) {
	b = b.withDefaults()
	if err := b.check(n); err != nil {
		return Interval{}, err
	}
	draw := make([]int, n)
	for i := range draw {
		draw[i] = i
	}
	out := Interval{Mean: statistic(draw), Level: b.Level, N: n, Clusters: n, Method: "bootstrap"}
	rng := rand.New(rand.NewPCG(b.Seed, 0x5a15a)) // the second word only sets this stream apart from others
	means := make([]float64, b.Resamples)
	for r := range means {
		for i := range draw {
			draw[i] = rng.IntN(n)
		}
		means[r] = statistic(draw)
	}
	slices.Sort(means)
	tail := (1 - b.Level) / 2
	out.Low, out.High = quantile(means, tail), quantile(means, 1-tail)
	return out, nil
}

func (b Bootstrap) check(n int) error {
	switch {
	case n < 2:
		return fault.Inputf("eval: %d prompts give no interval; evaluate at least 2", n)
	case b.Level <= 0 || b.Level >= 1:
		return fault.Inputf("eval: confidence level %g is not between 0 and 1; 0.95 is usual", b.Level)
	case b.Resamples < 100:
		return fault.Inputf("eval: %d bootstrap resamples are too few for an interval; use 1000 or more", b.Resamples)
	}
	return nil
}

// quantile interpolates linearly between order statistics (Hyndman and Fan's type 7, NumPy's default).
func quantile(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// Mean returns the mean of values with a bootstrap interval over clusters. clusters[i] names the prompt
// of values[i]; nil makes every value its own cluster.
func (b Bootstrap) Mean(values []float64, clusters []string) (Interval, error) {
	weights := make([]float64, len(values))
	for i := range weights {
		weights[i] = 1
	}
	return b.WeightedMean(values, weights, clusters)
}

// WeightedMean returns Σwv/Σw with a bootstrap interval over clusters, as Mean.
func (b Bootstrap) WeightedMean(values, weights []float64, clusters []string) (Interval, error) {
	if len(values) != len(weights) || (clusters != nil && len(clusters) != len(values)) {
		return Interval{}, fmt.Errorf("eval: %d values, %d weights, %d cluster names; they must match", len(values), len(weights), len(clusters))
	}
	for i, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return Interval{}, fault.Inputf("eval: score %d is %v; leave rows without a score out and report their count", i, v)
		}
	}
	sums, total := clusterSums(values, weights, clusters)
	out, err := b.Of(len(sums), func(draw []int) float64 {
		num, den := 0.0, 0.0
		for _, c := range draw {
			num += sums[c]
			den += total[c]
		}
		return num / den
	})
	out.N = len(values)
	return out, err
}

// clusterSums adds up weighted values and weights per cluster, in the order of first appearance.
func clusterSums(values, weights []float64, clusters []string) (sums, total []float64) {
	place := map[string]int{}
	for i, v := range values {
		at := len(sums)
		if clusters != nil {
			known, ok := place[clusters[i]]
			if ok {
				at = known
			}
			place[clusters[i]] = at
		}
		if at == len(sums) {
			sums, total = append(sums, 0), append(total, 0)
		}
		sums[at] += weights[i] * v
		total[at] += weights[i]
	}
	return sums, total
}

// Paired returns the mean of a[i]-b[i] with a bootstrap interval over clusters: the interval to use for
// two models on the same prompts, since what is common to a prompt cancels.
func (b Bootstrap) Paired(first, second []float64, clusters []string) (Interval, error) {
	if len(first) != len(second) {
		return Interval{}, fmt.Errorf("eval: paired difference of %d and %d scores; score the same prompts in the same order", len(first), len(second))
	}
	diff := make([]float64, len(first))
	for i := range diff {
		diff[i] = first[i] - second[i]
	}
	return b.Mean(diff, clusters)
}

// MeanT returns the mean with Student's t interval: for few independent values, such as seeds, where a
// bootstrap is too narrow. level 0 is 0.95.
func MeanT(values []float64, level float64) (Interval, error) {
	b := Bootstrap{Level: level}.withDefaults()
	if err := b.check(len(values)); err != nil {
		return Interval{}, err
	}
	n := float64(len(values))
	mean, sd := stat.MeanStdDev(values, nil)
	half := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: n - 1}.Quantile((1+b.Level)/2) * sd / math.Sqrt(n)
	return Interval{Mean: mean, Low: mean - half, High: mean + half, Level: b.Level, N: len(values), Clusters: len(values), Method: "student"}, nil
}

// Wilson returns the score interval (Wilson 1927) of a rate in [0, 1] seen over n independent trials. It
// keeps its width when all trials agree, where a bootstrap shrinks to a point. level 0 is 0.95.
func Wilson(rate float64, n int, level float64) (Interval, error) {
	b := Bootstrap{Level: level}.withDefaults()
	if rate < 0 || rate > 1 || n < 1 || b.Level <= 0 || b.Level >= 1 {
		return Interval{}, fault.Inputf("eval: no interval for a rate of %g over %d trials at level %g", rate, n, b.Level)
	}
	z, size := distuv.UnitNormal.Quantile((1+b.Level)/2), float64(n)
	shrink := 1 + z*z/size
	centre := (rate + z*z/(2*size)) / shrink
	half := z / shrink * math.Sqrt(rate*(1-rate)/size+z*z/(4*size*size))
	return Interval{Mean: rate, Low: max(0, centre-half), High: min(1, centre+half), Level: b.Level, N: n, Clusters: n, Method: "wilson"}, nil
}

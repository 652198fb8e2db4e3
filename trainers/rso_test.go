package trainers_test

// The rejection sampler and the pairing against worked numbers, limits and the distribution they are named after.

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/tensor"
	"salsa/trainers"
)

// scripted returns the given numbers one by one and fails the test when they are used up.
func scripted(t *testing.T, u ...float64) func() float64 {
	return func() float64 {
		require.NotEmpty(t, u, "the sampler draws more numbers than it should")
		x := u[0]
		u = u[1:]
		return x
	}
}

func TestRejectionSampleWorkedNumbers(t *testing.T) {
	r := []float64{0, 1, 2, 2.5}
	for name, c := range map[string]struct {
		rewards []float64
		n       int
		beta    float64
		u       []float64
		order   []int
		passes  []trainers.RSOPass
	}{
		"stops in the first pass":   {r, 2, .5, []float64{.5, .04, .9, .3}, []int{1, 3}, []trainers.RSOPass{{Tried: 4, Accepted: 2}}},
		"a new maximum every pass":  {r, 3, .5, []float64{.5, .06, .9, .3, .01, .13}, []int{3, 0, 1}, []trainers.RSOPass{{4, 1}, {2, 2}}},
		"at the bound is rejected":  {r, 1, .5, []float64{math.Exp(-5), math.Exp(-3), math.Exp(-1), 0}, []int{3}, []trainers.RSOPass{{4, 1}}},
		"below the bound is not":    {r, 1, .5, []float64{math.Nextafter(math.Exp(-5), 0)}, []int{0}, []trainers.RSOPass{{1, 1}}},
		"the maximum holds a pass":  {[]float64{5, 1, 1}, 2, .5, []float64{.9, .5, .5, .99}, []int{0, 1}, []trainers.RSOPass{{3, 1}, {1, 1}}},
		"underflow takes m passes":  {[]float64{0, 1e6, -1e6}, 3, 1e-3, []float64{0, .9, 0, .9, 0, .9}, []int{1, 0, 2}, []trainers.RSOPass{{3, 1}, {2, 1}, {1, 1}}},
		"β = 0 takes the best":      {[]float64{1, 3, 2, 3}, 3, 0, nil, []int{1, 3, 2}, []trainers.RSOPass{{4, 3}}},
		"β = ∞ takes the first":     {r, 3, math.Inf(1), []float64{.999, .999, .999}, []int{0, 1, 2}, []trainers.RSOPass{{3, 3}}},
		"equal rewards: the first":  {[]float64{2, 2, 2}, 2, .05, []float64{.999, .999}, []int{0, 1}, []trainers.RSOPass{{2, 2}}},
		"all that there are":        {r, 4, .5, []float64{0, 0, 0, 0}, []int{0, 1, 2, 3}, []trainers.RSOPass{{4, 4}}},
		"β = 0.05: 0.000045 is low": {r, 1, .05, []float64{1e-20, 1e-12, 4.6e-5, .999}, []int{3}, []trainers.RSOPass{{4, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(c.rewards)
			got, err := trainers.RejectionSample(c.rewards, c.n, c.beta, scripted(t, c.u...))
			require.NoError(t, err)
			assert.Equal(t, c.order, got.Order)
			assert.Equal(t, c.passes, got.Passes)
			assert.Equal(t, before, c.rewards)
		})
	}
	assert.Zero(t, math.Exp((0-2.5)/1e-3), "the exponent of the underflow case")
}

// The probabilities of a first pass, found by bisection on what u is still accepted.
func TestRejectionSampleProbabilities(t *testing.T) {
	r := []float64{0, 1, 2, 2.5}
	for beta, want := range map[float64][]float64{.5: {.006738, .049787, .367879, 1}, .05: {0, 0, .000045, 1}} {
		for i, p := range want {
			low, high := 0.0, 1.0
			for range 40 {
				mid := (low + high) / 2
				u := []float64{.9999999, .9999999, .9999999, .9999999}
				u[i] = mid
				got, err := trainers.RejectionSample(r, 1, beta, scripted(t, u...))
				require.NoError(t, err)
				if got.Order[0] == i {
					low = mid
				} else {
					high = mid
				}
			}
			assert.InDelta(t, p, high, 5e-7, "β %g candidate %d", beta, i)
		}
	}
}

// As β falls the accepted candidates become the best ones in order; as it grows, the first ones.
func TestRejectionSampleLimits(t *testing.T) {
	rng := tensor.NewRNG(3, 0)
	for range 200 {
		rewards := make([]float64, 12)
		for i := range rewards {
			rewards[i] = rng.Float64()
		}
		best, err := trainers.RejectionSample(rewards, 12, 0, scripted(t))
		require.NoError(t, err)
		assert.True(t, slices.IsSortedFunc(best.Order, func(a, b int) int { return int(math.Copysign(1, rewards[b]-rewards[a])) }))
		cold, err := trainers.RejectionSample(rewards, 12, 1e-12, rng.Float64)
		require.NoError(t, err)
		assert.Equal(t, best.Order, cold.Order)
		hot, err := trainers.RejectionSample(rewards, 6, 1e12, rng.Float64)
		require.NoError(t, err)
		assert.Equal(t, []int{0, 1, 2, 3, 4, 5}, hot.Order)
	}
}

// On a toy π_sft of four completions the accepted ones are distributed as π_sft·exp(r/β)/Z, and as many are accepted
// as the target says: Σ π·exp((r-max)/β).
func TestRejectionSampleDistribution(t *testing.T) {
	pi, reward := []float64{.4, .3, .2, .1}, []float64{0, .5, 1, .2}
	for _, beta := range []float64{.25, .5, 2} {
		target, rate, apart := make([]float64, 4), 0.0, 0.0
		for i := range pi {
			rate += pi[i] * math.Exp((reward[i]-1)/beta)
		}
		for i := range pi {
			target[i] = pi[i] * math.Exp((reward[i]-1)/beta) / rate
			apart += math.Abs(target[i] - pi[i])
		}
		require.Greater(t, apart, .1, "too near to π_sft for the test to tell them apart")
		counts, tried, accepted := make([]float64, 4), 0, 0
		rng := tensor.NewRNG(11, uint64(100*beta))
		for range 4000 {
			drawn, rewards := make([]int, 200), make([]float64, 200)
			for i := range drawn {
				drawn[i] = drawFrom(pi, rng.Float64())
				rewards[i] = reward[drawn[i]]
			}
			got, err := trainers.RejectionSample(rewards, 10, beta, rng.Float64)
			require.NoError(t, err)
			require.Len(t, got.Passes, 1)
			tried, accepted = tried+got.Tried(), accepted+len(got.Order)
			for _, i := range got.Order {
				counts[drawn[i]]++
			}
		}
		for i := range counts { // 40,000 draws: a standard error is at most 0.0025
			assert.InDelta(t, target[i], counts[i]/float64(accepted), .01, "β %g completion %d", beta, i)
		}
		assert.InDelta(t, rate, float64(accepted)/float64(tried), .01)
	}
}

func drawFrom(p []float64, u float64) int {
	for i := range p {
		if u -= p[i]; u < 0 {
			return i
		}
	}
	return len(p) - 1
}

func TestEffectiveSampleSize(t *testing.T) {
	assert.Zero(t, trainers.EffectiveSampleSize(nil, 1))
	assert.Equal(t, 4.0, trainers.EffectiveSampleSize([]float64{3, 3, 3, 3}, .5))
	assert.Equal(t, 4.0, trainers.EffectiveSampleSize([]float64{1, 2, 3, 4}, math.Inf(1)))
	assert.Equal(t, 2.0, trainers.EffectiveSampleSize([]float64{1, 4, 3, 4}, 0))
	w := math.Exp(-1 / .5) // (1+w)²/(1+w²)
	assert.InDelta(t, (1+w)*(1+w)/(1+w*w), trainers.EffectiveSampleSize([]float64{2000, 1999}, .5), 1e-12)
}

func TestPairCandidates(t *testing.T) {
	rewards := []float64{.5, 7, 3, 1, 9, 2, 8, 4}
	accepted := []int{6, 2, 4, 0, 1, 3, 5}
	play := func(pairing string, n int, stream uint64) []trainers.RankedPair {
		pairs, ties, err := trainers.PairCandidates(rewards, accepted[:n], pairing, tensor.NewRNG(5, stream).Rand())
		require.NoError(t, err)
		assert.Zero(t, ties)
		for _, p := range pairs {
			assert.Greater(t, rewards[p.Chosen], rewards[p.Rejected])
		}
		return pairs
	}
	orders := map[int]bool{}
	for stream := range uint64(30) {
		first := play("first-round", 6, stream)
		require.Len(t, first, 3)
		var met []int
		for _, p := range first {
			met = append(met, p.Chosen, p.Rejected)
		}
		assert.ElementsMatch(t, accepted[:6], met, "everybody plays once")
		assert.Equal(t, first, play("first-round", 6, stream), "a function of the stream")
		orders[first[0].Chosen*8+first[0].Rejected] = true

		for _, n := range []int{2, 4, 5, 6, 7} {
			all := play("tournament", n, stream)
			require.Len(t, all, n-1)
			var lost []int
			for _, p := range all {
				lost = append(lost, p.Rejected)
			}
			best := slices.MaxFunc(accepted[:n], func(a, b int) int { return int(math.Copysign(1, rewards[a]-rewards[b])) })
			assert.ElementsMatch(t, accepted[:n], append(lost, best), "all but the best lose once")
			assert.Equal(t, best, all[n-2].Chosen)
		}
		assert.Equal(t, play("tournament", 6, stream)[:3], first, "the first round is the tournament's")
	}
	assert.Greater(t, len(orders), 5, "pairs are random")
}

func TestPairCandidatesTies(t *testing.T) {
	for pairing, matches := range map[string]int{"first-round": 2, "tournament": 3} {
		pairs, ties, err := trainers.PairCandidates([]float64{1, 1, 1, 1}, []int{0, 1, 2, 3}, pairing, tensor.NewRNG(1, 0).Rand())
		require.NoError(t, err)
		assert.Empty(t, pairs)
		assert.Equal(t, matches, ties)
	}
	pairs, ties, err := trainers.PairCandidates([]float64{1, 1, 0}, []int{0, 1, 2}, "tournament", tensor.NewRNG(1, 0).Rand())
	require.NoError(t, err)
	assert.Equal(t, 2, len(pairs)+ties)
	assert.NotEmpty(t, pairs)
}

func TestRSORefusals(t *testing.T) {
	for _, c := range []struct {
		rewards []float64
		n       int
		beta    float64
		want    string
	}{
		{[]float64{1, 2}, 3, .5, "accept 3: there are only 2 candidates; raise --candidates, or lower --accept"},
		{[]float64{1, 2}, 0, .5, "accept 0"},
		{nil, 1, .5, "there are only 0 candidates"},
		{[]float64{1, 2}, 1, -1, "beta -1: is a temperature; use a --beta of 0"},
		{[]float64{1, 2}, 1, math.NaN(), "beta NaN"},
		{[]float64{1, math.NaN()}, 1, .5, "candidate 2: its reward is NaN; check the reward model's weights"},
		{[]float64{math.Inf(1), 2}, 1, .5, "candidate 1: its reward is +Inf"},
	} {
		_, err := trainers.RejectionSample(c.rewards, c.n, c.beta, scripted(t))
		require.ErrorContains(t, err, c.want)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
	_, _, err := trainers.PairCandidates([]float64{1, 2, 3}, []int{0, 1, 2}, "first-round", tensor.NewRNG(1, 0).Rand())
	require.ErrorContains(t, err, "accept 3: first-round pairing needs an even number; use 4, or --pairing tournament")
	_, _, err = trainers.PairCandidates([]float64{1}, []int{0}, "tournament", tensor.NewRNG(1, 0).Rand())
	require.ErrorContains(t, err, "accept 1: one completion makes no pair")
	o := trainers.DefaultRSO()
	require.NoError(t, o.Validate())
}

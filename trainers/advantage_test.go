package trainers

// Rewards, advantages and controllers against worked numbers (METHODS.md §2) and the identities that define them.

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	workedLogProbs = [][]float64{{-1, -.5, -2}, {-.7, -1.2}}
	workedRef      = [][]float64{{-1.2, -.9, -1.5}, {-.8, -1.0}}
	workedV        = [][]float64{{.1, .2, .3}, {0, -.1}}
	workedScores   = []float64{1, -.5}
)

func klOf(t *testing.T, estimator string, logp, ref []float64) []float64 {
	t.Helper()
	k, err := KLPenalty(estimator, logp, ref)
	require.NoError(t, err)
	return k
}

func sum(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x
	}
	return s
}

func TestKLPenaltyWorked(t *testing.T) {
	k1 := [][]float64{{.2, .4, -.5}, {.1, -.2}}
	k3 := [][]float64{{.018731, .070320, .148721}, {.004837, .021403}}
	sums1, sums2 := []float64{.1, -.1}, []float64{.225, .025}
	for i := range workedLogProbs {
		near(t, k1[i], klOf(t, "k1", workedLogProbs[i], workedRef[i]), 1e-9, "k1")
		near(t, k3[i], klOf(t, "k3", workedLogProbs[i], workedRef[i]), 1e-6, "k3")
		assert.InDelta(t, sums1[i], sum(klOf(t, "k1", workedLogProbs[i], workedRef[i])), 1e-9)
		assert.InDelta(t, sums2[i], sum(klOf(t, "k2", workedLogProbs[i], workedRef[i])), 1e-9)
	}
	_, err := KLPenalty("k4", nil, nil)
	require.ErrorContains(t, err, `"k4" is not one of k1, k2, k3`)
	assert.Empty(t, klOf(t, "k3", nil, nil))
}

// E_p[k1] and E_p[k3] are the exact KL; the spreads are METHODS.md's.
func TestKLEstimatorsAreUnbiased(t *testing.T) {
	p, q := []float64{.5, .3, .2}, []float64{.4, .4, .2}
	moment := func(estimator string) (mean, std float64) {
		for i := range p {
			k := klOf(t, estimator, []float64{math.Log(p[i])}, []float64{math.Log(q[i])})[0]
			mean += p[i] * k
			std += p[i] * k * k
		}
		return mean, math.Sqrt(std - mean*mean)
	}
	m1, s1 := moment("k1")
	m2, _ := moment("k2")
	m3, s3 := moment("k3")
	exact := 0.0
	for i := range p {
		exact += p[i] * math.Log(p[i]/q[i])
	}
	assert.InDelta(t, exact, m1, 1e-12)
	assert.InDelta(t, exact, m3, 1e-12)
	near(t, []float64{0.025267, 0.024862, 0.025267, .221554, .015956}, []float64{m1, m2, m3, s1, s3}, 1e-6, "moments")
}

func FuzzK3(f *testing.F) {
	for _, d := range []float64{0, 1e-9, -1e-9, 1, -1, 19.9, 21, -21, 1e300, -1e300, math.Inf(1), math.Inf(-1)} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, d float64) {
		if math.IsNaN(d) {
			t.Skip("a NaN is found elsewhere")
		}
		k := klEstimators["k3"](d)
		if k < 0 || !isFinite(k) {
			t.Errorf("k3(%g) = %g", d, k)
		}
	})
}

func TestRewardsAndGAEWorked(t *testing.T) {
	rewards := [][]float64{{-.01, -.02, 1.025}, {-.005, -.49}}
	advantages := [][]float64{{0.8203125, 0.768750, 0.725}, {-0.475500, -0.39}}
	returns := [][]float64{{0.9203125, 0.968750, 1.025}, {-0.4755, -0.49}}
	var got [][]float64
	for i := range workedLogProbs {
		r := TokenRewards(klOf(t, "k1", workedLogProbs[i], workedRef[i]), .05, workedScores[i], false)
		near(t, rewards[i], r, 1e-9, "rewards")
		adv, ret := GAE(r, workedV[i], 1, .95)
		near(t, advantages[i], adv, 1e-9, "advantages")
		near(t, returns[i], ret, 1e-9, "returns")
		got = append(got, adv)
	}
	m, v := moments(got)
	assert.InDelta(t, 0.289712, m, 1e-6)
	assert.InDelta(t, 0.349610, v, 1e-6)
	kept := [][]float64{append([]float64(nil), got[0]...), append([]float64(nil), got[1]...)}
	Whiten(got, true)
	nearRows(t, [][]float64{{0.897378, 0.810173, 0.736181}, {-1.294167, -1.149565}}, got, 1e-6, "whitened")
	Whiten(kept, false)
	nearRows(t, [][]float64{{1.187091, 1.099886, 1.025893}, {-1.004455, -0.859853}}, kept, 1e-6, "whitened, mean kept")
}

// The score one place after the end (N+), with V there 0.
func TestScoreAfterEOSWorked(t *testing.T) {
	r := TokenRewards(klOf(t, "k1", workedLogProbs[0], workedRef[0]), .05, 1, true)
	adv, _ := GAE(r, []float64{.1, .2, .3, 0}, 1, .95)
	near(t, []float64{0.7751875, 0.721250, 0.675, 1}, adv, 1e-9, "advantages")
}

// λ = γ = 1: the advantage is the reward to go less the value.
func TestGAEReducesToRewardToGo(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		n := draw.IntN(12)
		r, v := make([]float64, n), make([]float64, n)
		for i := range n {
			r[i], v[i] = draw.NormFloat64(), draw.NormFloat64()
		}
		adv, ret := GAE(r, v, 1, 1)
		for i := range n {
			require.InDelta(t, sum(r[i:])-v[i], adv[i], 1e-9)
			require.InDelta(t, sum(r[i:]), ret[i], 1e-9)
		}
		adv, _ = GAE(r, v, .9, 0) // λ = 0: one-step TD errors
		for i := range n {
			next := 0.0
			if i+1 < n {
				next = v[i+1]
			}
			require.InDelta(t, r[i]+.9*next-v[i], adv[i], 1e-9)
		}
	}
}

func TestWhiten(t *testing.T) {
	Whiten(nil, true) // nothing to do, nothing to divide by
	Whiten([][]float64{{}, {}}, false)
	same := [][]float64{{3, 3}, {3}}
	Whiten(same, true)
	nearRows(t, [][]float64{{0, 0}, {0}}, same, 1e-12, "equal values")
	rows := [][]float64{{1, 5, -2}, {}, {7}}
	Whiten(rows, true)
	m, v := moments(rows)
	assert.InDelta(t, 0, m, 1e-12)
	assert.InDelta(t, 1, v, 1e-8)
	rows = [][]float64{{1, 5, -2}, {7}}
	before, _ := moments(rows)
	Whiten(rows, false)
	m, v = moments(rows)
	assert.InDelta(t, before, m, 1e-12)
	assert.InDelta(t, 1, v, 1e-8)
}

func TestEmptySeries(t *testing.T) {
	adv, ret := GAE(nil, nil, 1, .95)
	assert.Empty(t, adv)
	assert.Empty(t, ret)
	m, v := moments(nil)
	assert.Zero(t, m)
	assert.Zero(t, v)
	assert.Equal(t, []float64{2}, TokenRewards(nil, .05, 2, true))
	require.NoError(t, advantagesOf(nil, DefaultPPO(), .05))
}

func TestKLControllerWorked(t *testing.T) {
	for _, c := range []struct{ target, kl, want float64 }{
		{6, 9, 0.151536}, {6, 5, 0.148720}, {6, 6, .15}, {6, 6.6, .15 * (1 + .1*512/10000)}, {0, 9, .15},
	} {
		k := NewKLController(.15, c.target, 10000)
		k.Update(c.kl, 512)
		assert.InDelta(t, c.want, k.Beta, 1e-6, "%+v", c)
	}
}

func TestScoreNorm(t *testing.T) {
	norm, err := FitScoreNorm([]float64{.7 - 2.5, .7 + 2.5}, 0, 1)
	require.NoError(t, err)
	assert.InDelta(t, .4, norm.Gain, 1e-12)
	assert.InDelta(t, -.28, norm.Bias, 1e-12)
	assert.InDelta(t, -1, norm.Apply(.7-2.5), 1e-12)
	for _, useless := range [][]float64{{3}, {.1, .1, .1, .1, .1, .1, .1}, {1.1e7, 1.1e7, 1.1e7}, {0, 0}, {1, math.NaN()}} {
		_, err := FitScoreNorm(useless, 0, 1)
		require.ErrorContains(t, err, "the reward model gives", "%v", useless)
	}
	norm, err = FitScoreNorm([]float64{1e-9, -1e-9}, 2, 3)
	require.NoError(t, err, "small scores are as good as large ones")
	assert.InDelta(t, 5, norm.Apply(1e-9), 1e-9)
}

func TestFinalScore(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(o *PPOOptions)
		norm  *ScoreNorm
		ended bool
		want  float64
	}{
		{"as it is", func(*PPOOptions) {}, nil, false, 3},
		{"clipped", func(o *PPOOptions) { o.ScoreClip = 2 }, nil, true, 2},
		{"normalised, then clipped", func(o *PPOOptions) { o.ScoreClip = 2 }, &ScoreNorm{-10, 0}, true, -2},
		{"normalised", func(*PPOOptions) {}, &ScoreNorm{.4, -.28}, true, .92},
		{"replace, but it ended", func(o *PPOOptions) { o.MissingEOS = "replace" }, nil, true, 3},
		{"replace", func(o *PPOOptions) { o.MissingEOS = "replace" }, nil, false, -1},
		{"subtract, but it ended", func(o *PPOOptions) { o.MissingEOS = "subtract" }, nil, true, 3},
		{"subtract after the clip", func(o *PPOOptions) { o.MissingEOS, o.ScoreClip = "subtract", 2 }, nil, false, 1},
	} {
		o := DefaultPPO()
		c.set(&o)
		assert.InDelta(t, c.want, o.finalScore(3, c.norm, c.ended), 1e-12, c.name)
	}
}

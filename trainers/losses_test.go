package trainers

// The losses against worked numbers (METHODS.md §2 and §4, computed in float64 elsewhere).

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

func flat(rows ...[]float64) tensor.Tensor {
	var all []float64
	for _, r := range rows {
		all = append(all, r...)
	}
	return tensor.Doubles(all, len(all))
}

func mean(v []float64) float64 {
	m, _ := moments([][]float64{v})
	return m
}

var (
	workedOld       = []float64{-1, -.5, -2, -.7, -1.2}
	workedNew       = []float64{-.9, -.8, -1.6, -.7, -1.5}
	workedAdv       = []float64{0.897378368, 0.810173181, 0.736180901, -1.29416725, -1.1495652}
	workedValues    = []float64{.1, .2, .3, 0, -.1}
	workedNewValues = []float64{.5, .1, .25, -.3, .2}
	workedReturns   = []float64{0.9203125, 0.96875, 1.025, -0.4755, -0.49}
)

func TestClippedPolicyWorked(t *testing.T) {
	run(t, func() {
		now, old := flat(workedNew), flat(workedOld)
		loss, ratio, clipped := ClippedPolicy(now, old, flat(workedAdv), 0.2)
		near(t, []float64{1.105171, .740818, 1.491825, 1, .740818}, ratio.Float64s(), 1e-6, "ratio")
		near(t, []float64{-.991756, -.600191, -.883417, 1.294167, .919652}, loss.Float64s(), 1e-6, "policy loss")
		assert.InDelta(t, -0.052309, mean(loss.Float64s()), 1e-6)
		assert.InDelta(t, .4, mean(clipped.Float64s()), 1e-6)
		assert.InDelta(t, .035, now.Sub(old).Square().Mean().Item()/2, 1e-9, "approxkl")
	})
}

func TestClippedValueWorked(t *testing.T) {
	run(t, func() {
		loss, clipped := ClippedValue(flat(workedNewValues), flat(workedValues), flat(workedReturns), 0.2)
		near(t, []float64{.384788 / 2, .754727 / 2, .600625 / 2, .0759 / 2, .4761 / 2}, loss.Float64s(), 1e-6, "value loss")
		assert.InDelta(t, 0.229214, mean(loss.Float64s()), 1e-6)
		assert.InDelta(t, -0.029388, -0.052309+.1*mean(loss.Float64s()), 1e-6, "total")
		assert.InDelta(t, .4, mean(clipped.Float64s()), 1e-6)
	})
}

// Values inside the clip range are not counted as clipped, whatever they round to.
func TestClippedValueCountsOnlyClipped(t *testing.T) {
	run(t, func() {
		old := tensor.Randn(1, 1000)
		now := old.Add(tensor.Randn(2, 1000).MulScalar(.01))
		loss, clipped := ClippedValue(now, old, tensor.Randn(3, 1000), .2)
		assert.Zero(t, clipped.Sum().Item())
		assert.Equal(t, now.Sub(tensor.Randn(3, 1000)).Square().MulScalar(.5).Float32s(), loss.Float32s())
	})
}

// With an infinite clip range and ratio 1 the gradient is the policy gradient -Â.
func TestClippedPolicyReducesToPolicyGradient(t *testing.T) {
	run(t, func() {
		now := flat(workedOld).RequireGrad(true)
		loss, _, clipped := ClippedPolicy(now, flat(workedOld), flat(workedAdv), 1e9)
		tensor.Backward(loss.Sum())
		want := make([]float64, len(workedAdv))
		for i, a := range workedAdv {
			want[i] = -a
		}
		near(t, want, now.Grad().Float64s(), 1e-12, "gradient")
		assert.Zero(t, clipped.Sum().Item())
	})
}

// A log-ratio that would overflow is bounded, so the loss stays finite in fp32.
func TestClippedPolicyDoesNotOverflow(t *testing.T) {
	run(t, func() {
		now, old := tensor.Floats([]float32{0, -300}, 2), tensor.Floats([]float32{-300, 0}, 2)
		loss, ratio, _ := ClippedPolicy(now, old, tensor.Floats([]float32{-1, -1}, 2), 0.2)
		for _, v := range append(loss.Float64s(), ratio.Float64s()...) {
			assert.True(t, isFinite(v), "%g", v)
		}
		assert.InEpsilon(t, math.Exp(20), ratio.Max().Item(), 1e-5)
	})
}

func TestBradleyTerryWorked(t *testing.T) {
	chosen, rejected, margin := []float64{1.2, -.3}, []float64{.4, .1}, []float64{.5, 0}
	zero := []float64{0, 0}
	for _, c := range []struct {
		name   string
		margin []float64
		centre float64
		want   []float64 // per pair, if worked out
		mean   float64
	}{
		{"plain", zero, 0, []float64{0.371101, 0.913015}, 0.642058},
		{"margin", margin, 0, []float64{0.554355, 0.913015}, 0.733685},
		{"centred", zero, .01, nil, 0.655058},
		{"all", margin, .01, nil, 0.746685},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func() {
				got := BradleyTerry(flat(chosen), flat(rejected), flat(c.margin), c.centre).Float64s()
				if c.want != nil {
					near(t, c.want, got, 1e-6, "loss")
				}
				assert.InDelta(t, c.mean, mean(got), 1e-6)
			})
		})
	}
}

func TestBradleyTerryProperties(t *testing.T) {
	run(t, func() {
		zero := tensor.Doubles([]float64{0, 0, 0}, 3)
		r := flat([]float64{.3, -4, 70})
		for _, v := range BradleyTerry(r, r, zero, 0).Float64s() {
			assert.InDelta(t, math.Ln2, v, 1e-12, "equal rewards")
		}
		w, l := flat([]float64{1, 2, -3}), flat([]float64{.5, 3, -3.5})
		plain := BradleyTerry(w, l, zero, 0).Float64s()
		near(t, plain, BradleyTerry(w.AddScalar(5), l.AddScalar(5), zero, 0).Float64s(), 1e-12, "shifted")
		assert.NotEqual(t, BradleyTerry(w, l, zero, .01).Float64s(), BradleyTerry(w.AddScalar(5), l.AddScalar(5), zero, .01).Float64s(),
			"the centring term sees an offset")
		far := BradleyTerry(flat([]float64{-1e4, 1e4}), flat([]float64{1e4, -1e4}), tensor.Doubles([]float64{0, 0}, 2), 0).Float64s()
		near(t, []float64{2e4, 0}, far, 1e-6, "far apart")
	})
}

// METHODS.md §1: the reward of one decision against the soup.
func TestSoupRewardWorked(t *testing.T) {
	k, err := KLPenalty("k1", []float64{-0.342076}, []float64{-0.638182})
	require.NoError(t, err)
	assert.InDelta(t, 0.785195, TokenRewards(k, .05, .8, false)[0], 1e-6)
}

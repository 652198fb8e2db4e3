package trainers

// The dual of constrained alignment: worked numbers, its derivatives, its root, and what is refused.

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
)

// workedDual is the example that the numbers below were computed for.
func workedDual() *Dual {
	return &Dual{Beta: 0.5, Target: 0.3, Prompts: []DualSamples{
		{Reward: []float64{1, 0, -1}, Safety: []float64{-1, 0.5, 1}},
		{Reward: []float64{0.5, 1.5, 0}, Safety: []float64{0, -1, 2}},
	}}
}

func TestDualWorkedNumbers(t *testing.T) {
	d := workedDual()
	for _, c := range []struct{ lambda, value, slope, reward, safety float64 }{
		{0, 0.778888, -1.076028, 1.086863, -0.776028},
		{0.5, 0.404932, -0.249989, 0.603780, 0.050011},
		{1, 0.562286, 0.730833, 0.045279, 1.030833},
		{2, 1.526518, 1.065964, -0.242874, 1.365964},
		{0.596874, 0.392842, 0, 0.465474, 0.3},
	} {
		p := d.At(c.lambda)
		for _, x := range []struct {
			name      string
			want, got float64
		}{{"D", c.value, p.Value}, {"D'", c.slope, p.Slope}, {"E[r]", c.reward, p.Reward}, {"E[g]", c.safety, p.Safety}} {
			assert.InDelta(t, x.want, x.got, 2e-6, "%s(%g)", x.name, c.lambda) // λ* itself has six digits
		}
	}
	star, err := d.Solve()
	require.NoError(t, err)
	assert.InDelta(t, 0.596874, star, 1e-6)
	assert.InDelta(t, 2.544819, d.At(star).Curvature, 1e-6)
	assert.InDelta(t, 0, d.At(star).Slope, 1e-12)
	assert.InDelta(t, 0.392842, d.At(star).Value, 1e-6)
}

func TestDualDerivatives(t *testing.T) {
	d := workedDual()
	const h = 1e-5
	for _, lambda := range []float64{0, 0.3, 0.596874, 1.7, 6} {
		p, up, down := d.At(lambda), d.At(lambda+h), d.At(lambda-h)
		assert.InDelta(t, (up.Value-down.Value)/(2*h), p.Slope, 1e-8, "D' at %g", lambda)
		assert.InDelta(t, (up.Slope-down.Slope)/(2*h), p.Curvature, 1e-8, "D'' at %g", lambda)
		assert.GreaterOrEqual(t, p.Curvature, 0.0)
		// At any λ: D = E[r] + λ(E[g] - b̄) - β·KL, the Lagrangian at its inner optimum.
		assert.InDelta(t, p.Value, p.Reward+lambda*p.Slope-d.Beta*p.KL, 1e-12, "Lagrangian at %g", lambda)
	}
}

// Descent with a step of 1 and Newton's method from 0 both cycle on the worked example; the search must not.
func TestDualWhereDescentAndNewtonCycle(t *testing.T) {
	d := workedDual()
	x := 1.0
	for range 101 {
		x = max(0, x-d.At(x).Slope)
	}
	assert.InDelta(t, 0.269902, x, 1e-3)
	assert.InDelta(t, 1.030319, max(0, x-d.At(x).Slope), 1e-3)
	first := d.At(0)
	newton := -first.Slope / first.Curvature
	assert.InDelta(t, 1.496803, newton, 1e-6)
	second := d.At(newton)
	assert.Negative(t, newton-second.Slope/second.Curvature, "projected to 0, where it began")
	star, err := d.Solve()
	require.NoError(t, err)
	x = 1.0
	for _, want := range []float64{0.634584, 0.587327, 0.599511} {
		x -= 0.5 * d.At(x).Slope
		assert.InDelta(t, want, x, 1e-6)
	}
	assert.InDelta(t, star, 0.596874, 1e-6)
}

func TestDualSlackAndInfeasible(t *testing.T) {
	d := workedDual()
	d.Target = -5
	assert.InDelta(t, 4.223972, d.At(0).Slope, 1e-6)
	star, err := d.Solve()
	require.NoError(t, err)
	assert.Zero(t, star)

	assert.Equal(t, 1.5, d.Reach())
	for _, target := range []float64{1.5, 2, 1e9} {
		d.Target = target
		_, err = d.Solve()
		require.ErrorContains(t, err, "gives 1.5; lower the bound")
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
	d.Target = 1.4999 // a weight of all but 1e-4 on the safest sample
	star, err = d.Solve()
	require.NoError(t, err)
	assert.InDelta(t, 0, d.At(star).Slope, 1e-9)

	flat := &Dual{Beta: 1, Target: 1, Prompts: []DualSamples{{Reward: []float64{1, 2}, Safety: []float64{1, 1}}}}
	star, err = flat.Solve()
	require.NoError(t, err, "held with equality")
	assert.Zero(t, star)
}

// Scores of any size: nothing overflows, and the root does not depend on a constant in the rewards.
func TestDualLargeScores(t *testing.T) {
	d, far := workedDual(), workedDual()
	for i := range far.Prompts {
		for j := range far.Prompts[i].Reward {
			far.Prompts[i].Reward[j] += 1e6
		}
	}
	want, err := d.Solve()
	require.NoError(t, err)
	got, err := far.Solve()
	require.NoError(t, err)
	assert.InDelta(t, want, got, 1e-8)
	steep := &Dual{Beta: 1e-3, Target: 0.3, Prompts: d.Prompts}
	star, err := steep.Solve()
	require.NoError(t, err)
	p := steep.At(star)
	assert.False(t, math.IsNaN(p.Value) || math.IsInf(p.Value, 0))
	assert.InDelta(t, 0, p.Slope, 1e-6, "D'' is near 500 there, and λ has 13 digits")
}

func TestDualRefuses(t *testing.T) {
	good := workedDual()
	for want, d := range map[string]*Dual{
		"no samples":                          {Beta: 1},
		"beta 0":                              {Beta: 0, Prompts: good.Prompts},
		"target NaN":                          {Beta: 1, Target: math.NaN(), Prompts: good.Prompts},
		"prompt 1 has 2 rewards and 1 safety": {Beta: 1, Prompts: []DualSamples{{Reward: []float64{1, 2}, Safety: []float64{1}}}},
		"prompt 1, completion 1: reward NaN and safe": {Beta: 1, Prompts: []DualSamples{{Reward: []float64{math.NaN()}, Safety: []float64{1}}}},
	} {
		_, err := d.Solve()
		require.ErrorContains(t, err, want)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
}

func TestPeCANWorkedNumbers(t *testing.T) {
	ref := [][]float64{{-10, -12, -11}, {-20, -18, -19}}
	help := [][]float64{{-9.5, -12.5, -12}, {-19, -18.2, -19.5}}
	safe := [][]float64{{-11, -11.5, -10.2}, {-20.3, -18.8, -18.1}}
	prompts := make([]DualSamples, len(ref))
	for i := range ref {
		for j := range ref[i] {
			prompts[i].Reward = append(prompts[i].Reward, help[i][j]-ref[i][j])
			prompts[i].Safety = append(prompts[i].Safety, safe[i][j]-ref[i][j])
		}
	}
	target, kl := LogRatioTarget(prompts, 0.05, 0.1)
	assert.InDelta(t, -0.016667, kl, 1e-6)
	d := &Dual{Prompts: prompts, Beta: 1, Target: target}
	for lambda, want := range map[float64][2]float64{0: {0.094348, -0.828599}, 0.5: {-0.261829, -0.590609},
		1: {-0.495236, -0.346255}, 2: {-0.642255, 0.017594}} {
		p := d.At(lambda)
		assert.InDelta(t, want[0], p.Value, 1e-6, "D/β at %g", lambda)
		assert.InDelta(t, want[1], p.Slope, 1e-6, "D'/β at %g", lambda)
	}
	star, err := d.Solve()
	require.NoError(t, err)
	assert.InDelta(t, 1.933875, star, 1e-6)
	first := prompts[0]
	label := func(scale float64) float64 {
		return PseudoPreference(star, scale*first.Reward[0], scale*first.Safety[0], scale*first.Reward[1], scale*first.Safety[1])
	}
	assert.InDelta(t, 0.869983, label(1), 1e-6)
	assert.InDelta(t, 0.547378, label(0.1), 1e-6, "scaled by β it would be nearly a coin")
}

func TestPseudoPreferences(t *testing.T) {
	p := workedDual().Prompts[0]
	label := func(lambda float64) float64 {
		return PseudoPreference(lambda, p.Reward[0], p.Safety[0], p.Reward[1], p.Safety[1])
	}
	assert.InDelta(t, 0.473852, label(0.596874), 1e-6)
	assert.InDelta(t, 0.268941, label(0), 1e-6, "reward alone")

	never := func(int, int) bool { return false }
	count, n := 0, 4000
	for prompt := range n {
		pairs := p.PseudoPairs(0.596874, 8, 3, prompt, never)
		require.Len(t, pairs, 1, "three completions make one pair")
		if pairs[0].Chosen == 1 {
			count++
		}
		require.Equal(t, pairs, p.PseudoPairs(0.596874, 1, 3, prompt, never))
	}
	assert.InDelta(t, 0.473852, float64(count)/float64(n), 0.025) // three standard errors
	assert.Empty(t, p.PseudoPairs(1, 8, 3, 0, func(int, int) bool { return true }))

	four := DualSamples{Reward: []float64{0, 40, 40, 0}, Safety: make([]float64, 4)}
	assert.Equal(t, []PseudoPair{{1, 0}, {2, 3}}, four.PseudoPairs(1, 8, 1, 0, never))
	assert.Equal(t, []PseudoPair{{1, 0}}, four.PseudoPairs(1, 1, 1, 0, never))
	assert.Equal(t, []PseudoPair{{2, 3}}, four.PseudoPairs(1, 1, 1, 0, func(i, _ int) bool { return i == 0 }), "the next pair stands in")
}

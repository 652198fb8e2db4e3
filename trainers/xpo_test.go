package trainers

// XPO: the worked numbers of METHODS.md §10, its bonus and its pairs, its gradient, and what is refused.

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

func tinyXPO(t *testing.T, change func(o *XPOOptions)) *XPO {
	t.Helper()
	o := DefaultXPO()
	tinyOnline(&o.OnlineOptions)
	change(&o)
	x, err := NewXPO(actorCast(t), tinyPrompts(), o, nil, nil)
	require.NoError(t, err)
	return x
}

// The fixture of METHODS.md: in pair 1 the reference's answer lost, in pair 2 it won.
func TestXPOWorkedNumbers(t *testing.T) {
	run(t, func() {
		pi, ref := pairOf(fixtureW, fixtureL), pairOf(fixtureRefW, fixtureRefL)
		answered := []float64{-15, -20}
		for alpha, want := range map[float64][]float64{1e-5: {.620807, .749459}, .01: {.470957, .549659}} {
			got := SigmoidLoss(pi, ref, PairSettings{Beta: .1}).Float64s()
			for i := range got {
				got[i] += alpha * answered[i]
			}
			near(t, want, got, 1e-6, "per pair")
		}
	})
}

// The trained loss is the mean of the pairwise losses of its duels plus α times the mean log-likelihood of the
// reference's answers; α = 0 leaves the pairwise loss alone, and its gradient is that of finite differences.
func TestXPOLossAndGradient(t *testing.T) {
	run(t, func() {
		x := tinyXPO(t, func(o *XPOOptions) { o.Alpha = .02 })
		samples, err := x.answers(context.Background())
		require.NoError(t, err)
		require.NoError(t, x.judge(context.Background(), samples, newStopwatch()))
		duels := rank(samples)
		require.Len(t, duels, 3)
		whole := pairSize{pairs: len(duels), chosen: 1, targets: 1}
		want, bonus, wins := 0.0, 0.0, 0
		for i, d := range duels {
			first, second := samples[2*i], samples[2*i+1]
			assert.Equal(t, second.Score > first.Score, d.second)
			h := total(first.LogProbs) - total(first.RefLogProbs) - total(second.LogProbs) + total(second.RefLogProbs)
			if d.second {
				h = -h
				wins++
			}
			if !d.same {
				want += softplus(-x.opts.Beta*h) / 3
			}
			bonus += total(second.LogProbs) / 3
		}
		assert.NotZero(t, wins, "the reference's answer wins somewhere")
		assert.Less(t, wins, 3, "and loses somewhere")
		loss, stats := x.loss(duels, whole)
		assert.InDelta(t, want+.02*bonus, loss.Item(), 1e-5)
		assert.InDelta(t, want, stats["loss/dpo"].Item(), 1e-5)
		assert.InDelta(t, .02*bonus, stats["loss/xpo"].Item(), 1e-5)
		matchesDifferences(t, x.Params(), func() tensor.Tensor { l, _ := x.loss(duels, whole); return l })

		x.opts.Alpha = 0
		loss, _ = x.loss(duels, whole)
		assert.InDelta(t, want, loss.Item(), 1e-5, "online DPO")
	})
}

// A tie goes to the policy's answer; equal answers teach no preference but keep the bonus.
func TestXPOTies(t *testing.T) {
	run(t, func() {
		x := tinyXPO(t, func(o *XPOOptions) { o.Alpha = .1 })
		x.cast.Reward = rewardOf(func(int, []int) float64 { return 1 })
		samples, err := x.answers(context.Background())
		require.NoError(t, err)
		samples[1].Completion = samples[0].Completion
		require.NoError(t, x.judge(context.Background(), samples, newStopwatch()))
		duels := rank(samples)
		for _, d := range duels {
			assert.False(t, d.second)
		}
		require.True(t, duels[0].same)
		loss, stats := x.loss(duels[:1], pairSize{pairs: 1, chosen: 1, targets: 1})
		assert.Zero(t, stats["loss/dpo"].Item())
		assert.InDelta(t, .1*total(samples[1].LogProbs), loss.Item(), 1e-5)
	})
}

func TestOnlineDPODrawsBothFromThePolicy(t *testing.T) {
	run(t, func() {
		x := tinyXPO(t, func(o *XPOOptions) { o.Alpha, o.PairWith = 0, "policy" })
		u := NewUpdate(x.Params(), &x.opts.Common)
		defer u.Close()
		res, err := x.Step(context.Background(), u)
		require.NoError(t, err)
		assert.Contains(t, res.Scalars, "rewards/margins")
		assert.NotContains(t, res.Scalars, "loss/xpo")
	})
}

func TestXPORefusals(t *testing.T) {
	for _, c := range []struct {
		set  func(o *XPOOptions)
		want string
	}{
		{func(o *XPOOptions) { o.Beta = 0 }, "use a positive --beta"},
		{func(o *XPOOptions) { o.PairWith = "policy" }, "use --alpha 0, or --pair-with reference"},
		{func(o *XPOOptions) { o.TargetKL = 1 }, "leave --target-kl at 0"},
	} {
		o := DefaultXPO()
		c.set(&o)
		assert.ErrorContains(t, o.Validate(), c.want)
	}
}

// softplus is -log σ(-z).
func softplus(z float64) float64 { return math.Log1p(math.Exp(z)) }

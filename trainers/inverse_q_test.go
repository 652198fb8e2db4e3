package trainers

// Inverse-Q*: the worked numbers of METHODS.md §13 and its identities.

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/models"
)

func TestTokenCredit(t *testing.T) {
	best, ref := []float64{-.4, -1.1, -.2}, []float64{-.7, -.9, -.6}
	credit := TokenCredit(best, ref, .5, 0)
	near(t, []float64{.15, -.1, .2}, credit, 1e-12, "credit")
	near(t, []float64{.12, -.1, .12}, TokenCredit(best, ref, .5, .12), 1e-12, "limited")
	near(t, []float64{.3, -.2, .4}, TokenCredit(best, ref, 1, 0), 1e-12, "β scales it")
	near(t, []float64{0, 0, 0}, TokenCredit(ref, ref, .5, 0), 0, "a guide that is the reference gives none")
	togo, _ := GAE(credit, []float64{0, 0, 0}, 1, 1)
	near(t, []float64{.25, .1, .2}, togo, 1e-12, "reward to go")
	rewards := CreditRewards(credit, []float64{.3, -.1, .2})
	near(t, []float64{.55, -.4, .4}, rewards, 1e-12, "rewards under values")
	assert.InDelta(t, .25+.3, total(rewards), 1e-12, "ΣA + V_0")
}

func TestInverseQLosses(t *testing.T) {
	run(t, func() {
		now, ref, credit := flat([]float64{-.6, -1, -.5}), flat([]float64{-.7, -.9, -.6}), flat([]float64{.15, -.1, .2})
		clip, ratio, _ := ClippedPolicy(now, ref, credit, .2)
		near(t, []float64{1.105171, .904837, 1.105171}, ratio.Float64s(), 1e-6, "ratio")
		near(t, []float64{-.165776, .090484, -.221034}, clip.Float64s(), 1e-6, "clipped")
		assert.InDelta(t, -.098775, clip.Mean().Item(), 1e-6)
		square := CreditRegression(now, ref, credit, .5)
		near(t, []float64{.01, .0025, .0225}, square.Float64s(), 1e-6, "regression")
		assert.InDelta(t, .011667, square.Mean().Item(), 1e-6)
		guide := flat([]float64{-.4, -1.1, -.2})
		near(t, []float64{0, 0, 0}, CreditRegression(guide, ref, credit, .5).Float64s(), 1e-12, "π = π̂*")
	})
}

// A guide that is the reference moves nothing; a prompt of the guide's own changes the credit and not the tokens.
func TestInverseQGuide(t *testing.T) {
	run(t, func() {
		o := DefaultInverseQ()
		tinyOnline(&o.OnlineOptions)
		o.PolicyStep, o.KLCoef = "clip", 0
		cast := actorCast(t)
		q, err := NewInverseQ(cast, Guide{Model: cast.Reference}, tinyPrompts(), o, nil, nil)
		require.NoError(t, err)
		u := NewUpdate(q.Params(), &o.Common)
		defer u.Close()
		res, err := q.Step(context.Background(), u)
		require.NoError(t, err)
		assert.Zero(t, res.Scalars["grad_norm"])
		assert.Zero(t, res.Scalars["credit/abs"])

		q.guide.Prompt = func(p data.Prompt) data.Prompt {
			p.IDs = append([]int{1, 9, 9}, p.IDs...)
			return p
		}
		samples, err := q.experience(context.Background(), newStopwatch())
		require.NoError(t, err)
		for _, s := range samples {
			assert.Len(t, s.Advantages, len(s.Completion))
			assert.NotEqual(t, make([]float64, len(s.Completion)), s.Advantages)
		}
	})
}

// Regression on a guide's credit leads the policy to the guide.
func TestInverseQRegressionFindsTheGuide(t *testing.T) {
	run(t, func() {
		o := DefaultInverseQ()
		tinyOnline(&o.OnlineOptions)
		o.PolicyStep, o.CreditClip, o.MaxSteps, o.LRSchedule = "regression", 0, 12, "constant"
		cast := actorCast(t)
		cast.Reference = loadModel(t, llamaDir, frozen)
		q, err := NewInverseQ(cast, Guide{Model: models.Model(other(t, .03))}, tinyPrompts(), o, nil, nil)
		require.NoError(t, err)
		u := NewUpdate(q.Params(), &o.Common)
		defer u.Close()
		var losses []float64
		for range 12 {
			res, err := q.Step(context.Background(), u)
			require.NoError(t, err)
			losses = append(losses, res.Scalars["loss/policy_avg"])
		}
		assert.Less(t, losses[11], losses[0]/2)
	})
}

// With the KL at β off its credit, the clipped step has nothing left to do where the policy is the guide.
func TestInverseQRestsAtTheGuide(t *testing.T) {
	run(t, func() {
		o := DefaultInverseQ()
		tinyOnline(&o.OnlineOptions)
		o.PolicyStep, o.CreditClip = "clip", 0
		cast := actorCast(t)
		q, err := NewInverseQ(cast, Guide{Model: loadModel(t, llamaDir, frozen)}, tinyPrompts(), o, nil, nil)
		require.NoError(t, err)
		samples, err := q.experience(context.Background(), newStopwatch())
		require.NoError(t, err)
		for _, s := range samples {
			near(t, make([]float64, len(s.Completion)), s.Advantages, 1e-5, "advantages")
		}
	})
}

package trainers

// References that are several, or that move: METHODS.md §1's identities, and what the updates do.

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

// One decision of METHODS.md §1: the KL to the members' mean log-probability differs from the KL to their normalised
// geometric mean by a number that does not depend on the policy, so both have one gradient.
func TestMKLWorkedNumbers(t *testing.T) {
	run(t, func() {
		one, two := flat([]float64{2, 0, -1}).LogSoftmax(-1), flat([]float64{0, 1, .5}).LogSoftmax(-1)
		klTo := func(ref tensor.Tensor) (float64, []float64) {
			logits := flat([]float64{1.5, .2, -.5}).RequireGrad(true)
			logp := logits.LogSoftmax(-1)
			kl := logp.Exp().Mul(logp.Sub(ref)).Sum()
			tensor.Backward(kl)
			return kl.Item(), logits.Grad().Float64s()
		}
		for _, c := range []struct{ alpha, kl, mkl float64 }{{0, .652645, .652645}, {.25, .290675, .504335}, {.5, .069148, .356024}, {1, .059403, .059403}} {
			mean := one.MulScalar(c.alpha).Add(two.MulScalar(1 - c.alpha))
			mkl, gradient := klTo(mean)
			kl, same := klTo(mean.LogSoftmax(-1))
			assert.InDelta(t, c.mkl, mkl, 1e-6)
			assert.InDelta(t, c.kl, kl, 1e-6)
			near(t, gradient, same, 1e-6, "gradient")
			if c.alpha == .5 {
				near(t, []float64{.161207, -.110928, -.050279}, gradient, 1e-6, "gradient")
			}
		}
	})
}

// Members that are one model are that model, to the bit.
func TestMKLOfEqualMembersIsPPO(t *testing.T) {
	run(t, func() {
		single := tinyCast(t)
		single.Reference = other(t, .02)
		want := steps(t, single, tinyPPO(), 2)
		several := tinyCast(t)
		several.Reference, several.Members = nil, []Member{{other(t, .02), .5}, {other(t, .02), .5}}
		o := tinyPPO()
		o.MKL = true
		assert.Equal(t, want, steps(t, several, o, 2))
	})
}

// The reference moves by its share of the way to the policy, on its steps and on no others.
func TestReferenceFollowsThePolicy(t *testing.T) {
	run(t, func() {
		cast := tinyCast(t)
		cast.Reference = other(t, .02)
		o := tinyPPO()
		o.RefEvery, o.RefWeight = 2, .25
		p := newPPO(t, cast, o, nil)
		u := NewUpdate(p.Params(), &o.Common)
		defer u.Close()
		start := weights(cast.Reference)
		_, err := p.Step(context.Background(), u)
		require.NoError(t, err)
		assert.Equal(t, start, weights(cast.Reference))
		res, err := p.Step(context.Background(), u)
		require.NoError(t, err)
		assert.Positive(t, res.Scalars["ref/moved"])
		now, policy := weights(cast.Reference), weights(cast.Policy)
		for name, w := range now {
			for i := range w {
				require.InDelta(t, .75*start[name][i]+.25*policy[name][i], w[i], 1e-6, name)
			}
		}
	})
}

func TestReferenceRefusals(t *testing.T) {
	run(t, func() {
		for _, c := range []struct {
			set  func(o *PPOOptions)
			want string
		}{
			{func(o *PPOOptions) { o.MKL = true }, "needs a reference of several members"},
			{func(o *PPOOptions) { o.RefEvery = 3 }, "give a share above 0"},
			{func(o *PPOOptions) { o.RefWeight = .5 }, "has no effect without ref_update_every"},
			{func(o *PPOOptions) { o.MKL, o.KLEstimator = true, "k3" }, "use k1 with mkl"},
		} {
			o := tinyPPO()
			c.set(&o)
			_, err := NewPPO(tinyCast(t), tinyPrompts(), o, nil, nil)
			assert.ErrorContains(t, err, c.want)
		}
	})
}

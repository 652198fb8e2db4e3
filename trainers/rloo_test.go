package trainers

// RLOO and GRPO: the worked numbers of METHODS.md §3, their reductions to one another, and what is refused.

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

func TestLeaveOneOut(t *testing.T) {
	scores, kl := []float64{1, 2, 4, 1}, []float64{2, 4, 6, 0}
	rewards := make([]float64, 4)
	for i := range rewards {
		rewards[i] = scores[i] - .05*kl[i]
	}
	near(t, []float64{.9, 1.8, 3.7, 1}, rewards, 1e-12, "rewards")
	adv, err := LeaveOneOut(rewards, 4)
	require.NoError(t, err)
	near(t, []float64{-1.266667, -0.066667, 2.466667, -1.133333}, adv, 1e-6, "advantages")
	assert.InDelta(t, 0, sum(adv), 1e-12)

	pair, err := LeaveOneOut([]float64{3, 1, 7, 7}, 2) // k = 2: ±(R1 - R2); equal rewards teach nothing
	require.NoError(t, err)
	assert.Equal(t, []float64{2, -2, 0, 0}, pair)

	for _, n := range []int{1, 3} {
		_, err = LeaveOneOut(rewards, n)
		assert.ErrorContains(t, err, "set num_generations to 2 or more")
	}
}

func TestGroupAdvantages(t *testing.T) {
	scaled, plain := []float64{1, 2, 4, 1}, []float64{1, 2, 4, 1}
	GroupAdvantages(scaled, true)
	GroupAdvantages(plain, false)
	near(t, []float64{-.707057, 0, 1.414114, -.707057}, scaled, 1e-6, "GRPO")
	assert.Equal(t, []float64{-1, 0, 2, -1}, plain, "Dr. GRPO")
	rloo, err := LeaveOneOut([]float64{1, 2, 4, 1}, 4)
	require.NoError(t, err)
	for i := range plain {
		assert.InDelta(t, .75*rloo[i], plain[i], 1e-12, "without deviation and KL it is (k-1)/k of RLOO's")
	}
	same := []float64{5, 5, 5}
	GroupAdvantages(same, true)
	assert.Equal(t, []float64{0, 0, 0}, same)
}

// The sequence-level loss of METHODS.md §3, through the function that trains.
func TestRLOOLoss(t *testing.T) {
	run(t, func() {
		ratios := []float64{.1, -.3, .3, 0}
		adv := []float64{-1.266667, -0.066667, 2.466667, -1.133333}
		loss, _, _ := ClippedPolicy(flat(ratios), flat([]float64{0, 0, 0, 0}), flat(adv), .2)
		near(t, []float64{1.399883, .053333, -2.96, 1.133333}, loss.Float64s(), 1e-6, "per sequence")
		assert.InDelta(t, -.093363, loss.Mean().Item(), 1e-6)
	})
}

func TestGRPOAggregation(t *testing.T) {
	for kind, want := range map[string]float64{"grpo": 2.5, "dapo": 1.75, "dr_grpo": .875} {
		o := DefaultGRPO()
		o.Aggregation, o.MaxNewTokens = kind, 4
		g := GRPO{opts: o}
		whole := extent{sequences: 2, tokens: 4}
		assert.InDelta(t, want, 3*g.weight(3, whole)*1+g.weight(1, whole)*4, 1e-12, kind)
	}
}

func TestK3(t *testing.T) {
	run(t, func() {
		now := flat([]float64{-1}).RequireGrad(true)
		k := K3(now, flat([]float64{-1.2}))
		assert.InDelta(t, .018731, k.Item(), 1e-6)
		tensor.Backward(k.Sum())
		assert.InDelta(t, 1-0.8187308, now.Grad().Item(), 1e-6, "1 - e^-d")
	})
}

func TestGroupsMustFitTheBatch(t *testing.T) {
	run(t, func() {
		o := DefaultRLOO()
		tinyOnline(&o.OnlineOptions)
		o.NumGenerations = 4
		_, err := NewRLOO(actorCast(t), tinyPrompts(), o, nil, nil)
		assert.ErrorContains(t, err, "batch_size 6 is not a multiple of 4, the 4 completions of a prompt times num_mini_batches 1; give --batch-size 8")
	})
}

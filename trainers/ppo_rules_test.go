package trainers

// PPO's options one by one: where the score goes, what is normalised, what stops early, what is refused.

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// rewardOf scores every completion alike, or as a function says.
type rewardOf func(i int, completion []int) float64

func (f rewardOf) Score(ctx context.Context, _ []data.Prompt, completions [][]int) ([]float64, error) {
	out := make([]float64, len(completions))
	for i, c := range completions {
		out[i] = f(i, c)
	}
	return out, ctx.Err()
}

func TestPPOMissingEOS(t *testing.T) {
	run(t, func() {
		for rule, want := range map[string]float64{"none": 3, "replace": -2, "subtract": 1} {
			o := tinyPPO()
			o.BatchSize, o.MissingEOS, o.MissingPenalty = 10, rule, 2
			cast := tinyCast(t)
			cast.Reward = rewardOf(func(int, []int) float64 { return 3 })
			samples, err := newPPO(t, cast, o, nil).experience(context.Background(), newStopwatch())
			require.NoError(t, err)
			ended := 0
			for _, s := range samples {
				last := s.Completion[len(s.Completion)-1]
				assert.Equal(t, slices.Contains(stops, last), s.Ended)
				if s.Ended {
					ended++
					assert.Equal(t, 3.0, s.Score, rule)
				} else {
					assert.Len(t, s.Completion, o.MaxNewTokens)
					assert.Equal(t, want, s.Score, rule)
				}
				assert.Equal(t, 3.0, s.Raw)
			}
			assert.NotZero(t, ended, "some ended")
			assert.Less(t, ended, len(samples), "some did not")
		}
	})
}

// With score_at after_eos only completions shorter than the limit get one place more.
func TestPPOScoreAfterEOS(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.ScoreAt, o.BatchSize, o.MaxSteps, o.WhitenAdv = "after_eos", 10, 1, false
		cast := tinyCast(t)
		cast.Reward = rewardOf(func(int, []int) float64 { return 3 })
		p := newPPO(t, cast, o, nil)
		samples, err := p.experience(context.Background(), newStopwatch())
		require.NoError(t, err)
		extra := 0
		for _, s := range samples {
			n := len(s.Completion)
			if s.Ended && n < o.MaxNewTokens {
				extra++
				require.Len(t, s.Rewards, n+1)
				assert.Equal(t, 3.0, s.Rewards[n])
				assert.InDelta(t, 3-s.Values[n], s.Advantages[n], 1e-12)
			} else {
				require.Len(t, s.Rewards, n)
				assert.InDelta(t, 3.0, s.Rewards[n-1], 1e-6) // the reference is the policy: no penalty
			}
			assert.Len(t, s.Values, len(s.Rewards))
			assert.Len(t, s.Returns, len(s.Rewards))
			near(t, s.LogProbs, s.RefLogProbs, 1e-6, "log-probs")
		}
		assert.NotZero(t, extra)
		u := NewUpdate(p.Params(), &o.Common)
		defer u.Close()
		_, err = p.Step(context.Background(), u)
		require.NoError(t, err)
	})
}

// The values of samples are those of the value network at the state before each token.
func TestPPOValuesStandBeforeTheirTokens(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.ScoreAt = "after_eos"
		cast := tinyCast(t)
		samples, err := newPPO(t, cast, o, nil).experience(context.Background(), newStopwatch())
		require.NoError(t, err)
		for _, s := range samples {
			require.NoError(t, tensor.NoGrad(func() error {
				row := cast.Value.Values(models.Collate([][]int{s.row()}), nil).Float64s()
				first := len(s.Prompt.IDs) - 1
				near(t, row[first:first+len(s.Values)], s.Values, 1e-5, "values")
				return nil
			}))
		}
	})
}

// The first update of a batch learns from the pass that read the values, where it takes the whole batch at once.
func TestPPOLearnsFromTheValuesItRead(t *testing.T) {
	run(t, func() {
		for _, mini := range []int{1, 2} {
			o := tinyPPO()
			o.MiniBatches = mini
			cast := tinyCast(t)
			p := newPPO(t, cast, o, nil)
			samples, err := p.experience(context.Background(), newStopwatch())
			require.NoError(t, err)
			require.Equal(t, mini == 1, p.critic.ahead.Defined())
			if mini == 2 {
				continue
			}
			anew, _ := p.critic.loss(samples, extent{tokens: 1, places: 1})
			ahead, _ := p.critic.lossAhead(extent{tokens: 1, places: 1})
			require.False(t, p.critic.ahead.Defined(), "once")
			near(t, []float64{anew.Item()}, []float64{ahead.Item()}, 1e-6, "loss")
			tensor.Backward(anew)
			want := cast.Value.Head.Weight.Grad().Float64s()
			tensor.ZeroGrads([]tensor.Tensor{cast.Value.Head.Weight})
			tensor.Backward(ahead)
			near(t, want, cast.Value.Head.Weight.Grad().Float64s(), 1e-6, "gradient")
			for q := range nn.Params(cast.Value) {
				tensor.ZeroGrads([]tensor.Tensor{*q.Tensor})
			}
		}
	})
}

func TestPPOTargetKLStopsEarly(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.PPOEpochs, o.TargetKL = 6, 1e-9
		early := steps(t, tinyCast(t), o, 1)
		assert.Equal(t, 1.0, early.rows[0]["stopped_early"])
		o.TargetKL = 1e9
		late := steps(t, tinyCast(t), o, 1)
		assert.Equal(t, 0.0, late.rows[0]["stopped_early"])
		assert.Greater(t, late.rows[0]["policy/approxkl_avg"], early.rows[0]["policy/approxkl_avg"])
		assert.NotEqual(t, early.policy, late.policy)
	})
}

// normalize_scores is fitted on the first batch and kept, over a restart too.
func TestPPONormalizeScores(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.NormalizeScore, o.BatchSize = true, 10
		cast := tinyCast(t)
		calls := 0.0
		cast.Reward = rewardOf(func(i int, _ []int) float64 { calls++; return 100 + float64(i) + 50*math.Floor((calls-1)/10) })
		p := newPPO(t, cast, o, nil)
		first, err := p.experience(context.Background(), newStopwatch())
		require.NoError(t, err)
		scores := func(s []Sample) []float64 {
			out := make([]float64, len(s))
			for i := range s {
				out[i] = s[i].Score
			}
			return out
		}
		m, v := moments([][]float64{scores(first)})
		assert.InDelta(t, 0, m, 1e-9)
		assert.InDelta(t, 1, v, 1e-9)
		state, err := p.State()
		require.NoError(t, err)
		again := newPPO(t, cast, o, nil)
		require.NoError(t, again.Restore(state))
		second, err := again.experience(context.Background(), newStopwatch())
		require.NoError(t, err)
		m, v = moments([][]float64{scores(second)})
		assert.InDelta(t, 50*p.norm.Gain, m, 1e-9)
		assert.InDelta(t, 1, v, 1e-9)
		cast.Reward = rewardOf(func(int, []int) float64 { return 1. / 3 })
		_, err = newPPO(t, cast, o, nil).experience(context.Background(), newStopwatch())
		require.ErrorContains(t, err, "the same score")
	})
}

func TestPPOCriticWarmup(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.CriticWarmup, o.WeightDecay = 2, .1
		policy, value := weights(loadModel(t, llamaDir, frozen)), weights(loadScorer(t, scoreDir, frozen))
		got := steps(t, tinyCast(t), o, 2)
		assert.Equal(t, policy, got.policy)
		assert.NotEqual(t, value, got.value)
		assert.NotEqual(t, policy, steps(t, tinyCast(t), o, 3).policy)
	})
}

func TestPPOAdaptiveKL(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.KLTarget, o.KLHorizon = 1e-6, 60 // whatever the KL is, it is not that: e is ±0.2
		cast := tinyCast(t)
		cast.Reference = other(t, .1)
		rows := steps(t, cast, o, 3).rows
		beta := o.KLCoef
		for _, row := range rows {
			assert.InDelta(t, beta, row["kl_coef"], 1e-12)
			e := .2
			if row["objective/kl"] < 0 {
				e = -.2
			}
			beta *= 1 + e*6/60
		}
	})
}

func TestPPOMiniBatches(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.MiniBatches = 3
		rows := steps(t, tinyCast(t), o, 2).rows
		assert.Less(t, rows[0]["rollout/logp_diff_max"], 1e-5)
		o.MiniBatches = 4
		_, err := NewPPO(tinyCast(t), tinyPrompts(), o, nil, nil)
		require.ErrorContains(t, err, "not a multiple of num_mini_batches")
		o.MiniBatches = 1
		_, err = NewPPO(tinyCast(t), nil, o, nil, nil)
		require.ErrorContains(t, err, "no prompts are left")
		_, err = NewPPO(Cast{}, tinyPrompts(), o, nil, nil)
		require.ErrorContains(t, err, "no EOS token")
	})
}

// A reward that is not finite cannot be learned from and cannot be passed over.
func TestPPORefusesBadRewards(t *testing.T) {
	run(t, func() {
		cast := tinyCast(t)
		cast.Reward = rewardOf(func(i int, _ []int) float64 { return []float64{0, math.Inf(1)}[i%2] })
		o := tinyPPO()
		p := newPPO(t, cast, o, nil)
		u := NewUpdate(p.Params(), &o.Common)
		defer u.Close()
		_, err := p.Step(context.Background(), u)
		require.ErrorContains(t, err, "scores prompt 1 of the batch with +Inf")
	})
}

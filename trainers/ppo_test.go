package trainers

// PPO as a whole on tiny models: what must not change anything, what must, and what must stop it.

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

func TestPPOIsDeterministic(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		first, second := steps(t, tinyCast(t), o, 3), steps(t, tinyCast(t), o, 3)
		assert.Equal(t, first, second)
		o.Seed++
		assert.NotEqual(t, first.rows, steps(t, tinyCast(t), o, 3).rows)
		start := weights(loadModel(t, llamaDir, frozen))
		for name, w := range start {
			assert.NotEqual(t, w, first.policy[name], "%s did not move", name)
		}
	})
}

// The size of micro-batches and of the rollout's batch is a matter of memory alone.
func TestPPOMicroBatchSizeChangesNothing(t *testing.T) {
	for _, scoreAt := range []string{"eos", "after_eos"} {
		run(t, func() {
			o := tinyPPO()
			o.ScoreAt = scoreAt
			cast := tinyCast(t)
			cast.Reference = other(t, .02)
			whole := steps(t, cast, o, 2)
			for _, micro := range []int{1, 4} {
				o.MicroBatchSize, o.RolloutBatch = micro, micro
				cast := tinyCast(t)
				cast.Reference = other(t, .02)
				parts := steps(t, cast, o, 2)
				for i := range whole.rows {
					for k, v := range whole.rows[i] {
						if k != "rollout/logp_diff_max" { // rounding itself
							assert.InDelta(t, v, parts.rows[i][k], 1e-5*math.Max(1, math.Abs(v)), "%s, micro-batch %d, step %d", k, micro, i+1)
						}
					}
				}
			}
		})
	}
}

func TestPPOKLToItselfIsZero(t *testing.T) {
	run(t, func() {
		cast := tinyCast(t)
		cast.Watch = []Watched{{"start", loadModel(t, llamaDir, frozen)}, {"far", other(t, .1)}}
		rows := steps(t, cast, tinyPPO(), 2).rows
		for _, k := range []string{"objective/kl", "objective/kl_k3", "objective/kl_start", "objective/kl_k3_start", "objective/non_score_reward"} {
			assert.Equal(t, 0.0, math.Abs(rows[0][k]), k)
		}
		assert.Greater(t, rows[0]["objective/kl_k3_far"], .1)
		assert.Greater(t, rows[1]["objective/kl_k3"], 0.0, "the policy has moved away")
		assert.Equal(t, rows[1]["objective/kl_k3"], rows[1]["objective/kl_k3_start"])
	})
}

// mix overwrites a fresh copy's weights with the linear combination of two models.
func mix(t *testing.T, a, b models.Model, alpha float64) models.Model {
	t.Helper()
	m := loadModel(t, llamaDir, frozen)
	require.NoError(t, tensor.NoGrad(func() error {
		as, bs := slices.Collect(nn.Params(a)), slices.Collect(nn.Params(b))
		i := 0
		for p := range nn.Params(m) {
			tensor.Lincomb(*p.Tensor, []tensor.Tensor{*as[i].Tensor, *bs[i].Tensor}, []float64{alpha, 1 - alpha})
			i++
		}
		return nil
	}))
	return m
}

// SALSA with equal members, or with all weight on one, is PPO with that reference, to the bit.
func TestPPOWithATrivialSoupIsPPO(t *testing.T) {
	run(t, func() {
		against := func(ref models.Model) outcome {
			cast := tinyCast(t)
			cast.Reference = ref
			return steps(t, cast, tinyPPO(), 2)
		}
		a, b := other(t, .05), other(t, .02)
		plainA, plainB := against(a), against(b)
		assert.Equal(t, plainA, against(mix(t, a, a, .3)), "equal members")
		assert.Equal(t, plainA, against(mix(t, a, b, 1)), "α = 1")
		assert.Equal(t, plainB, against(mix(t, a, b, 0)), "α = 0")
		half := against(mix(t, a, b, .5))
		assert.NotEqual(t, plainA.rows[0]["objective/kl"], half.rows[0]["objective/kl"])
		assert.NotEqual(t, plainB.rows[0]["objective/kl"], half.rows[0]["objective/kl"])
	})
}

// Without a KL penalty the reference is logged and otherwise irrelevant.
func TestPPOWithoutPenaltyIgnoresTheReference(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.KLCoef = 0
		cast := tinyCast(t)
		near := steps(t, cast, o, 2)
		cast = tinyCast(t)
		cast.Reference = other(t, .1)
		far := steps(t, cast, o, 2)
		assert.Equal(t, near.policy, far.policy)
		assert.NotEqual(t, near.rows[0]["objective/kl"], far.rows[0]["objective/kl"])
	})
}

func TestPPODriftCheck(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		p := newPPO(t, tinyCast(t), o, nil)
		u := NewUpdate(p.Params(), &o.Common)
		defer u.Close()
		samples, _, err := p.experience(context.Background())
		require.NoError(t, err)
		p.step++
		got, err := p.Update(u, samples, true)
		require.NoError(t, err)
		assert.Less(t, got["rollout/logp_diff_max"], 1e-5)
		assert.InDelta(t, 1, got["val/ratio"], 1e-5)
		samples[3].LogProbs[0] += .01
		_, err = p.Update(u, samples, true)
		require.ErrorContains(t, err, "the ratio does not start at 1")
		_, err = p.Update(u, samples, false)
		require.NoError(t, err, "later updates are expected to differ")
	})
}

// An advantage that is not finite makes the loss so: the step is skipped and counted, and too many end the run.
func TestPPONaNIsSkipped(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.MaxSkipped = 1
		cast := tinyCast(t)
		p := newPPO(t, cast, o, nil)
		u := NewUpdate(p.Params(), &o.Common)
		defer u.Close()
		samples, _, err := p.experience(context.Background())
		require.NoError(t, err)
		p.step++
		before := [2]map[string][]float32{weights(cast.Policy), weights(cast.Value)}
		samples[0].Advantages[0] = math.NaN()
		got, err := p.Update(u, samples, true)
		require.NoError(t, err)
		assert.Equal(t, 1.0, got["skipped_steps"])
		assert.Equal(t, before, [2]map[string][]float32{weights(cast.Policy), weights(cast.Value)})
		_, err = p.Update(u, samples, false)
		require.ErrorContains(t, err, "2 steps in a row")
		assert.Equal(t, before, [2]map[string][]float32{weights(cast.Policy), weights(cast.Value)})
	})
}

// skipped_steps is a running count, not a mean over the updates of a step.
func TestPPOCountsSkippedSteps(t *testing.T) {
	a := newAverage()
	for _, skipped := range []float64{0, 1, 2} {
		a.add(map[string]float64{"skipped_steps": skipped, "loss": skipped, "val/ratio": 1 + skipped})
	}
	got := a.means("stopped_early", 0)
	assert.Equal(t, 2.0, got["skipped_steps"])
	assert.Equal(t, 1.0, got["loss"])
	assert.InDelta(t, 2./3, got["val/ratio_var"], 1e-12)
}

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
			samples, _, err := newPPO(t, cast, o, nil).experience(context.Background())
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
		samples, _, err := p.experience(context.Background())
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
				assert.Equal(t, 3.0, s.Rewards[n-1]) // the reference is the policy: no penalty
			}
			assert.Len(t, s.Values, len(s.Rewards))
			assert.Len(t, s.Returns, len(s.Rewards))
			near(t, s.LogProbs, s.RefLogProbs, 0, "log-probs")
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
		samples, _, err := newPPO(t, cast, o, nil).experience(context.Background())
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
		first, _, err := p.experience(context.Background())
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
		second, _, err := again.experience(context.Background())
		require.NoError(t, err)
		m, v = moments([][]float64{scores(second)})
		assert.InDelta(t, 50*p.norm.Gain, m, 1e-9)
		assert.InDelta(t, 1, v, 1e-9)
		cast.Reward = rewardOf(func(int, []int) float64 { return 1. / 3 })
		_, _, err = newPPO(t, cast, o, nil).experience(context.Background())
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

// A step that is cancelled at any point of its rollout can be taken again from the state before it.
func TestPPOCancelledStepCanBeTakenAgain(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.NormalizeScore = true
		want, cancelled := steps(t, tinyCast(t), o, 2), 0
		for after := 0; after < 6; after++ {
			cast := tinyCast(t)
			ctx, cancel := context.WithCancel(context.Background())
			left := after
			tick := func() {
				if left--; left < 0 {
					cancel()
				}
			}
			model := cast.Reward
			cast.Reward = ticking{model, tick}
			p := newPPO(t, cast, o, nil)
			p.OnPhase(func(string) { tick() })
			u := NewUpdate(p.Params(), &o.Common)
			before, err := p.State()
			require.NoError(t, err)
			res, err := p.Step(ctx, u)
			p.OnPhase(nil)
			p.cast.Reward = model
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				cancelled++
				require.NoError(t, p.Restore(before))
				res, err = p.Step(context.Background(), u)
				require.NoError(t, err)
			}
			assert.Equal(t, want.rows[0], res.Scalars, "cancelled at %d", after)
			res, err = p.Step(context.Background(), u)
			require.NoError(t, err)
			assert.Equal(t, want.rows[1], res.Scalars, "cancelled at %d", after)
			u.Close()
			cancel()
		}
		assert.GreaterOrEqual(t, cancelled, 4)
	})
}

// ticking counts the calls of a reward.
type ticking struct {
	Rewarder
	tick func()
}

func (r ticking) Score(ctx context.Context, p []data.Prompt, c [][]int) ([]float64, error) {
	r.tick()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return r.Rewarder.Score(ctx, p, c)
}

func TestSampleLog(t *testing.T) {
	log := sampleLog(t.TempDir())
	samples := []Sample{{Completion: []int{1}}, {Completion: []int{2}}, {Completion: []int{3}}}
	count := func() (rows int) {
		for name, text := range filesOf(t, filepath.Dir(log.Path)) {
			require.Equal(t, "samples.jsonl", name)
			for _, c := range text {
				if c == '\n' {
					rows++
				}
			}
		}
		return rows
	}
	require.NoError(t, log.keepUpTo(3), "no file yet")
	for i, want := range []int{3, 3, 5, 5, 7} { // all of step 1, then two of every third and fifth
		require.NoError(t, log.write(i+1, samples, []int{9, 9, 3, 9, 5}[i]))
		assert.Equal(t, want, count(), "step %d", i+1)
	}
	require.NoError(t, log.keepUpTo(3))
	assert.Equal(t, 5, count())
	require.NoError(t, log.write(1, samples, 9))
	assert.Equal(t, 3, count(), "step 1 begins the file")
}

// Every row of every step has a random stream of its own, also where prompt and policy are the same.
func TestPPORandomStreams(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		cast := tinyCast(t)
		p, err := NewPPO(cast, tinyPrompts()[:1], o, nil, nil)
		require.NoError(t, err)
		seen := map[string]bool{}
		for step := range 3 {
			samples, err := p.sample(context.Background(), step)
			require.NoError(t, err)
			for _, s := range samples {
				seen[fmt.Sprint(s.Completion)] = true
			}
			again, err := p.sample(context.Background(), step)
			require.NoError(t, err)
			assert.Equal(t, samples, again, "the stream is a function of seed, step and row")
		}
		assert.GreaterOrEqual(t, len(seen), 15, "of 18 completions")
	})
}

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
	"salsa/internal/metrics"
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
			assert.InDelta(t, 0, rows[0][k], 1e-6, k)
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
		samples, err := p.experience(context.Background(), newStopwatch())
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
		samples, err := p.experience(context.Background(), newStopwatch())
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
	got := a.ratioMeans(0)
	assert.Equal(t, 2.0, got["skipped_steps"])
	assert.Equal(t, 1.0, got["loss"])
	assert.InDelta(t, 2./3, got["val/ratio_var"], 1e-12)
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
			assert.Equal(t, want.rows[0], metrics.Reproducible(res.Scalars), "cancelled at %d", after)
			res, err = p.Step(context.Background(), u)
			require.NoError(t, err)
			assert.Equal(t, want.rows[1], metrics.Reproducible(res.Scalars), "cancelled at %d", after)
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

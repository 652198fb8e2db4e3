package trainers

// What every online method must hold: it is deterministic, its micro-batches change nothing, its gradient is that of
// its loss, and (in loop_test.go, by way of the same table) an interrupted run ends like a straight one.

import (
	"context"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/checkpoint"
	"salsa/internal/metrics"
	"salsa/nn"
	"salsa/tensor"
)

// base is the run that a method embeds.
func (r *Online) base() *Online { return r }

// onlineRun is any online method.
type onlineRun interface {
	Trainer
	base() *Online
}

// tinyOnline are options under which a step moves the weights enough to see.
func tinyOnline(o *OnlineOptions) {
	o.BatchSize, o.MaxNewTokens, o.Temperature, o.LearningRate, o.PPOEpochs = 6, 8, 1, 1e-3, 2
	o.MaxSteps, o.LRSchedule, o.SampleEvery, o.Seed, o.SaveEvery = 6, "linear", 1, 7, 2
}

// savePolicy writes the policy alone.
func savePolicy(cast Cast) PartsFunc {
	return func() []checkpoint.Part { return saveModel(cast.Policy) }
}

// actorCast is tinyCast without a critic, against a reference that differs from the policy.
func actorCast(t *testing.T) Cast {
	cast := tinyCast(t)
	cast.Value, cast.Reference = nil, other(t, .02)
	return cast
}

// onlineMethods makes a run of each method; change edits the options that all share.
var onlineMethods = map[string]func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun{
	"ppo": func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		return newPPOOver(t, dir, func(o *PPOOptions, cast *Cast) {
			o.KLTarget, o.KLHorizon, o.NormalizeScore, o.ScoreAt = 1, 50, true, "after_eos"
			change(&o.OnlineOptions)
		})
	},
	"ppo, two references": func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		return newPPOOver(t, dir, func(o *PPOOptions, cast *Cast) {
			o.MKL = true
			cast.Members = []Member{{cast.Reference, .75}, {other(t, .05), .25}}
			cast.Reference = nil
			change(&o.OnlineOptions)
		})
	},
	"ppo, reference follows": func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		return newPPOOver(t, dir, func(o *PPOOptions, cast *Cast) {
			o.RefEvery, o.RefWeight = 2, .5
			change(&o.OnlineOptions)
		})
	},
	"apa": func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		return newAPA(t, dir, "apa", change)
	},
	"awr": func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		return newAPA(t, dir, "awr", change)
	},
	"xpo": func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		o := DefaultXPO()
		tinyOnline(&o.OnlineOptions)
		o.Alpha = .01
		change(&o.OnlineOptions)
		cast := actorCast(t)
		x, err := NewXPO(cast, tinyPrompts(), o, sampleLog(dir), savePolicy(cast))
		require.NoError(t, err)
		return x
	},
	"aihf-ppo": alternating("ppo", "end"),
	"aihf-apa": alternating("apa", "window"),
	"inverse-q": func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		return newInverseQ(t, dir, "clip", change)
	},
	"inverse-q, regression": func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		return newInverseQ(t, dir, "regression", change)
	},
	"rloo": func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		o := DefaultRLOO()
		tinyOnline(&o.OnlineOptions)
		o.NormalizeAdv = true
		change(&o.OnlineOptions)
		cast := actorCast(t)
		r, err := NewRLOO(cast, tinyPrompts(), o, sampleLog(dir), savePolicy(cast))
		require.NoError(t, err)
		return r
	},
	"grpo": func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		o := DefaultGRPO()
		tinyOnline(&o.OnlineOptions)
		o.NumGenerations, o.KLCoef, o.Aggregation = 3, .1, "grpo"
		change(&o.OnlineOptions)
		cast := actorCast(t)
		g, err := NewGRPO(cast, tinyPrompts(), o, sampleLog(dir), savePolicy(cast))
		require.NoError(t, err)
		return g
	},
}

// newPPOOver makes a PPO run whose reference differs from the policy.
func newPPOOver(t *testing.T, dir string, change func(o *PPOOptions, cast *Cast)) onlineRun {
	t.Helper()
	o := DefaultPPO()
	tinyOnline(&o.OnlineOptions)
	cast := tinyCast(t)
	cast.Reference = other(t, .02)
	change(&o, &cast)
	return newPPO(t, cast, o, sampleLog(dir))
}

func newAPA(t *testing.T, dir, loss string, change func(*OnlineOptions)) onlineRun {
	o := DefaultAPA()
	tinyOnline(&o.OnlineOptions)
	o.Loss, o.Lambda = loss, 1
	change(&o.OnlineOptions)
	cast := tinyCast(t)
	cast.Reference = other(t, .02)
	a, err := NewAPA(cast, tinyPrompts(), o, sampleLog(dir), saveCast(cast))
	require.NoError(t, err)
	return a
}

func newInverseQ(t *testing.T, dir, step string, change func(*OnlineOptions)) onlineRun {
	o := DefaultInverseQ()
	tinyOnline(&o.OnlineOptions)
	o.PolicyStep = step
	change(&o.OnlineOptions)
	cast := actorCast(t)
	q, err := NewInverseQ(cast, Guide{Model: other(t, .05)}, tinyPrompts(), o, sampleLog(dir), savePolicy(cast))
	require.NoError(t, err)
	return q
}

// onlineNames lists the methods in a fixed order.
func onlineNames() []string { return slices.Sorted(maps.Keys(onlineMethods)) }

func unchanged(*OnlineOptions) {}

// take runs n steps of a method and returns what they leave.
func take(t *testing.T, name string, n int, change func(*OnlineOptions)) outcome {
	t.Helper()
	r := onlineMethods[name](t, t.TempDir(), change)
	u := NewUpdate(r.Params(), &r.base().set.Common)
	defer u.Close()
	var out outcome
	for range n {
		res, err := r.Step(context.Background(), u)
		require.NoError(t, err)
		out.rows = append(out.rows, metrics.Reproducible(res.Scalars))
	}
	out.policy = weights(r.base().cast.Policy)
	return out
}

func TestOnlineTenStepsAreDeterministic(t *testing.T) {
	for _, name := range onlineNames() {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				first, second := take(t, name, 10, unchanged), take(t, name, 10, unchanged)
				assert.Equal(t, first, second)
				start := weights(loadModel(t, llamaDir, frozen))
				for w := range start {
					assert.NotEqual(t, start[w], first.policy[w], "%s did not move", w)
				}
				assert.NotEqual(t, first.rows[0], take(t, name, 1, func(o *OnlineOptions) { o.Seed++ }).rows[0])
			})
		})
	}
}

func TestOnlineMicroBatchSizeChangesNothing(t *testing.T) {
	for _, name := range onlineNames() {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				whole := take(t, name, 2, unchanged)
				parts := take(t, name, 2, func(o *OnlineOptions) { o.MicroBatchSize, o.RolloutBatch = 2, 2 })
				for i := range whole.rows {
					for _, k := range slices.Sorted(maps.Keys(whole.rows[i])) {
						if v := whole.rows[i][k]; k != "rollout/logp_diff_max" { // rounding itself
							assert.InDelta(t, v, parts.rows[i][k], 1e-5*math.Max(1, math.Abs(v)), "%s, step %d", k, i+1)
						}
					}
				}
			})
		})
	}
}

// The gradient of every method's loss is what finite differences say, after a step has taken the ratio away from 1.
func TestOnlineGradientAgainstFiniteDifferences(t *testing.T) {
	for _, name := range onlineNames() {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				r := onlineMethods[name](t, t.TempDir(), func(o *OnlineOptions) { o.LearningRate = 1e-4 })
				b := r.base()
				if b.method == nil {
					t.Skip("its loss is of pairs, and is held to differences in a test of its own")
				}
				samples, err := b.experience(context.Background(), newStopwatch())
				require.NoError(t, err)
				u := NewUpdate(r.Params(), &b.set.Common)
				defer u.Close()
				b.step++
				_, err = b.Update(u, samples, true)
				require.NoError(t, err)
				whole := extent{sequences: len(samples)}
				for i := range samples {
					whole.tokens += len(samples[i].Completion)
					whole.places += len(samples[i].Returns)
				}
				matchesDifferences(t, r.Params(), func() tensor.Tensor {
					loss, _ := b.policyLoss(samples, whole, func(forward) {})
					if c := b.method.estimator(); c != nil {
						value, _ := c.loss(samples, whole)
						loss = loss.Add(value)
					}
					return loss
				})
			})
		})
	}
}

// matchesDifferences holds the gradient of loss to central differences along the gradient, and along a random half of
// its elements.
func matchesDifferences(t *testing.T, params []nn.Param, loss func() tensor.Tensor) {
	t.Helper()
	tensors := make([]tensor.Tensor, len(params))
	for i, p := range params {
		tensors[i] = *p.Tensor
	}
	tensor.Backward(loss())
	for half := range 2 {
		along := make([]tensor.Tensor, len(params))
		square := 0.0
		for i, p := range params {
			g := p.Tensor.Grad()
			if g == (tensor.Tensor{}) {
				g = tensor.Zeros(tensor.Float32, tensor.CPU, p.Tensor.Shape()...)
			}
			g = g.Detach().Clone()
			if half == 1 {
				g = g.Mul(tensor.Randn(uint64(i), p.Tensor.Shape()...).Gt(0).To(tensor.Float32))
			}
			along[i] = g
			square += g.Square().Sum().Item()
		}
		require.Positive(t, square)
		norm := math.Sqrt(square)
		const step = 2e-3 // along the unit direction: far above float32's rounding, short of the clip range
		shift := func(by float64) float64 {
			require.NoError(t, tensor.NoGrad(func() error {
				for i := range tensors {
					tensors[i].Copy(tensors[i].Add(along[i].MulScalar(by / norm)))
				}
				return nil
			}))
			var v float64
			require.NoError(t, tensor.NoGrad(func() error { v = loss().Item(); return nil }))
			return v
		}
		up := shift(step)
		down := shift(-2 * step)
		shift(step)
		assert.InEpsilon(t, norm, (up-down)/(2*step), 2e-2, "along the gradient (half %d)", half)
	}
	tensor.ZeroGrads(tensors)
}

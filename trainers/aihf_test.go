package trainers

// AIHF: the worked numbers of METHODS.md §12, what each form reduces to (§17), gradients, rounds, determinism and what
// is refused. That interrupted runs end like straight ones is in loop_test.go, by way of aihfJob.

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/tensor"
)

// tinyAIHF are options under which a step moves the weights enough to see.
func tinyAIHF(form string) AIHFOptions {
	o := DefaultAIHF()
	tinyOnline(&o.OnlineOptions)
	o.Form, o.RoundSteps, o.DemoBatchSize, o.PreferenceBatch, o.RewardUpdates, o.RewardLR = form, 2, 3, 2, 2, 1e-3
	return o
}

// newAIHFPairs makes a run of a pairwise form on the golden rows; its reference differs from the policy.
func newAIHFPairs(t *testing.T, o AIHFOptions) *AIHFPairs {
	t.Helper()
	o.BatchSize = 2
	_, demos := readSFT(t)
	_, pairs := readReward(t, "reward")
	ref := &Reference{Load: func() (models.Model, error) { return other(t, .02), nil }, Micro: 2}
	a, err := NewAIHFPairs(loadModel(t, llamaDir, trained), ref, demos, pairs[:4], pairs[4:], stops, o,
		saveModel)
	require.NoError(t, err)
	return a
}

// aihfPairsJob is the job of a pairwise form, see loop_test.go.
func aihfPairsJob(form string) job {
	return func(t *testing.T, _ string) (Trainer, *Common) {
		a := newAIHFPairs(t, tinyAIHF(form))
		return a, &a.opts.Common
	}
}

// newAIHFAlternate makes a run of the alternation.
func newAIHFAlternate(t *testing.T, o AIHFOptions, log *SampleLog) *AIHFAlternate {
	t.Helper()
	_, demos := readSFT(t)
	_, pairs := readReward(t, "reward")
	cast := tinyCast(t)
	scorer := loadScorer(t, scoreDir, trained)
	cast.Reference, cast.Reward = other(t, .02), ModelRewarder{scorer, 4}
	a, err := NewAIHFAlternate(cast, demos, pairs, o, log, func() []checkpoint.Part {
		return append(saveCast(cast)(), checkpoint.In(RewardDir, saveScorer(scorer))...)
	})
	require.NoError(t, err)
	return a
}

func (a *AIHFAlternate) base() *Online { return a.run }

// alternating is the alternation in the table of online_test.go.
func alternating(policy, loss string) func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
	return func(t *testing.T, dir string, change func(*OnlineOptions)) onlineRun {
		o := tinyAIHF("alternate")
		o.Policy, o.RewardLoss, o.APALambda, o.NormalizeScore = policy, loss, 1, true
		change(&o.OnlineOptions)
		return newAIHFAlternate(t, o, sampleLog(dir))
	}
}

func TestAIHFBandit(t *testing.T) {
	run(t, func() {
		ref, r := []float64{.2, .3, .5}, flat([]float64{.5, 0, -.5})
		r.RequireGrad(true)
		logits := flat([]float64{math.Log(ref[0]), math.Log(ref[1]), math.Log(ref[2])}).Add(r) // β = 1
		logPi := logits.Sub(logits.Exp().Sum().Log())
		near(t, []float64{.353420, .321540, .325040}, logPi.Detach().Exp().Float64s(), 1e-6, "π")
		demo := logPi.Mul(flat([]float64{2. / 3, 1. / 3, 0})).Sum()
		assert.InDelta(t, -1.071610, demo.Item(), 1e-6)
		tensor.Backward(demo)
		near(t, []float64{.313247, .011793, -.325040}, r.Grad().Float64s(), 1e-6, "outer gradient")
	})
}

func TestAIHFWorkedNumbers(t *testing.T) {
	run(t, func() {
		margin := func(loss float64) float64 { return -math.Log(math.Expm1(loss)) } // of a pair with this loss
		chosen, rejected := flat([]float64{margin(.371101), margin(.913015)}), flat([]float64{0, 0})
		demo, own := flat([]float64{.8}), flat([]float64{1})
		for _, c := range []struct{ wd, wp, want float64 }{{1, 1, 2.082255}, {0, 1, 1.284116}, {1, 0, .798139}, {.5, 1, 1.683185}} {
			got := JointBradleyTerry(demo, own, chosen, rejected, c.wd, c.wp).Item()
			assert.InDelta(t, c.want, got, 1.5e-6, "w_d %g, w_p %g", c.wd, c.wp)
			if c.wd == 1 && c.wp == 1 {
				assert.InDelta(t, .694085, got/3, 1e-6, "mean")
			}
		}
		c, r := []float64{.2, .5, .9}, []float64{.1, .6, -.2}
		assert.InDelta(t, .558710, WindowBradleyTerry(flat(c), flat(r)).Item(), 1e-6)
		assert.InDelta(t, .287335, WindowBradleyTerry(flat(c[2:]), flat(r[2:])).Item(), 1e-6, "the end token alone")

		dpo := SigmoidLoss(pairOf(fixtureW, fixtureL), pairOf(fixtureRefW, fixtureRefL), PairSettings{Beta: .1}).Mean().Item()
		assert.InDelta(t, 1.485308, dpo+.1*8, 1e-6, "direct")
		assert.InDelta(t, 8.685308, dpo+8, 1e-6, "direct")
		zero := flat([]float64{0, 0})
		opp := Pair{Chosen: zero, Rejected: zero}
		spin := SigmoidLoss(Pair{Chosen: flat([]float64{.6, -.2}), Rejected: zero}, opp, PairSettings{Beta: .1})
		near(t, []float64{.663597, .703197}, spin.Float64s(), 1e-6, "self-play")
		assert.InDelta(t, 1.368705, dpo+spin.Mean().Item(), 1e-6, "self-play")
	})
}

// What a step of either pairwise form minimises is w_p·DPO + w_d·(its demonstration term), with the right gradient.
func TestAIHFPairsLossAndGradient(t *testing.T) {
	for _, form := range []string{"direct", "self-play"} {
		t.Run(form, func(t *testing.T) {
			run(t, func() {
				o := tinyAIHF(form)
				o.WeightDemo, o.WeightPreference, o.LearningRate = .3, .7, 0
				a := newAIHFPairs(t, o)
				require.NoError(t, a.Prepare(context.Background()))
				demos, err := a.nextDemos(context.Background())
				require.NoError(t, err)
				if form == "self-play" {
					for i := range demos { // as if the policy had moved since the round began
						demos[i].ref.Chosen -= .5 * float64(i+1)
					}
				}
				want, batch := 0.0, a.pairs[:2]
				for _, d := range demos {
					sums, err := SequenceLogProbs(context.Background(), a.model, []data.Prompt{{IDs: d.Chosen.IDs[:d.Chosen.PromptLen]}}, [][]int{d.Chosen.IDs[d.Chosen.PromptLen:]}, 1, 0)
					require.NoError(t, err)
					term := -sums[0]
					if form == "self-play" {
						own, err := SequenceLogProbs(context.Background(), a.model, []data.Prompt{{IDs: d.Rejected.IDs[:d.Rejected.PromptLen]}}, [][]int{d.Rejected.IDs[d.Rejected.PromptLen:]}, 1, 0)
						require.NoError(t, err)
						assert.InDelta(t, d.ref.Rejected, own[0], 1e-4, "the opponent is the policy")
						term = softplus(-.1 * (sums[0] - d.ref.Chosen - own[0] + d.ref.Rejected))
					}
					want += term / 3
				}
				preference, _ := a.loss(batch, sizeOf(batch))
				u := NewUpdate(a.Params(), &a.opts.Common)
				defer u.Close()
				for _, micro := range []int{0, 1} {
					a.opts.MicroBatchSize = micro
					got, err := a.Update(u, batch, demos)
					require.NoError(t, err)
					assert.InDelta(t, want, got["loss/demo"], 1e-4)
					assert.InDelta(t, preference.Item(), got["loss/preference"], 1e-5)
					assert.InDelta(t, .3*want+.7*preference.Item(), got["loss"], 1e-4)
				}
				matchesDifferences(t, a.Params(), func() tensor.Tensor {
					x, _ := a.loss(batch, sizeOf(batch))
					y, _ := a.demoLoss(demos, sizeOf(demos))
					return x.MulScalar(.7).Add(y.MulScalar(.3))
				})
			})
		})
	}
}

// Pairs of weight 0 are not computed, so neither are their reference's log-probabilities, nor are their tokens counted; the
// held-out ones are still measured.
func TestAIHFOfDemonstrationsAlone(t *testing.T) {
	run(t, func() {
		_, demos := readSFT(t)
		_, pairs := readReward(t, "reward")
		o := tinyAIHF("direct")
		o.WeightPreference, o.BatchSize, o.DemoBatchSize = 0, 2, 1
		for _, eval := range [][]data.Pair{nil, pairs[4:5]} {
			asked := 0
			ref := &Reference{Load: func() (models.Model, error) { return other(t, .02), nil }, Micro: 1, Progress: func(_, total int) { asked = total }}
			a, err := NewAIHFPairs(loadModel(t, llamaDir, trained), ref, demos[:1], pairs[:4], eval, stops, o, nil)
			require.NoError(t, err)
			u := NewUpdate(a.Params(), &a.opts.Common)
			defer u.Close()
			res, err := a.Step(context.Background(), u)
			require.NoError(t, err)
			assert.Equal(t, len(eval), asked, "pairs that the reference scored")
			assert.Equal(t, len(demos[0].IDs), res.Tokens)
			held, err := a.Finish(context.Background())
			require.NoError(t, err)
			assert.Equal(t, len(eval) > 0, len(held) > 0)
			for k, v := range held {
				assert.True(t, isFinite(v), k)
			}
		}
	})
}

// With weight 0 both forms are DPO to the bit; with the chosen answers as demonstrations and w = ηβ the direct form is
// RPO (§17).
func TestAIHFReductions(t *testing.T) {
	run(t, func() {
		_, pairs := readReward(t, "reward")
		after := func(tr Trainer, c *Common) (rows []map[string]float64) {
			u := NewUpdate(tr.Params(), c)
			defer u.Close()
			for range 3 {
				res, err := tr.Step(context.Background(), u)
				require.NoError(t, err)
				delete(res.Scalars, "loss/preference")
				rows = append(rows, metrics.Reproducible(res.Scalars))
			}
			return rows
		}
		dpo := func(loss string, eta float64, c Common) *DPO {
			o := DPOOptions{Common: c, Loss: loss, PairSettings: DefaultDPO().PairSettings}
			o.Eta = eta
			d, err := NewDPO(loadModel(t, llamaDir, trained), &Reference{Load: func() (models.Model, error) { return other(t, .02), nil }, Micro: 2}, pairs[:4], nil, o, nil)
			require.NoError(t, err)
			return d
		}
		for _, form := range []string{"direct", "self-play"} {
			o := tinyAIHF(form)
			o.WeightDemo = 0
			a := newAIHFPairs(t, o)
			d := dpo("sigmoid", 0, a.opts.Common)
			assert.Equal(t, after(d, &d.opts.Common), after(a, &a.opts.Common), form)
			assert.Equal(t, weights(d.model), weights(a.model), form)
		}

		o := tinyAIHF("direct")
		o.WeightDemo, o.LearningRate = .4*.1, 0
		a := newAIHFPairs(t, o)
		d := dpo("rpo", .4, a.opts.Common)
		require.NoError(t, a.Prepare(context.Background()))
		require.NoError(t, d.Prepare(context.Background()))
		u, v := NewUpdate(a.Params(), &a.opts.Common), NewUpdate(d.Params(), &d.opts.Common)
		defer u.Close()
		defer v.Close()
		joint, err := a.Update(u, a.pairs, a.pairs)
		require.NoError(t, err)
		rpo, err := d.Update(v, d.pairs)
		require.NoError(t, err)
		assert.InDelta(t, rpo["loss"], joint["loss"], 1e-5)
		assert.InEpsilon(t, rpo["grad_norm"], joint["grad_norm"], 1e-5)
	})
}

func TestAIHFPairsTenStepsAreDeterministic(t *testing.T) {
	for _, form := range []string{"direct", "self-play"} {
		t.Run(form, func(t *testing.T) {
			run(t, func() {
				take := func() (rows []map[string]float64, last map[string][]float32) {
					a := newAIHFPairs(t, tinyAIHF(form))
					u := NewUpdate(a.Params(), &a.opts.Common)
					defer u.Close()
					for i := range 10 {
						res, err := a.Step(context.Background(), u)
						require.NoError(t, err)
						rows = append(rows, metrics.Reproducible(res.Scalars))
						if form == "self-play" {
							assert.Len(t, a.round, 3*((i+1)%2), "what is left of the round")
							assert.Equal(t, i%2 == 0, math.Abs(res.Scalars["loss/demo"]-math.Ln2) < 1e-5, "a round begins at its opponent")
						}
					}
					return rows, weights(a.model)
				}
				rows, end := take()
				again, same := take()
				assert.Equal(t, rows, again)
				assert.Equal(t, end, same)
			})
		})
	}
}

// The reward model moves at the start of a round, by itself and at its own rate; the policy's steps leave it alone. Its
// gradient is that of finite differences, for both losses.
func TestAIHFRewardModelLearns(t *testing.T) {
	run(t, func() {
		for _, loss := range []string{"end", "window"} {
			o := tinyAIHF("alternate")
			o.RewardLoss, o.RewardUpdates, o.WeightDemo = loss, 1, .5
			a := newAIHFAlternate(t, o, nil)
			u := NewUpdate(a.Params(), &a.run.set.Common)
			defer u.Close()
			policy := weights(a.run.cast.Policy)
			u.LR = .25
			scalars, err := a.learnReward(context.Background(), u)
			require.NoError(t, err)
			assert.Equal(t, .25, u.LR, "the policy's rate is put back")
			assert.Equal(t, policy, weights(a.run.cast.Policy))
			assert.InDelta(t, (.5*3*scalars["loss/demo"]+2*scalars["loss/preference"])/5, scalars["loss/reward"], 1e-5)
			moved := weights(a.scorer)
			for name, w := range weights(loadScorer(t, scoreDir, frozen)) {
				assert.NotEqual(t, w, moved[name], name)
				for i := range w {
					assert.InDelta(t, w[i], moved[name][i], 1.01e-3, name)
				}
			}
			a.run.step, u.LR = 1, 1e-3 // inside a round
			_, err = a.Step(context.Background(), u)
			require.NoError(t, err)
			assert.Equal(t, moved, weights(a.scorer), "no gradient, no step")
			assert.NotEqual(t, policy, weights(a.run.cast.Policy))

			var batch []rewarded
			for i, p := range a.pairs[:3] {
				batch = append(batch, rewarded{p, float64(i + 1), i == 0})
			}
			matchesDifferences(t, prefixed("", a.scorer), func() tensor.Tensor {
				l, _ := a.rewardLoss(batch, map[bool]float64{true: 1, false: 2})
				return l
			})
		}
	})
}

// Without demonstrations the reward model's update is that of salsa reward.
func TestAIHFRewardWithoutDemosIsBradleyTerry(t *testing.T) {
	run(t, func() {
		o := tinyAIHF("alternate")
		o.WeightDemo, o.RewardUpdates, o.LearningRate = 0, 1, 1e-3
		a := newAIHFAlternate(t, o, nil)
		u := NewUpdate(a.Params(), &a.run.set.Common)
		defer u.Close()
		pairs := pick(a.pairs, data.NewOrder(len(a.pairs), o.Seed, true).Next(o.PreferenceBatch))
		scalars, err := a.learnReward(context.Background(), u)
		require.NoError(t, err)
		assert.NotContains(t, scalars, "loss/demo")
		set := DefaultReward()
		set.Common, set.Centre = o.Common, 0
		r, err := NewReward(loadScorer(t, scoreDir, trained), a.pairs, nil, set, nil)
		require.NoError(t, err)
		v := NewUpdate(r.Params(), &set.Common)
		defer v.Close()
		plain, err := r.Update(v, pairs)
		require.NoError(t, err)
		assert.InDelta(t, plain["loss"], scalars["loss/reward"], 1e-6)
		assert.InDelta(t, plain["margin"], scalars["rewards/margins"], 1e-6)
	})
}

func TestAIHFWindow(t *testing.T) {
	p := data.Pair{Chosen: exampleOf([]int{1, 2, 3, 4}, 2), Rejected: exampleOf([]int{1, 2, 5}, 2)}
	w, l := window(p, 10, 20)
	assert.Equal(t, []int{12, 13}, w)
	assert.Equal(t, []int{22, 22}, l, "the shorter answer keeps its last reward")
	w, l = window(data.Pair{Chosen: p.Rejected, Rejected: p.Rejected}, 0, 3)
	assert.Equal(t, [][]int{{2}, {5}}, [][]int{w, l})
	from, to := LastAnswer(&data.Example{IDs: make([]int, 7), Mask: []bool{false, true, false, true, true, true, false}})
	assert.Equal(t, [2]int{3, 6}, [2]int{from, to})
}

func TestAIHFRefusals(t *testing.T) {
	for _, c := range []struct {
		set  func(o *AIHFOptions)
		want string
	}{
		{func(o *AIHFOptions) { o.WeightDemo = -1 }, "use a finite --weight-demo of 0 or more"},
		{func(o *AIHFOptions) { o.WeightPreference = math.NaN() }, "use a finite --weight-preference of 0 or more"},
		{func(o *AIHFOptions) { o.WeightDemo, o.WeightPreference = 0, 0 }, "both 0"},
		{func(o *AIHFOptions) { o.Beta = 0 }, "use a positive --beta"},
	} {
		o := DefaultAIHF()
		c.set(&o)
		assert.ErrorContains(t, o.Validate(), c.want)
	}
	_, err := newDemonstrations(nil, DefaultCommon())
	assert.ErrorContains(t, err, "check --demos")
}

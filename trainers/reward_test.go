package trainers

// Reward models against PyTorch's five steps, and what counts as correct.

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/tensor"
)

type goldenReward struct {
	Centre    float64 `json:"center"`
	Optimizer goldenOptimizer
	Pairs     []struct {
		Chosen, Rejected []int
		PromptLen        int `json:"prompt_len"`
		Margin           float64
	}
	Order [][][]int
	Steps []goldenStep
}

func readReward(t *testing.T, name string) (goldenReward, []data.Pair) {
	t.Helper()
	var g goldenReward
	readJSON(t, "testdata/"+name+"/golden.json", &g)
	pairs := make([]data.Pair, len(g.Pairs))
	for i, p := range g.Pairs {
		pairs[i] = data.Pair{Chosen: exampleOf(p.Chosen, p.PromptLen), Rejected: exampleOf(p.Rejected, p.PromptLen), Margin: p.Margin}
	}
	return g, pairs
}

func TestGoldenReward(t *testing.T) {
	for _, name := range []string{"reward", "reward-margin"} {
		for _, micro := range []int{0, 3} {
			t.Run(name, func(t *testing.T) { run(t, func() { goldenRewardRun(t, name, micro) }) })
		}
	}
}

func goldenRewardRun(t *testing.T, name string, micro int) {
	g, pairs := readReward(t, name)
	opts := RewardOptions{Common: g.Optimizer.common(), Margin: 1, Centre: g.Centre}
	opts.MicroBatchSize = micro
	m := loadScorer(t, scoreDir, trained)
	start := weights(m)
	r, err := NewReward(m, pairs, nil, opts, nil)
	require.NoError(t, err)
	u := NewUpdate(r.Params(), &opts.Common)
	defer u.Close()
	for i, want := range g.Steps {
		var batch []data.Pair
		var scores []pairScore
		for j, part := range g.Order[i] {
			batch = append(batch, pick(pairs, part)...)
			for k := range part {
				scores = append(scores, pairScore{want.Micro[j].Chosen[k], want.Micro[j].Rejected[k]})
			}
		}
		got, err := r.Update(u, batch)
		require.NoError(t, err)
		assert.InDelta(t, want.Loss, got["loss"], 1e-5, "loss of step %d", i)
		assert.InDelta(t, want.GradNorm, got["grad_norm"], 1e-4, "norm of step %d", i)
		for k, v := range summarise(scores) {
			assert.InDelta(t, v, got[k], 1e-5, "%s of step %d", k, i)
		}
	}
	requireUpdate(t, start, readWeights(t, "testdata/"+name+"/final.safetensors"), weights(m))
}

func TestRewardAccuracy(t *testing.T) {
	got := summarise([]pairScore{{1.2, .4}, {-.3, .1}})
	assert.Equal(t, .5, got["accuracy"])
	assert.InDelta(t, .2, got["margin"], 1e-12)
	assert.InDelta(t, .35, got["mean_reward"], 1e-12)
	assert.Equal(t, -.3, got["min_reward"])
	assert.Equal(t, 1.2, got["max_reward"])
	assert.Zero(t, summarise([]pairScore{{2, 2}})["accuracy"], "equal rewards are not correct")
}

func TestRewardMarginCanBeIgnored(t *testing.T) {
	_, pairs := readReward(t, "reward-margin")
	run(t, func() {
		loss := func(weight float64, pairs []data.Pair) float64 {
			opts := RewardOptions{Common: DefaultCommon(), Margin: weight}
			r, err := NewReward(loadScorer(t, scoreDir, trained), pairs, nil, opts, nil)
			require.NoError(t, err)
			u := NewUpdate(r.Params(), &opts.Common)
			defer u.Close()
			got, err := r.Update(u, pairs)
			require.NoError(t, err)
			return got["loss"]
		}
		_, plain := readReward(t, "reward")
		assert.Equal(t, loss(1, plain), loss(0, pairs))
		assert.Greater(t, loss(1, pairs), loss(0, pairs))
	})
}

func TestRewardFinish(t *testing.T) {
	_, pairs := readReward(t, "reward")
	run(t, func() {
		m := loadScorer(t, scoreDir, frozen)
		var all []pairScore
		require.NoError(t, tensor.NoGrad(func() error {
			for _, p := range pairs { // one by one, without padding
				s := (&Reward{model: m})
				w, l := s.scores([]data.Pair{p})
				all = append(all, hostScores(w, l)...)
			}
			return nil
		}))
		opts := DefaultReward()
		opts.BatchSize = 4
		r, err := NewReward(m, pairs, pairs, opts, nil)
		require.NoError(t, err)
		got, err := r.Finish(context.Background())
		require.NoError(t, err)
		for k, v := range summarise(all) {
			assert.InDelta(t, v, got["eval_"+k], 1e-5, k)
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = r.Finish(gone)
		require.ErrorIs(t, err, context.Canceled)
	})
	_, err := NewReward(nil, nil, nil, DefaultReward(), nil)
	require.ErrorContains(t, err, "no preference pairs")
}

// A reward model's score does not depend on padding, on how many rows are scored at once, or on their order.
func TestModelRewarder(t *testing.T) {
	run(t, func() {
		s := loadScorer(t, scoreDir, frozen)
		prompts := []data.Prompt{{IDs: []int{1, 5}}, {IDs: []int{1, 9, 33, 4}}, {IDs: []int{1}}}
		completions := [][]int{{7, 8, 9, 2}, {3}, {12, 13, 14, 15, 16, 17, 2}}
		var all [][]float64
		for _, micro := range []int{0, 1, 2, 9} {
			got, err := ModelRewarder{s, micro}.Score(context.Background(), prompts, completions)
			require.NoError(t, err)
			all = append(all, got)
		}
		for _, got := range all[1:] {
			near(t, all[0], got, 1e-6, "scores")
		}
	})
}

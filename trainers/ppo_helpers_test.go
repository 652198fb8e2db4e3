package trainers

// A PPO run on the tiny golden models, small enough to take many of its steps in a test.

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// stops are ids that end a completion: many, since the random policy knows no end.
var stops = []int{2, 5, 11, 17, 23, 29, 31, 37, 41, 43, 47, 53}

func tinyPrompts() []data.Prompt {
	var prompts []data.Prompt
	for i := range 10 {
		ids := []int{1}
		for j := range i % 4 {
			ids = append(ids, 3+(7*i+11*j)%60)
		}
		prompts = append(prompts, data.Prompt{IDs: ids})
	}
	return prompts
}

// tinyPPO are options under which a step moves the weights enough to see.
func tinyPPO() PPOOptions {
	o := DefaultPPO()
	o.BatchSize, o.MaxNewTokens, o.Temperature, o.LearningRate, o.PPOEpochs = 6, 8, 1, 1e-3, 2
	o.MaxSteps, o.LRSchedule, o.SampleEvery, o.Seed = 4, "linear", 1, 7
	return o
}

// tinyCast loads the networks; the reference is the start policy.
func tinyCast(t *testing.T) Cast {
	t.Helper()
	return Cast{
		Policy: loadModel(t, llamaDir, trained), Value: loadScorer(t, scoreDir, trained),
		Reference: loadModel(t, llamaDir, frozen), Reward: ModelRewarder{loadScorer(t, scoreDir, frozen), 4}, Stops: stops,
	}
}

// other is a reference that differs from the start policy.
func other(t *testing.T, scale float64) models.Model {
	t.Helper()
	m := loadModel(t, llamaDir, frozen)
	require.NoError(t, tensor.NoGrad(func() error {
		i := uint64(0)
		for p := range nn.Params(m) {
			i++
			p.Tensor.Copy(p.Tensor.Add(tensor.Randn(i, p.Shape...).MulScalar(scale)))
		}
		return nil
	}))
	return m
}

// saveCast writes policy and value network as a PPO checkpoint has them.
func saveCast(cast Cast) PartsFunc {
	return func() []checkpoint.Part {
		return append(saveModel(cast.Policy), checkpoint.In(ValueDir, saveScorer(cast.Value))...)
	}
}

func newPPO(t *testing.T, cast Cast, o PPOOptions, log *SampleLog) *PPO {
	t.Helper()
	p, err := NewPPO(cast, tinyPrompts(), o, log, saveCast(cast))
	require.NoError(t, err)
	return p
}

func sampleLog(dir string) *SampleLog {
	return &SampleLog{Path: filepath.Join(dir, "samples.jsonl"), Few: 2, Decode: func(ids []int) string { return fmt.Sprint(ids) }}
}

// outcome is everything that a few steps leave.
type outcome struct {
	rows          []map[string]float64
	policy, value map[string][]float32
}

// steps takes n PPO steps at a constant rate.
func steps(t *testing.T, cast Cast, o PPOOptions, n int) outcome {
	t.Helper()
	p := newPPO(t, cast, o, nil)
	u := NewUpdate(p.Params(), &o.Common)
	defer u.Close()
	var out outcome
	for range n {
		res, err := p.Step(context.Background(), u)
		require.NoError(t, err)
		out.rows = append(out.rows, metrics.Reproducible(res.Scalars))
	}
	out.policy, out.value = weights(cast.Policy), weights(cast.Value)
	return out
}

// advantagesOf is what PPO makes of samples at a given weight of the KL penalty.
func advantagesOf(samples []Sample, o PPOOptions, beta float64) error {
	c := critic{run: &Online{set: &o.OnlineOptions}, set: &o.CriticOptions}
	return o.advantages(samples, shaping{beta, o.KLEstimator, c.extra})
}

package trainers

// Training by adapters: the weights stay, the adapters move, and all that holds of full runs holds of these.

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

func lora(base string, seed uint64) models.AdapterConfig {
	return models.AdapterConfig{Rank: 4, Alpha: 8, Seed: seed, Base: base}
}

func sftLoRAJob(t *testing.T, dir string) (Trainer, *Common) {
	tr, opts := sftJob(t, dir)
	c := lora(llamaDir, 3)
	c.Dropout = 0.2
	require.NoError(t, models.Adapt(tr.(*SFT).model, c))
	return tr, opts
}

func rewardLoRAJob(t *testing.T, dir string) (Trainer, *Common) {
	tr, opts := rewardJob(t, dir)
	require.NoError(t, models.Adapt(tr.(*Reward).model, lora(scoreDir, 3)))
	return tr, opts
}

// loraCast has policy, value network and reference over one copy of the weights.
func loraCast(t *testing.T) Cast {
	t.Helper()
	cast := Cast{Policy: loadModel(t, llamaDir, trained), Reward: ModelRewarder{loadScorer(t, scoreDir, frozen), 4}, Stops: stops}
	require.NoError(t, models.Adapt(cast.Policy, lora(llamaDir, 1)))
	var err error
	cast.Value, err = models.ScorerOf(models.Twin(cast.Policy), 2, trained)
	require.NoError(t, err)
	require.NoError(t, models.Adapt(cast.Value, lora(llamaDir, 2)))
	cast.Reference = models.Twin(cast.Policy)
	return cast
}

func ppoLoRAJob(t *testing.T, dir string) (Trainer, *Common) {
	o := tinyPPO()
	o.MaxSteps, o.SaveEvery, o.LearningRate = 6, 2, 1e-2
	p := newPPO(t, loraCast(t), o, sampleLog(dir))
	return p, &p.opts.Common
}

func init() {
	jobs["sft by adapters"], jobs["reward by adapters"], jobs["ppo by adapters"] = sftLoRAJob, rewardLoRAJob, ppoLoRAJob
}

// TestAdaptersOnDisk: a checkpoint holds adapters alone; a finished run the whole model, which computes the same, and
// the adapters beside it.
func TestAdaptersOnDisk(t *testing.T) {
	run(t, func() {
		dir := t.TempDir()
		_, err := runLoop(context.Background(), t, ppoLoRAJob, dir, nil)
		require.NoError(t, err)
		kept := filesOf(t, filepath.Join(dir, "checkpoints", "step-4"))
		for _, name := range []string{"adapter_config.json", "adapter_model.safetensors", "value/adapter_model.safetensors"} {
			assert.Contains(t, kept, name)
		}
		assert.NotContains(t, kept, "model.safetensors")
		assert.NotContains(t, kept, "value/model.safetensors")

		whole, beside := loadModel(t, dir, frozen), loadModel(t, filepath.Join(dir, AdapterDir), frozen)
		start, moved := weights(loadModel(t, llamaDir, frozen)), 0
		want, got := weights(whole), weights(beside)
		for name := range want {
			require.Equal(t, want[name], got[name], name)
			if !assert.ObjectsAreEqual(start[name], want[name]) {
				moved++
				assert.True(t, strings.HasSuffix(name, "_proj.weight"), "%s was to stay", name)
			}
		}
		assert.Equal(t, 14, moved)
		value := loadScorer(t, filepath.Join(dir, ValueDir), frozen)
		besideValue := loadScorer(t, filepath.Join(dir, ValueDir, AdapterDir), frozen)
		require.Equal(t, weights(value), weights(besideValue))
	})
}

// bytesOf counts the bytes of the distinct tensors among params.
func bytesOf(params ...[]nn.Param) int {
	seen, total := map[tensor.Tensor]bool{}, 0
	for _, list := range params {
		for _, p := range list {
			if !seen[*p.Tensor] {
				seen[*p.Tensor] = true
				total += p.Tensor.Numel() * p.Tensor.DType().Size()
			}
		}
	}
	return total
}

func all(module any) []nn.Param {
	var list []nn.Param
	for p := range nn.Params(module) {
		list = append(list, p)
	}
	return list
}

// TestOneTrunk counts bytes: policy, value network and reference take the memory of one model, the adapters and a head.
func TestOneTrunk(t *testing.T) {
	run(t, func() {
		cast := loraCast(t)
		trunk := bytesOf(all(cast.Reference))
		adapters := bytesOf(models.Trainable(cast.Policy)) + bytesOf(models.Trainable(cast.Value))
		together := bytesOf(all(cast.Policy), all(cast.Value), all(cast.Reference), models.Trainable(cast.Policy), models.Trainable(cast.Value))
		assert.Equal(t, trunk+adapters, together)
		full := tinyCast(t)
		assert.Greater(t, bytesOf(all(full.Policy), all(full.Value), all(full.Reference)), 2*together)

		before := weights(cast.Reference)
		o := tinyPPO()
		o.LearningRate = 1e-2
		out := steps(t, cast, o, 3)
		assert.Equal(t, before, weights(cast.Reference), "the trunk is frozen")
		assert.InDelta(t, 0, out.rows[0]["objective/kl"], 1e-6, "without its adapters the policy is the reference")
		assert.NotZero(t, out.rows[1]["objective/kl"])
	})
}

// TestAdapterSteps: ten steps are a function of the seed; dropout is on in training alone and differs from step to step.
func TestAdapterSteps(t *testing.T) {
	run(t, func() {
		ten := func(dropout float64, seed uint64) (losses []float64, final map[string][]float32) {
			_, examples := readSFT(t)
			opts := DefaultSFT()
			opts.LearningRate, opts.BatchSize, opts.MicroBatchSize, opts.LRSchedule = 1e-2, 4, 2, "constant"
			m := loadModel(t, llamaDir, trained)
			c := lora(llamaDir, seed)
			c.Dropout = dropout
			require.NoError(t, models.Adapt(m, c))
			s, err := NewSFT(m, examples[:4], nil, opts, 0, saveModel)
			require.NoError(t, err)
			u := NewUpdate(s.Params(), &opts.Common)
			defer u.Close()
			for range 10 {
				scalars, err := s.Update(u, examples[:4])
				require.NoError(t, err)
				losses = append(losses, scalars["loss"])
			}
			held, err := HeldOutLoss(context.Background(), m, examples[:4], 4)
			require.NoError(t, err)
			again, err := HeldOutLoss(context.Background(), m, examples[:4], 4)
			require.NoError(t, err)
			assert.Equal(t, held, again, "no noise outside training")
			final = map[string][]float32{}
			for _, p := range models.Trainable(m) {
				final[p.Name] = p.Tensor.Float32s()
			}
			return losses, final
		}
		plain, a := ten(0, 1)
		assert.Less(t, plain[9], 0.9*plain[0], "adapters learn")
		again, b := ten(0, 1)
		assert.Equal(t, plain, again)
		assert.Equal(t, a, b)
		noisy, c := ten(0.3, 1)
		noisyAgain, d := ten(0.3, 1)
		assert.Equal(t, noisy, noisyAgain)
		assert.Equal(t, c, d)
		assert.Equal(t, plain[0], noisy[0], "B is zero at first")
		assert.NotEqual(t, a, c)
		_, other := ten(0, 2)
		assert.NotEqual(t, a, other)
	})
}

// TestDropoutMasks: the noise depends on step and micro-batch, and keeps the mean.
func TestDropoutMasks(t *testing.T) {
	run(t, func() {
		l := nn.NewLinear(64, 2, false)
		l.Weight = tensor.Zeros(tensor.Float32, tensor.CPU, 2, 64)
		a := nn.NewLoRA(l, "x", 2, 1, 1)
		a.B = tensor.Ones(tensor.Float32, tensor.CPU, 2, 2)
		a.Dropout = &nn.Dropout{Rate: 0.25, Seed: 1}
		l.LoRA = a
		x := tensor.Ones(tensor.Float32, tensor.CPU, 1, 64)
		at := func(step, micro int) []float32 {
			a.Dropout.Begin(step, micro)
			defer a.Dropout.End()
			return l.Forward(x).Float32s()
		}
		assert.Equal(t, at(1, 2), at(1, 2))
		assert.NotEqual(t, at(1, 2), at(2, 2))
		assert.NotEqual(t, at(1, 2), at(1, 3))
		mean := 0.0
		for step := range 2000 {
			mean += float64(at(step, 0)[0]) / 2000
		}
		assert.InDelta(t, l.Forward(x).Float64s()[0], mean, 0.05)
	})
}

// TestPPORefusesDropout: noise would move the ratio away from 1.
func TestPPORefusesDropout(t *testing.T) {
	run(t, func() {
		cast := tinyCast(t)
		c := lora(llamaDir, 1)
		c.Dropout = 0.1
		require.NoError(t, models.Adapt(cast.Policy, c))
		_, err := NewPPO(cast, []data.Prompt{{IDs: []int{1}}}, tinyPPO(), nil, saveCast(cast))
		require.ErrorContains(t, err, "LoRA dropout 0.1")
	})
}

// TestResumeRefusesOtherAdapters: a checkpoint's adapters go only where they came from.
func TestResumeRefusesOtherAdapters(t *testing.T) {
	run(t, func() {
		dir := t.TempDir()
		tr, _ := sftLoRAJob(t, dir)
		parts, err := tr.Parts()
		require.NoError(t, err)
		require.NoError(t, checkpoint.WriteParts(filepath.Join(dir, "saved"), parts))
		require.NoError(t, tr.Load(filepath.Join(dir, "saved")))
		for _, change := range []func(*models.AdapterConfig){
			func(c *models.AdapterConfig) { c.Rank = 2 }, func(c *models.AdapterConfig) { c.Targets = []string{"q_proj"} },
		} {
			m := loadModel(t, llamaDir, trained)
			c := lora(llamaDir, 1)
			change(&c)
			require.NoError(t, models.Adapt(m, c))
			require.Error(t, loadInto(filepath.Join(dir, "saved"), m))
		}
		require.NoError(t, os.RemoveAll(dir))
	})
}

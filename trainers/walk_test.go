package trainers

// Rows drawn by the weights of their files: every trainer draws in proportion, and goes on where it was interrupted.

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/models"
)

// sourced spreads n rows over two files, every third one in the second, drawn 1 : 3.
func sourced(t *testing.T, n int) []*data.Row {
	t.Helper()
	mix, err := data.NewMix([]string{"a.jsonl", "b.jsonl"}, []float64{1, 3})
	require.NoError(t, err)
	rows := make([]*data.Row, n)
	for i := range rows {
		rows[i] = &data.Row{File: mix.Files[i%3/2], Line: i + 1, Mix: mix, Source: i % 3 / 2}
	}
	return rows
}

// weighted are the jobs with their data drawn by weight.
var weighted = map[string]job{
	"sft": func(t *testing.T, _ string) (Trainer, *Common) {
		_, examples := readSFT(t)
		for i, row := range sourced(t, 6) {
			examples[i].Row = row
		}
		opts := DefaultSFT()
		opts.BatchSize, opts.Epochs, opts.LearningRate, opts.SaveEvery = 2, 2, 1e-3, 2
		s, err := NewSFT(loadModel(t, llamaDir, trained), examples[:6], nil, opts, 0, saveModel)
		require.NoError(t, err)
		return s, &s.opts.Common
	},
	"reward": func(t *testing.T, _ string) (Trainer, *Common) {
		_, pairs := readReward(t, "reward")
		sourcePairs(t, pairs)
		opts := DefaultReward()
		opts.BatchSize, opts.Epochs, opts.LearningRate, opts.SaveEvery = 2, 2, 1e-3, 2
		r, err := NewReward(loadScorer(t, scoreDir, trained), pairs, nil, opts,
			saveScorer)
		require.NoError(t, err)
		return r, &r.opts.Common
	},
	"dpo": func(t *testing.T, _ string) (Trainer, *Common) {
		_, pairs := readDPO(t)
		sourcePairs(t, pairs)
		opts := DefaultDPO()
		opts.Loss, opts.BatchSize, opts.MaxSteps, opts.LearningRate, opts.SaveEvery = "simpo", 2, 5, 1e-3, 2
		d, err := NewDPO(loadModel(t, llamaDir, trained), nil, pairs, nil, opts, saveModel)
		require.NoError(t, err)
		return d, &d.opts.Common
	},
	"ppo": func(t *testing.T, dir string) (Trainer, *Common) {
		prompts := tinyPrompts()
		for i, row := range sourced(t, len(prompts)) {
			prompts[i].Row = row
		}
		o := tinyPPO()
		o.PPOEpochs, o.SaveEvery = 1, 2
		cast := tinyCast(t)
		p, err := NewPPO(cast, prompts, o, sampleLog(dir), saveCast(cast))
		require.NoError(t, err)
		return p, &p.opts.Common
	},
}

func saveModel(m models.Model) []checkpoint.Part { return models.Parts(m, models.SaveOptions{}) }

func saveScorer(s *models.Scorer) []checkpoint.Part { return models.Parts(s, models.SaveOptions{}) }

func sourcePairs(t *testing.T, pairs []data.Pair) {
	t.Helper()
	for i, row := range sourced(t, len(pairs)) {
		pairs[i].Chosen.Row, pairs[i].Rejected.Row = row, row
	}
}

func TestWeightedRunResumes(t *testing.T) {
	for name, make := range weighted {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				want, _ := straight(t, make)
				dir := t.TempDir()
				ctx, cancel := context.WithCancel(context.Background())
				_, err := runLoop(ctx, t, make, dir, interruptAt(3, false, cancel))
				cancel()
				require.ErrorIs(t, err, fault.ErrInterrupted)
				_, err = runLoop(context.Background(), t, make, dir, nil)
				require.NoError(t, err)
				requireSame(t, want, results(t, dir))
			})
		})
	}
}

func TestTrainersDrawByWeight(t *testing.T) {
	for name, make := range weighted {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				tr, opts := make(t, t.TempDir())
				walk := tr.(Walker).Walk()
				require.IsType(t, &data.Mixture{}, walk)
				second := 0
				for _, i := range walk.Next(40) {
					second += i % 3 / 2
				}
				assert.Equal(t, 30, second, "three of four draws are from the second file")
				opts.MaxSteps = 0
				assert.Positive(t, tr.Steps())
			})
		})
	}
}

// Packed rows hold documents of one file, so that a weight means the same as without packing.
func TestPackingKeepsWeightedFilesApart(t *testing.T) {
	rows := sourced(t, 12)
	examples := make([]data.Example, len(rows))
	for i, row := range rows {
		examples[i] = exampleOf([]int{1, 5, 6}, 1)
		examples[i].Row = row
	}
	opts := DefaultSFT()
	opts.Packing = true
	packs, err := packRows(examples, opts, 6)
	require.NoError(t, err)
	assert.Len(t, packs, 6)
	for _, p := range packs {
		for _, x := range p {
			assert.Equal(t, p[0].Row.Source, x.Row.Source)
		}
	}
	walk, err := walkOver(&opts.Common, packs, packed.origin)
	require.NoError(t, err)
	assert.IsType(t, &data.Mixture{}, walk)
	for i := range examples {
		examples[i].Row = nil
	}
	packs, err = packRows(examples, opts, 6)
	require.NoError(t, err)
	walk, err = walkOver(&opts.Common, packs, packed.origin)
	require.NoError(t, err)
	assert.IsType(t, &data.Order{}, walk)
}

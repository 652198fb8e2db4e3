package trainers

// Supervised fine-tuning against PyTorch's ten steps, worked numbers, and the identities of accumulation.

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// newSFT makes a trainer on a fresh copy of the golden start model.
func newSFT(t *testing.T, examples []data.Example, c Common) (*SFT, models.Model) {
	t.Helper()
	m := loadModel(t, llamaDir, trained)
	s, err := NewSFT(m, examples, nil, SFTOptions{Common: c}, 0, nil)
	require.NoError(t, err)
	return s, m
}

func TestGoldenSFT(t *testing.T) {
	g, examples := readSFT(t)
	for _, micro := range []int{0, 2} {
		run(t, func() {
			c := g.Optimizer.common()
			c.MicroBatchSize = micro
			s, m := newSFT(t, examples, c)
			start := weights(m)
			u := NewUpdate(s.Params(), &c)
			defer u.Close()
			for i, want := range g.Steps {
				var batch []data.Example
				for _, part := range g.Order[i] {
					batch = append(batch, pick(examples, part)...)
				}
				got, err := s.Update(u, batch)
				require.NoError(t, err)
				assert.InDelta(t, want.Loss, got["loss"], 1e-5, "loss of step %d", i)
				assert.InDelta(t, want.GradNorm, got["grad_norm"], 1e-4, "norm of step %d", i)
			}
			requireUpdate(t, start, readWeights(t, "testdata/sft/final.safetensors"), weights(m))
		})
	}
}

// table is a Model whose logits depend on the current token alone, so that a test can write them down.
type table struct {
	models.Model
	Rows *nn.Embedding `hf:"rows"` // [V, V] logits by token
	eye  tensor.Tensor
}

func newTable(logits [][]float32) *table {
	v := len(logits)
	one := make([]float32, v*v)
	m := &table{Rows: nn.NewEmbedding(v, v)}
	var flat []float32
	for i, row := range logits {
		one[i*v+i] = 1
		flat = append(flat, row...)
	}
	m.Rows.Weight = tensor.Floats(flat, v, v).RequireGrad(true)
	m.eye = tensor.Floats(one, v, v)
	return m
}

func (m *table) Hidden(in models.Input, _ *models.Cache) tensor.Tensor { return m.Rows.Forward(in.IDs) }
func (m *table) HiddenAt(in models.Input, at tensor.Tensor) tensor.Tensor {
	return m.Rows.Forward(in.IDs).Reshape(-1, m.Rows.Weight.Dim(1)).IndexSelect(0, at)
}
func (m *table) HeadWeight() tensor.Tensor { return m.eye }
func (m *table) Config() *models.Config    { return &models.Config{} }

// METHODS.md §5: row t of its logits is what token t sees; ids 0, 2, 1 see rows 0, 1, 2.
func TestNLLWorked(t *testing.T) {
	run(t, func() {
		m := newTable([][]float32{{2, .5, -1}, {1.5, -.5, .2}, {0, 1, .5}})
		ids := []int{0, 2, 1, 0}
		nll := func(mask []bool, total int) float64 {
			loss, stats := NLL(m, models.Collate([][]int{ids}), models.TargetsOf([][]int{ids}, [][]bool{mask}), total)
			assert.Len(t, stats, 2)
			return loss.Item()
		}
		assert.InDelta(t, 1.421219, nll([]bool{false, true, true, true}, 3), 1e-6)
		assert.InDelta(t, 0.511173, nll([]bool{false, false, true, true}, 2), 1e-6)
		assert.InDelta(t, 3.241311, nll([]bool{false, true, false, false}, 1), 1e-6)
		assert.InDelta(t, 0.511173, func() float64 {
			loss, err := HeldOutLoss(context.Background(), m, []data.Example{exampleOf(ids, 2)}, 1)
			require.NoError(t, err)
			return loss
		}(), 1e-6)
	})
}

// Eight micro-batches of one row with masks of unequal length take the steps of one batch of eight.
func TestSFTAccumulation(t *testing.T) {
	_, examples := readSFT(t)
	run(t, func() {
		var losses [2][]float64
		var after [2]map[string][]float32
		for i, micro := range []int{1, 8} {
			c := DefaultCommon()
			c.BatchSize, c.MicroBatchSize, c.LearningRate, c.Shuffle = 8, micro, 1e-3, false
			s, m := newSFT(t, examples, c)
			u := NewUpdate(s.Params(), &c)
			for range 5 {
				got, err := s.Step(context.Background(), u)
				require.NoError(t, err)
				losses[i] = append(losses[i], got.Scalars["loss"], got.Scalars["entropy"], got.Scalars["mean_token_accuracy"])
			}
			after[i] = weights(m)
			u.Close()
		}
		near(t, losses[0], losses[1], 1e-5, "losses")
		requireUpdate(t, weights(loadModel(t, llamaDir, frozen)), after[0], after[1])
	})
}

// A row without targets adds nothing to loss and gradient, alone in its micro-batch or not; a batch of nothing
// else is refused.
func TestSFTMaskedRow(t *testing.T) {
	_, examples := readSFT(t)
	masked := data.Example{IDs: []int{1, 5, 9, 3, 4, 2, 7, 8, 11, 12, 13, 14, 15}, Mask: make([]bool, 13)}
	run(t, func() {
		var rows []map[string]float64
		for _, batch := range [][]data.Example{examples[:3], append([]data.Example{masked}, examples[:3]...)} {
			for _, micro := range []int{1, 4} {
				c := DefaultCommon()
				c.MicroBatchSize, c.LearningRate = micro, 0
				s, _ := newSFT(t, examples, c)
				u := NewUpdate(s.Params(), &c)
				got, err := s.Update(u, batch)
				require.NoError(t, err)
				rows = append(rows, got)
				_, err = s.Update(u, []data.Example{masked, masked})
				require.ErrorContains(t, err, "no target token")
				u.Close()
			}
		}
		for _, row := range rows[1:] {
			for k, v := range rows[0] {
				assert.InDelta(t, v, row[k], 1e-5, k)
			}
		}
	})
	_, err := NewSFT(nil, []data.Example{masked}, nil, DefaultSFT(), 0, nil)
	require.ErrorContains(t, err, "no row of --data has a target token")
	_, err = NewSFT(nil, nil, nil, DefaultSFT(), 0, nil)
	require.ErrorContains(t, err, "no training rows")
	_, err = HeldOutLoss(context.Background(), nil, nil, 4)
	require.ErrorContains(t, err, "no target token")
}

func TestSFTUpdateLeavesItsBatchAlone(t *testing.T) {
	_, examples := readSFT(t)
	run(t, func() {
		c := DefaultCommon()
		s, _ := newSFT(t, examples, c)
		u := NewUpdate(s.Params(), &c)
		defer u.Close()
		batch := []data.Example{examples[4], examples[0]}
		_, err := s.Update(u, batch)
		require.NoError(t, err)
		assert.Equal(t, []data.Example{examples[4], examples[0]}, batch)
	})
}

func TestSFTHeldOut(t *testing.T) {
	_, examples := readSFT(t)
	run(t, func() {
		m := loadModel(t, llamaDir, frozen)
		opts := DefaultSFT()
		opts.EvalEvery, opts.LearningRate = 2, 0
		s, err := NewSFT(m, examples[:4], examples[4:], opts, 0, nil)
		require.NoError(t, err)
		final, err := s.Finish(context.Background())
		require.NoError(t, err)
		assert.InDelta(t, math.Log(67), final["eval_loss"], 1, "an untrained model")
		assert.InDelta(t, math.Exp(final["eval_loss"]), final["eval_perplexity"], 1e-9)
		for _, micro := range []int{1, 3} {
			loss, err := HeldOutLoss(context.Background(), m, examples[4:], micro)
			require.NoError(t, err)
			assert.InDelta(t, final["eval_loss"], loss, 1e-6)
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = s.Finish(gone)
		require.ErrorIs(t, err, context.Canceled)
	})
}

// expiring is a context that ends after so many looks at it.
type expiring struct {
	context.Context
	left int
}

func (e *expiring) Err() error {
	if e.left--; e.left < 0 {
		return context.Canceled
	}
	return nil
}

// Once the weights have moved, an interrupt waits for the measurement of the step: else the step would be taken
// twice after a resume.
func TestSFTStepIsWholeOrNotAtAll(t *testing.T) {
	_, examples := readSFT(t)
	run(t, func() {
		for looks := range 4 {
			m := loadModel(t, llamaDir, trained)
			opts := DefaultSFT()
			opts.EvalEvery = 1
			s, err := NewSFT(m, examples[:4], examples[4:], opts, 0, nil)
			require.NoError(t, err)
			u := NewUpdate(s.Params(), &opts.Common)
			before := weights(m)
			res, err := s.Step(&expiring{context.Background(), looks}, u)
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, before, weights(m))
			} else {
				assert.Contains(t, res.Scalars, "eval_loss")
				assert.NotEqual(t, before, weights(m))
			}
			u.Close()
		}
	})
}

// TestPackedEqualsUnpacked: rows laid end to end give the loss and the gradients that they give apart.
func TestPackedEqualsUnpacked(t *testing.T) {
	_, examples := readSFT(t)
	run(t, func() {
		c := DefaultCommon()
		c.BatchSize = len(examples)
		want, m1 := newSFT(t, examples, c)
		loss := updateOnce(t, want, &c, unpacked(examples))

		m2 := loadModel(t, llamaDir, trained)
		got, err := NewSFT(m2, examples, nil, SFTOptions{Common: c, Packing: true, PackingStrategy: "bfd"}, 32, nil)
		require.NoError(t, err)
		require.Less(t, len(got.rows), len(examples), "nothing was packed")
		assert.InDelta(t, loss, updateOnce(t, got, &c, got.rows), 1e-5)
		a, b := weights(m1), weights(m2)
		for name := range a {
			assert.InDeltaSlice(t, a[name], b[name], 1e-5, name)
		}
	})
}

func updateOnce(t *testing.T, s *SFT, c *Common, rows []packed) float64 {
	t.Helper()
	u := NewUpdate(s.Params(), c)
	defer u.Close()
	u.LR = 1e-5
	scalars, err := s.update(u, rows)
	require.NoError(t, err)
	return scalars["loss"]
}

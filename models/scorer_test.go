package models_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/tensor"
)

func TestScorers(t *testing.T) {
	run(t, func() {
		s, err := models.NewScorer("testdata/llama-gqa", 5, float32CPU)
		require.NoError(t, err)
		rows := [][]int{{1, 5, 6}, {1, 9, 8, 7}}
		v := s.Values(models.Collate(rows), nil) // [2, 4]
		assert.Equal(t, []int{2, 4}, v.Shape())
		r := s.Rewards(models.Collate(rows)).Float64s()
		assert.InDelta(t, v.Select(0, 0).Select(0, 2).Item(), r[0], 1e-6)
		assert.InDelta(t, v.Select(0, 1).Select(0, 3).Item(), r[1], 1e-6)
		assert.InEpsilon(t, 1/5.7446, s.Head.Weight.Square().Mean().Sqrt().Item(), 0.4)

		m := load(t, "testdata/llama-gqa", float32CPU)
		same, err := models.ScorerOf(m, 5, float32CPU)
		require.NoError(t, err)
		sameWeights(t, s, same)
		assert.False(t, m.Config().Scores, "the language model stays one")

		out := t.TempDir()
		require.NoError(t, models.Save(out, s, models.SaveOptions{}))
		again, err := models.LoadScorer(out, float32CPU)
		require.NoError(t, err)
		sameWeights(t, s, again)
		assert.Equal(t, "LlamaForSequenceClassification", again.Config().Architecture())

		err = tensor.Scope(func() error { s.Logits(s.Hidden(models.Collate(rows), nil)); return nil })
		assert.ErrorContains(t, err, "no language-model head")
		err = tensor.Scope(func() error { s.Rewards(models.Collate([][]int{{1}, {}})); return nil })
		assert.ErrorContains(t, err, "a row is empty")

		_, err = models.Load(out, float32CPU)
		assert.ErrorContains(t, err, "a language model is wanted")
		_, err = models.LoadScorer("testdata/llama-gqa", float32CPU)
		assert.ErrorContains(t, err, "a reward or value model is wanted")
		_, err = models.NewScorer(out, 1, float32CPU)
		assert.ErrorContains(t, err, "has a score head already")
		g3, err := models.NewScorer("testdata/gemma3-local", 5, float32CPU)
		require.NoError(t, err)
		assert.Equal(t, "Gemma3TextForSequenceClassification", g3.Config().Architecture())
		out = t.TempDir()
		require.NoError(t, models.Save(out, g3, models.SaveOptions{}))
		again, err = models.LoadScorer(out, float32CPU)
		require.NoError(t, err)
		sameWeights(t, g3, again)
	})
}

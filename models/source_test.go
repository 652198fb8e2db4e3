package models_test

// Weights read in stretches: the same values and the same refusals as of weights read as a whole.

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/tensor"
)

// inStretches opens a folder and hands out its weights, each read in stretches of 37 elements, last first.
func inStretches(t *testing.T, dir string, each func(name string, all tensor.Stretch)) error {
	t.Helper()
	c, err := models.OpenCheckpoint(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, name := range c.Names() {
		s, err := c.Source(name)
		if err != nil {
			return err
		}
		info, _ := c.Info(name)
		n := 1
		for _, d := range info.Shape {
			n *= d
		}
		all := tensor.Stretch{Data: make([]byte, n*s.DType().Size()), DType: s.DType()}
		for at := (n - 1) / 37 * 37; at >= 0; at -= 37 {
			if err := s.ReadAt(all.From(at, min(37, n-at)).Data, at); err != nil {
				return err
			}
		}
		each(name, all)
	}
	return nil
}

// readsInStretches compares what stretches hold with what ReadExact returns.
func readsInStretches(t *testing.T, dir string) {
	t.Helper()
	c, err := models.OpenCheckpoint(dir)
	require.NoError(t, err)
	defer c.Close()
	seen := 0
	require.NoError(t, inStretches(t, dir, func(name string, all tensor.Stretch) {
		seen++
		want, err := c.ReadExact(name)
		require.NoError(t, err)
		got := make([]float64, all.Numel())
		all.Minus(nil, got)
		require.Equal(t, want.Float64s(), got, name)
	}))
	assert.Equal(t, len(c.Names()), seen)
}

func TestSource(t *testing.T) {
	for _, folder := range []string{"llama-gqa", "llama-sharded", "llama-fp16", "llama-bf16", "llama-score"} {
		t.Run(folder, func(t *testing.T) {
			run(t, func() { readsInStretches(t, "testdata/"+folder) })
		})
	}
	run(t, func() { // an adapter, over a base of half precision too: it is folded in without being rounded
		for _, base := range []string{"llama-tied", "llama-bf16"} {
			dir := t.TempDir()
			m := adapted(t, "testdata/"+base, models.AdapterConfig{Rank: 3, Alpha: 5, Targets: []string{"q_proj"}})
			stir(t, m, 1)
			require.NoError(t, models.SaveAdapter(dir, m))
			readsInStretches(t, dir)
		}
		kept := models.SourceOf(tensor.Floats([]float32{1, 2, 3}, 3))
		p := make([]byte, 8)
		require.NoError(t, kept.ReadAt(p, 1))
		assert.Equal(t, []byte{0, 0, 0, 0x40, 0, 0, 0x40, 0x40}, p)
	})
}

func TestSourceNamesWhatFails(t *testing.T) {
	run(t, func() {
		dir := copyOf(t, "testdata/llama-gqa")
		c, err := models.OpenCheckpoint(dir)
		require.NoError(t, err)
		_, err = c.Source("nothing")
		requireInput(t, err, `"nothing"`, dir)
		s, err := c.Source("model.norm.weight")
		require.NoError(t, err)
		path := filepath.Join(dir, "model.safetensors")
		require.NoError(t, os.Truncate(path, 100))
		requireInput(t, s.ReadAt(make([]byte, 8), 0), path, "model.norm.weight", "copy it again")
		c.Close()
		requireInput(t, s.ReadAt(make([]byte, 8), 0), path, "closed")
	})
}

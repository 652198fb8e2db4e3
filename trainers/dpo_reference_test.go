package trainers

// The reference's numbers in DPO: which pairs are scored, when, and what is kept on disk of them.

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/models"
	"salsa/nn"
)

// counted is a reference that counts how often it is loaded.
func counted(dir, cache string) (*Reference, *int) {
	loads := new(int)
	return &Reference{ID: dir, CacheDir: cache, Micro: 2, Load: func() (models.Model, error) {
		*loads++
		return models.Load(dir, frozen)
	}}, loads
}

func TestDPOCache(t *testing.T) {
	_, pairs := readDPO(t)
	ctx := context.Background()
	run(t, func() {
		cache := filepath.Join(t.TempDir(), "cache")
		ref, loads := counted(llamaDir, cache)
		want, err := ref.LogProbs(ctx, pairs, nil)
		require.NoError(t, err)
		require.Equal(t, 1, *loads)
		files, err := filepath.Glob(filepath.Join(cache, "reference-*.json"))
		require.NoError(t, err)
		require.Len(t, files, 1)

		again, loads := counted(llamaDir, cache)
		got, err := again.LogProbs(ctx, pairs, nil)
		require.NoError(t, err)
		assert.Equal(t, want, got, "a hit gives the same bits")
		assert.Zero(t, *loads, "and loads nothing")

		// Other pairs, other targets and another reference are other entries.
		other := append([]data.Pair(nil), pairs...)
		other[0], other[1] = other[1], other[0]
		masked := append([]data.Pair(nil), pairs...)
		masked[0].Chosen = exampleOf(masked[0].Chosen.IDs, masked[0].Chosen.PromptLen+1)
		for i, p := range [][]data.Pair{other, masked, pairs} {
			r, loads := counted(llamaDir, cache)
			if i == 2 {
				r.ID = "others"
			}
			_, err := r.LogProbs(ctx, p, nil)
			require.NoError(t, err)
			assert.Equal(t, 1, *loads)
		}

		good, err := os.ReadFile(files[0])
		require.NoError(t, err)
		for _, bad := range []string{"", "{", string(good[:len(good)/2]), strings.Replace(string(good), "-2", "-3", 1), strings.Replace(string(good), `"key":"`, `"key":"0`, 1)} {
			require.NoError(t, os.WriteFile(files[0], []byte(bad), 0o644))
			r, loads := counted(llamaDir, cache)
			got, err := r.LogProbs(ctx, pairs, nil)
			require.NoError(t, err)
			assert.Equal(t, want, got)
			assert.Equal(t, 1, *loads, "a damaged file is not believed")
			mended, err := os.ReadFile(files[0])
			require.NoError(t, err)
			assert.Equal(t, string(good), string(mended))
		}
	})
}

func TestReferenceErrors(t *testing.T) {
	_, pairs := readDPO(t)
	run(t, func() {
		ref, _ := counted(llamaDir, filepath.Join("testdata", "llama", "config.json", "cache"))
		_, err := ref.LogProbs(context.Background(), pairs, nil)
		require.ErrorContains(t, err, "choose a writable --cache-dir")
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		ref, _ = counted(llamaDir, "")
		_, err = ref.LogProbs(gone, pairs, nil)
		require.ErrorIs(t, err, context.Canceled)
		boom := errors.New("boom")
		ref.Load = func() (models.Model, error) { return nil, boom }
		_, err = ref.LogProbs(context.Background(), pairs, nil)
		require.ErrorIs(t, err, boom)
		ref.Load = func() (models.Model, error) {
			m, err := models.Load(llamaDir, frozen)
			for p := range nn.Params(m) {
				p.Tensor.Copy(p.Tensor.MulScalar(math.Inf(1)))
			}
			return m, err
		}
		_, err = ref.LogProbs(context.Background(), pairs, nil)
		require.ErrorContains(t, err, "pair 6: the reference's log-probabilities are NaN and NaN; check its weights")
	})
}

// A step reads the reference if nobody has, once; an interrupt meanwhile leaves the trainer as it was.
func TestDPOPreparesItself(t *testing.T) {
	_, pairs := readDPO(t)
	run(t, func() {
		ref, loads := counted(llamaDir, "")
		o := tinyDPO()
		d, err := NewDPO(loadModel(t, llamaDir, trained), ref, pairs, pairs[:1], o, nil)
		require.NoError(t, err)
		u := NewUpdate(d.Params(), &o.Common)
		defer u.Close()
		before, err := d.State()
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		ref.Progress = func(int, int) { cancel() }
		_, err = d.Step(ctx, u)
		require.ErrorIs(t, err, context.Canceled)
		after, err := d.State()
		require.NoError(t, err)
		assert.Equal(t, string(before), string(after))
		ref.Progress = nil
		for range 2 {
			_, err = d.Step(context.Background(), u)
			require.NoError(t, err)
		}
		got, err := d.Finish(context.Background())
		require.NoError(t, err)
		assert.Negative(t, d.eval[0].ref.Chosen)
		assert.Contains(t, got, "eval_loss")
		assert.Equal(t, 2, *loads)
	})
}

// A run of few steps scores the pairs that they take and those held out; a longer one adds the rest to the same file, to
// the bits of a run that scored all at once.
func TestDPOScoresWhatItsStepsTake(t *testing.T) {
	_, pairs := readDPO(t)
	run(t, func() {
		cache := filepath.Join(t.TempDir(), "cache")
		scored := func(steps int) (total int, refs []RefLogProbs) {
			o := tinyDPO()
			o.BatchSize, o.MaxSteps = 1, steps
			ref, loads := counted(llamaDir, cache)
			ref.Micro = 1
			ref.Progress = func(_, n int) { total = n }
			d := newDPO(t, ref, pairs[:4], pairs[4:5], o)
			assert.LessOrEqual(t, *loads, 1)
			for _, p := range append(d.pairs, d.eval...) {
				refs = append(refs, p.ref)
			}
			u := NewUpdate(d.Params(), &o.Common)
			defer u.Close()
			for range steps {
				res, err := d.Step(context.Background(), u)
				require.NoError(t, err)
				assert.False(t, math.IsNaN(res.Scalars["loss"]))
			}
			return total, refs
		}
		few, refs := scored(2)
		assert.Equal(t, 3, few, "two pairs that are taken, one held out")
		left := 0
		for _, r := range refs {
			if math.IsNaN(r.Chosen) {
				left++
			}
		}
		assert.Equal(t, 2, left)
		again, _ := scored(1)
		assert.Zero(t, again, "known already")
		more, all := scored(6)
		assert.Equal(t, 2, more, "the rest")
		files, err := filepath.Glob(filepath.Join(cache, "*"))
		require.NoError(t, err)
		assert.Len(t, files, 1)
		kept, err := os.ReadFile(files[0])
		require.NoError(t, err)
		assert.NotContains(t, string(kept), `"pairs"`, "a whole file is as it would have been at once")
		cache = filepath.Join(t.TempDir(), "cache")
		_, atOnce := scored(6)
		assert.Equal(t, atOnce, all)
	})
}

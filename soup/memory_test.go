package soup_test

// What is in memory while a soup is made does not grow with its weights.

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
)

// ramp is a weight that is made up when it is read.
type ramp struct {
	slope   float64
	largest *atomic.Int64 // bytes asked for at once
}

func (r ramp) DType() tensor.DType { return tensor.Float32 }

func (r ramp) at(i int) float32 { return float32(r.slope * float64(i%1000)) }

func (r ramp) ReadAt(p []byte, at int) error {
	for was := r.largest.Load(); int64(len(p)) > was && !r.largest.CompareAndSwap(was, int64(len(p))); was = r.largest.Load() {
	}
	for i := range len(p) / 4 {
		binary.LittleEndian.PutUint32(p[4*i:], math.Float32bits(r.at(at+i)))
	}
	return nil
}

// A hundred blocks take no more of Go's memory than a few, for any operator.
func TestMemoryDoesNotGrowWithTheWeight(t *testing.T) {
	run(t, func() {
		var largest atomic.Int64
		made := func(r soup.Recipe, blocks int) (bytes uint64) {
			in := soup.Inputs{Name: "w", Shape: []int{blocks, soup.BlockSize}, Base: ramp{1, &largest},
				Members: []models.Source{ramp{1.5, &largest}, ramp{-.5, &largest}}}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			next := 0
			require.NoError(t, r.Mixed(in, tensor.Float32, func(mixed tensor.Stretch, at int) error {
				require.Equal(t, next, at, "blocks come in their order")
				next += mixed.Numel()
				return nil
			}))
			require.Equal(t, blocks*soup.BlockSize, next)
			runtime.ReadMemStats(&after)
			return after.TotalAlloc - before.TotalAlloc
		}
		const block = 4 * soup.BlockSize
		half := soup.Fixed(.5, .5)
		for name, r := range map[string]soup.Recipe{
			"linear": soup.Linear(half), "slerp": soup.Slerp(half), "stock": soup.ModelStock(), "liti": soup.LITI(soup.Linear(half), .3),
			"ties": soup.TIES(half, .3, 1, soup.AgreeingMean), "dare": soup.DARE(half, .3, 1, soup.AgreeingSum, soup.ByL1, 1),
			"direction": soup.DirectionOf(1, false).From(half, 2), "direction by rows": soup.DirectionOf(1, true).From(half, 2),
		} {
			few, many := made(r, 8), made(r, 100)
			// The pool of buffers may be emptied at any time: what counts is that not every block makes its own.
			assert.Less(t, many, few+40*block, "%s: %d bytes for 8 blocks, %d for 100", name, few, many)
		}
		assert.Equal(t, int64(block), largest.Load(), "bytes read at once")
	})
}

// status reads a number of bytes from what the system tells about this process.
func status(t *testing.T, key string) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("the system does not tell the peak of a process")
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			require.NoError(t, err)
			return n << 10
		}
	}
	t.Skipf("no %s in /proc/self/status", key)
	return 0
}

// peakOf is how much the process grew at most while a soup was written.
func peakOf(t *testing.T, m *soup.Members, r soup.Recipe) int {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Skip("the peak of a process cannot be set back here")
	}
	before := status(t, "VmRSS")
	require.NoError(t, m.Write(t.Context(), filepath.Join(t.TempDir(), "soup"), r, soup.WriteOptions{}))
	return status(t, "VmHWM") - before
}

// large is the config of a model of one layer in which a number is another.
func large(t *testing.T, key string, was, is int) *models.Config {
	t.Helper()
	source := t.TempDir()
	raw, err := os.ReadFile("../models/testdata/llama-tied/config.json")
	require.NoError(t, err)
	config := strings.NewReplacer(`"num_hidden_layers": 2`, `"num_hidden_layers": 1`, fmt.Sprintf(`"%s": %d`, key, was), fmt.Sprintf(`"%s": %d`, key, is)).Replace(string(raw))
	require.NotEqual(t, string(raw), config)
	require.NoError(t, os.WriteFile(filepath.Join(source, "config.json"), []byte(config), 0o644))
	c, err := models.ReadConfig(source)
	require.NoError(t, err)
	require.Equal(t, 32, c.Hidden)
	return c
}

// saved writes a new model, as an adapter on base where base is not empty.
func saved(t *testing.T, c *models.Config, seed uint64, base string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, tensor.Scope(func() error {
		if base == "" {
			m, err := models.New(c, seed, onCPU)
			require.NoError(t, err)
			return models.Save(dir, m, models.SaveOptions{})
		}
		m, err := models.Load(base, onCPU)
		require.NoError(t, err)
		require.NoError(t, models.Adapt(m, models.AdapterConfig{Rank: 1, Alpha: 2, Seed: seed, Base: base}))
		return models.SaveAdapter(dir, m)
	}))
	return dir
}

// The process as a whole, on files: less than half of one of the weights that are mixed, where three would be the least
// otherwise.
func TestPeakOfWrite(t *testing.T) {
	const vocab = 1 << 19
	c := large(t, "vocab_size", 67, vocab)
	run(t, func() {
		m := open(t, saved(t, c, 0, ""), saved(t, c, 1, ""))
		assert.Less(t, peakOf(t, m, soup.Linear(soup.Fixed(.5, .5))), vocab*32*2)
	})
}

// Weights with adapters folded in, moved along a random direction: less than one weight, where four would be the least.
func TestPeakOfAdaptersAndDirections(t *testing.T) {
	const inner = 1 << 18
	c := large(t, "intermediate_size", 48, inner)
	run(t, func() {
		base := saved(t, c, 0, "")
		m := open(t, saved(t, c, 1, base), saved(t, c, 2, base))
		assert.Less(t, peakOf(t, m, soup.DirectionOf(1, false).From(soup.Fixed(.5, .5), 1)), inner*32*4)
	})
}

package soup_test

// What is in memory while a soup is made does not grow with its weights.

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
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
		} {
			few, many := made(r, 8), made(r, 100)
			// The pool of buffers may be emptied at any time: what counts is that not every block makes its own.
			assert.Less(t, many, few+40*block, "%s: %d bytes for 8 blocks, %d for 100", name, few, many)
		}
		assert.Equal(t, int64(block), largest.Load(), "bytes read at once")
	})
}

// The process as a whole, on files: less than one of the weights that are mixed, where three would be the least otherwise.
func TestPeakOfWrite(t *testing.T) {
	status := func(key string) int {
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
	const vocab, hidden = 1 << 19, 32
	source := t.TempDir()
	raw, err := os.ReadFile("../models/testdata/llama-tied/config.json")
	require.NoError(t, err)
	config := strings.NewReplacer(`"vocab_size": 67`, `"vocab_size": `+strconv.Itoa(vocab)).Replace(string(raw))
	require.NoError(t, os.WriteFile(filepath.Join(source, "config.json"), []byte(config), 0o644))
	c, err := models.ReadConfig(source)
	require.NoError(t, err)
	require.Equal(t, vocab, c.Vocab)
	require.Equal(t, hidden, c.Hidden)
	run(t, func() {
		var dirs []string
		for seed := range uint64(2) {
			dir := t.TempDir()
			require.NoError(t, tensor.Scope(func() error {
				m, err := models.New(c, seed, onCPU)
				require.NoError(t, err)
				return models.Save(dir, m, models.SaveOptions{})
			}))
			dirs = append(dirs, dir)
		}
		m := open(t, dirs...)
		runtime.GC()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			t.Skip("the peak of a process cannot be set back here")
		}
		before := status("VmRSS")
		require.NoError(t, m.Write(t.Context(), filepath.Join(t.TempDir(), "soup"), soup.Linear(soup.Fixed(.5, .5)), soup.WriteOptions{}))
		assert.Less(t, status("VmHWM")-before, vocab*hidden*2)
	})
}

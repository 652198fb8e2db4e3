package tensor_test

// The memory behind tensors: freed buffers serve again, nothing is held beyond the peak, and nothing is lost.

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
	"salsa/tensor/tensortest"
)

const mib = 1 << 20

// zerosOf makes n MiB in the current scope.
func zerosOf(n int) tensor.Tensor { return tensor.Zeros(tensor.Float32, tensor.CPU, n*mib/4) }

func scope(t *testing.T, fn func()) {
	t.Helper()
	require.NoError(t, tensor.Scope(func() error { fn(); return nil }))
}

func TestMemoryServesAgain(t *testing.T) {
	tensortest.Run(t, func() {
		tensor.ReleaseMemory()
		start := tensor.Memory()
		assert.Equal(t, start.Used, start.Held)
		scope(t, func() {
			zerosOf(24)
			assert.Equal(t, int64(24*mib), tensor.Memory().Used-start.Used)
		})
		freed := tensor.Memory()
		assert.Equal(t, start.Used, freed.Used)
		assert.Equal(t, start.Held+24*mib, freed.Held, "kept")
		scope(t, func() {
			for range 4 {
				zerosOf(6) // cut from what is kept
			}
			assert.Equal(t, freed.Held, tensor.Memory().Held, "nothing new")
		})
		scope(t, func() {
			zerosOf(24) // the pieces have grown together again
			assert.Equal(t, freed.Held, tensor.Memory().Held)
		})
		tensor.ReleaseMemory()
		assert.Equal(t, start, tensor.MemoryUse{Used: tensor.Memory().Used, Held: tensor.Memory().Held, Most: start.Most})
	})
}

// Buffers of sizes that never fit one another's holes: what is held stays within the peak of what was in use.
func TestMemoryStaysWithinThePeak(t *testing.T) {
	tensortest.Run(t, func() {
		for round := range 12 {
			scope(t, func() {
				kept := zerosOf(5 + round)
				for i := range 8 {
					scope(t, func() { zerosOf(3*i + round) })
					at := tensor.Memory()
					assert.LessOrEqual(t, at.Held, at.Most+16*mib)
					assert.LessOrEqual(t, at.Used, at.Held)
				}
				assert.Zero(t, kept.Sum().Item(), "nobody wrote into a buffer that is in use")
			})
		}
	})
}

// Products of ever new numbers of rows, as batches have them, are not each remembered: in bf16 every one is a kernel of half a
// megabyte.
func TestMemoryOfKernels(t *testing.T) {
	tensortest.Run(t, func() {
		w := tensor.Randn(1, 512, 256).To(tensor.BFloat16)
		products := func(from, to int) {
			for n := from; n < to; n++ {
				scope(t, func() { tensor.Randn(2, n, 256).To(tensor.BFloat16).Linear(w, tensor.Tensor{}) })
			}
		}
		products(100, 150)
		before := resident(t)
		products(150, 350)
		assert.Less(t, resident(t)-before, int64(24*mib))
	})
}

// resident is the process's memory.
func resident(t *testing.T) int64 {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("the system does not tell: ", err)
	}
	var size, pages int64
	_, err = fmt.Sscan(string(raw), &size, &pages)
	require.NoError(t, err)
	return pages * int64(os.Getpagesize())
}

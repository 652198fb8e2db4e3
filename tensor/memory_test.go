package tensor_test

// The memory behind tensors: freed buffers serve again, nothing is held beyond the peak, and nothing is lost.

import (
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

package trainers

// Gradient checkpointing changes what is kept of a forward pass, and nothing of what is learned.

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGradientCheckpointingChangesNothing(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(jobs)) {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				twoSteps := func(checkpoint bool) (weights [][]float32) {
					trained.Checkpoint = checkpoint
					defer func() { trained.Checkpoint = false }()
					tr, opts := jobs[name](t, t.TempDir())
					u := NewUpdate(tr.Params(), opts)
					defer u.Close()
					for range 2 {
						_, err := tr.Step(context.Background(), u)
						require.NoError(t, err)
					}
					for _, p := range tr.Params() {
						weights = append(weights, p.Tensor.Float32s())
					}
					return weights
				}
				plain, checkpointed := twoSteps(false), twoSteps(true)
				for i := range plain {
					assert.InDeltaSlice(t, plain[i], checkpointed[i], 1e-4)
				}
			})
		})
	}
}

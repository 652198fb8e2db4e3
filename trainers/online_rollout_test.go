package trainers

// Log-probabilities of the policy that sampled: read while sampling, or by a pass of their own.

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/tensor"
)

// TestOldLogProbs: float32 keeps what the rollout noted, which is what a forward pass gives; another's completions and
// half precision are read anew.
func TestOldLogProbs(t *testing.T) {
	run(t, func() {
		ctx := context.Background()
		p := newPPO(t, tinyCast(t), tinyPPO(), nil)
		samples, err := p.sample(ctx, 0)
		require.NoError(t, err)
		want, err := completionLogProbs(ctx, p.cast.Policy, samples, 1, 0)
		require.NoError(t, err)
		for i := range samples {
			assert.InDeltaSlice(t, want[i], samples[i].LogProbs, 1e-5)
		}
		samples[0].LogProbs[0] = 5 // a mark
		require.NoError(t, p.oldLogProbs(ctx, samples))
		assert.Equal(t, 5.0, samples[0].LogProbs[0])
		samples[1].LogProbs = nil
		require.NoError(t, p.oldLogProbs(ctx, samples))
		assert.Equal(t, want[0], samples[0].LogProbs)
		assert.Equal(t, want[1], samples[1].LogProbs)

		half := tinyCast(t)
		half.Policy = loadModel(t, llamaDir, models.Options{DType: tensor.BFloat16, Device: tensor.CPU, Train: true})
		p = newPPO(t, half, tinyPPO(), nil)
		samples, err = p.sample(ctx, 0)
		require.NoError(t, err)
		samples[0].LogProbs[0] = 5
		require.NoError(t, p.oldLogProbs(ctx, samples))
		assert.Less(t, samples[0].LogProbs[0], 0.0)

		theirs, err := p.draw(ctx, half.Reference, tinyPrompts()[:2], 1, 0, rolloutStream)
		require.NoError(t, err)
		assert.Nil(t, theirs[0].LogProbs, "the reference's log-probabilities are not the policy's")
	})
}

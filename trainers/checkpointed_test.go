package trainers

// Gradient checkpointing changes what is kept of a forward pass, and nothing of what is learned.

import (
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOnlineGradientCheckpointingChangesNothing(t *testing.T) {
	for _, name := range onlineNames() {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				plain := take(t, name, 1, unchanged)
				trained.Checkpoint = true
				defer func() { trained.Checkpoint = false }()
				again := take(t, name, 1, unchanged)
				for _, k := range slices.Sorted(maps.Keys(plain.rows[0])) {
					v := plain.rows[0][k]
					assert.InDelta(t, v, again.rows[0][k], 1e-5*math.Max(1, math.Abs(v)), k)
				}
				for _, w := range slices.Sorted(maps.Keys(plain.policy)) {
					assert.InDeltaSlice(t, plain.policy[w], again.policy[w], 1e-4, w)
				}
			})
		})
	}
}

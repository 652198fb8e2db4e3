package trainers

// A long run takes no more memory than a short one.

import (
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

// residentMB returns the process's resident size after a collection.
func residentMB(t *testing.T) float64 {
	t.Helper()
	debug.FreeOSMemory()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc: the resident size cannot be read")
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(raw))[1], 64)
	require.NoError(t, err)
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

func TestPPODoesNotLeak(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		o.BatchSize, o.MicroBatchSize, o.MaxNewTokens, o.PPOEpochs, o.LearningRate = 4, 2, 6, 1, 1e-5
		o.ScoreAt = "after_eos"
		cast := tinyCast(t)
		cast.Watch = []Watched{{"start", cast.Reference}}
		p := newPPO(t, cast, o, nil)
		u := NewUpdate(p.Params(), &o.Common)
		defer u.Close()
		var handles int
		var resident float64
		for step := 1; step <= 200; step++ {
			_, err := p.Step(context.Background(), u)
			require.NoError(t, err)
			if step == 50 {
				handles, resident = tensor.Live(), residentMB(t)
			}
		}
		assert.Equal(t, handles, tensor.Live(), "tensor handles after 50 and after 200 steps")
		assert.Less(t, residentMB(t)-resident, 2.0, "MB that 150 steps have added to %g", resident)
	})
}

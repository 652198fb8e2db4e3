package gpu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/models"
	"salsa/tensor"
	"salsa/trainers"
)

var (
	device tensor.Device
	noGPU  error
)

func TestMain(m *testing.M) {
	device, noGPU = tensor.OpenDevice("cuda") // the first libtorch call of the process
	os.Exit(m.Run())
}

// onGPU runs fn with tensors, or skips with the reason why there is no GPU.
func onGPU(t *testing.T, fn func()) {
	t.Helper()
	if noGPU != nil {
		t.Skipf("no GPU: %v", noGPU)
	}
	require.NoError(t, tensor.Run(func() error { fn(); return nil }))
}

// cases are golden models of each kind of layer.
var cases = []string{"llama-gqa", "mistral-window", "gemma-mqa", "gemma2-softcap", "gemma3-local", "qwen3-qknorm"}

func dir(name string) string { return filepath.Join("..", "..", "models", "testdata", name) }

var rows = [][]int{{1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41}, {1, 6, 11}, {1, 7, 14, 21, 28, 35, 42}}

func load(t *testing.T, name string, dev tensor.Device, train bool) models.Model {
	t.Helper()
	m, err := models.Load(dir(name), models.Options{DType: tensor.Float32, Device: dev, Train: train})
	require.NoError(t, err)
	return m
}

func TestLogProbsAgreeWithCPU(t *testing.T) {
	onGPU(t, func() {
		for _, name := range cases {
			var out [2][]float64
			for i, dev := range []tensor.Device{tensor.CPU, device} {
				s := models.LogProbs(load(t, name, dev, false), models.Collate(rows), models.TargetsOf(rows, nil), 0.7)
				out[i] = append(s.LogP.Float64s(), s.Entropy.Float64s()...)
			}
			assert.InDeltaSlice(t, out[0], out[1], 1e-3, name)
		}
	})
}

func TestGreedyAgreesWithCPU(t *testing.T) {
	onGPU(t, func() {
		for _, name := range cases {
			var out [2][]models.Completion
			for i, dev := range []tensor.Device{tensor.CPU, device} {
				var err error
				out[i], err = models.Generate(context.Background(), load(t, name, dev, false), rows, models.GenOptions{MaxNewTokens: 16})
				require.NoError(t, err)
			}
			for r := range rows {
				assert.Equal(t, out[0][r].IDs, out[1][r].IDs, "%s, row %d", name, r)
			}
		}
	})
}

// TestTrainingAgreesWithCPU takes AdamW steps with clipping, accumulation and gradient checkpointing on both.
func TestTrainingAgreesWithCPU(t *testing.T) {
	onGPU(t, func() {
		var losses [2][]float64
		for i, dev := range []tensor.Device{tensor.CPU, device} {
			m := load(t, "llama-gqa", dev, true)
			opts := trainers.DefaultSFT()
			opts.MicroBatchSize, opts.BatchSize = 2, len(rows)
			var examples []data.Example
			for _, ids := range rows {
				mask := make([]bool, len(ids))
				for t := 1; t < len(ids); t++ {
					mask[t] = true
				}
				examples = append(examples, data.Example{IDs: ids, Mask: mask})
			}
			s, err := trainers.NewSFT(m, examples, nil, opts, 0, nil)
			require.NoError(t, err)
			u := trainers.NewUpdate(s.Params(), &opts.Common)
			u.LR = 1e-3
			for range 5 {
				scalars, err := s.Update(u, examples)
				require.NoError(t, err)
				losses[i] = append(losses[i], scalars["loss"], scalars["grad_norm"])
			}
			u.Close()
		}
		assert.InDeltaSlice(t, losses[0], losses[1], 2e-3, fmt.Sprint(losses))
	})
}

// TestBFloat16 runs the half-precision path, whose kernels differ most from the CPU's.
func TestBFloat16(t *testing.T) {
	onGPU(t, func() {
		full := load(t, "llama-gqa", device, false)
		half, err := models.Load(dir("llama-gqa"), models.Options{DType: tensor.BFloat16, Device: device})
		require.NoError(t, err)
		in, at := models.Collate(rows), models.TargetsOf(rows, nil)
		a, b := models.LogProbs(full, in, at, 1).LogP, models.LogProbs(half, in, at, 1).LogP
		assert.Less(t, a.Sub(b).Abs().Mean().Item(), 0.2)
	})
}

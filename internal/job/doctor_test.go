package job

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/fault"
	"salsa/tensor"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDoctorFindsThisMachineSound(t *testing.T) {
	o := DefaultDoctor()
	o.Device, o.Version = "cpu", "v9"
	d, err := Doctor(context.Background(), &o)
	require.NoError(t, err)
	assert.Equal(t, "v9", d.Salsa)
	assert.NotEmpty(t, d.Machine.CPU)
	assert.Positive(t, d.Machine.FreeMemory)
	assert.LessOrEqual(t, d.Machine.FreeMemory, d.Machine.Memory)
	assert.Positive(t, d.Machine.FreeDisk)
	assert.Positive(t, d.Threads)
	assert.NotEqual(t, d.CUDA > 0, d.CUDAReason != "", "either devices or the reason why there are none")
	assert.Len(t, d.DTypes, 4)
	require.Len(t, d.Tests, 4)
	for _, test := range d.Tests {
		assert.Positive(t, test.Deviation, "%s: float32 cannot equal float64 everywhere", test.Name)
		assert.Less(t, test.Millis, 2000.0, test.Name)
	}
	var b strings.Builder
	require.NoError(t, d.WriteText(&b))
	for _, want := range []string{"libtorch ", d.Libtorch, "free at", "tested on", "bfloat16", "sliding-window attention  ok", "AdamW "} {
		assert.Contains(t, b.String(), want)
	}
}

// TestDoctorNoticesFailures: a test that is off, one that is not finite and one that breaks all fail, with exit code 1.
func TestDoctorNoticesFailures(t *testing.T) {
	var list []SelfTest
	require.NoError(t, tensor.Run(func() error {
		list = runSelfTests([]selfTest{
			{"fine", 1, func(tensor.Device) float64 { return 0.5 }},
			{"off", 1, func(tensor.Device) float64 { return 1.5 }},
			{"not finite", 1, func(dev tensor.Device) float64 {
				return apart(tensor.Full(math.NaN(), tensor.Float32, dev, 1), []float64{1})
			}},
			{"broken", 1, func(dev tensor.Device) float64 {
				tensor.Zeros(tensor.Float32, dev, 2).Add(tensor.Zeros(tensor.Float32, dev, 3))
				return 0
			}},
		}, tensor.CPU)
		return nil
	}))
	for i, ok := range []bool{true, false, false, false} {
		assert.Equal(t, ok, list[i].OK, list[i].Name)
	}
	assert.NotEmpty(t, list[3].Error)
	d := &Diagnosis{Device: "cpu", Libtorch: "2", Tests: list, DTypes: []DTypeCheck{{DType: "float16", Error: "no"}}}
	err := d.verdict()
	assert.ErrorContains(t, err, "4 self-tests failed on cpu: float16, off, not finite, broken; ")
	assert.Equal(t, fault.ExitFailed, fault.ExitCode(err))
	var b strings.Builder
	require.NoError(t, d.WriteText(&b))
	assert.Contains(t, b.String(), "FAILED: no\n")
}

func TestMemoryOfAContainer(t *testing.T) {
	root := t.TempDir()
	limit, _ := cgroupMemory(root)
	assert.Zero(t, limit)
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	write("memory.max", "max\n")
	limit, _ = cgroupMemory(root)
	assert.Zero(t, limit)
	write("memory/memory.limit_in_bytes", "2000\n")
	write("memory/memory.usage_in_bytes", "500\n")
	limit, used := cgroupMemory(root)
	assert.Equal(t, [2]int64{2000, 500}, [2]int64{limit, used})
	write("memory.max", "1000\n")
	write("memory.current", "300\n")
	limit, used = cgroupMemory(root)
	assert.Equal(t, [2]int64{1000, 300}, [2]int64{limit, used})
}

package tensor_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

func TestWhatLibtorchSaysOfItself(t *testing.T) {
	assert.Regexp(t, `^\d+\.\d+\.\d+`, tensor.LibtorchVersion())
	capability, err := tensor.CPUCapability()
	require.NoError(t, err)
	assert.Contains(t, []string{"DEFAULT", "AVX2", "AVX512", "NO AVX"}, capability)
}

func TestProbeCUDANamesTheReason(t *testing.T) {
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		t.Skip("this machine has an NVIDIA driver")
	}
	n, err := tensor.ProbeCUDA()
	assert.Zero(t, n)
	assert.ErrorContains(t, err, "no NVIDIA driver")
	assert.ErrorContains(t, err, "/dev/nvidiactl")
}

package tensor_test

import (
	"os"
	"path/filepath"
	"runtime"
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

func TestKernelsRunOnEveryThread(t *testing.T) {
	runtime.LockOSThread() // the number of threads is the OS thread's own
	defer runtime.UnlockOSThread()
	before := tensor.Threads()
	defer tensor.SetThreads(before)
	for _, n := range []int{1, 2, 3} {
		tensor.SetThreads(n)
		assert.Equal(t, n, tensor.KernelThreads())
	}
}

// at::parallel_for runs on one thread in code that is compiled without OpenMP, and nothing says so.
func TestNoKernelIsLeftOnOneThread(t *testing.T) {
	files, err := filepath.Glob("native/*.[hc]pp")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.NotContains(t, string(source), "at::parallel_for(", "%s: use sn::parallel_for", file)
	}
}

package tensor

// CPU and CUDA from one binary: libtorch_cuda is opened at run time, when it is asked for.

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"salsa/internal/fault"
	"salsa/tensor/native"
)

// Device is where a tensor's elements are: CPU, or the CUDA device of that index (gotch's numbering).
type Device int

// CPU is the host.
const CPU Device = -1

// String returns the device as --device takes it.
func (d Device) String() string {
	if d == CPU {
		return "cpu"
	}
	return fmt.Sprintf("cuda:%d", int(d))
}

// cudaTried keeps libtorch_cuda from being loaded twice; cudaErr is what came of the first time.
var (
	cudaTried bool
	cudaErr   error
)

// OpenDevice resolves auto|cpu|cuda[:N]. It must be the first libtorch call of the process: libtorch caches
// the absence of CUDA for good once asked. auto takes the first GPU when the machine has a driver and the
// libraries, and the CPU otherwise; cuda fails with one line when there is none. SALSA_GEMM, if set, chooses the
// kernels of the CPU's matrix products.
func OpenDevice(name string) (Device, error) {
	if err := gemmFromEnvironment(); err != nil {
		return CPU, err
	}
	if name == "cpu" {
		return CPU, nil
	}
	kind, index, _ := strings.Cut(name, ":")
	n := 0
	if index != "" {
		var err error
		if n, err = strconv.Atoi(index); err != nil || n < 0 {
			return CPU, fault.Inputf("--device %s: want auto, cpu, cuda or cuda:N", name)
		}
	}
	switch {
	case name == "auto":
		// Loading 400 MB of CUDA libraries takes time: look for a driver first.
		if _, err := os.Stat("/dev/nvidiactl"); err != nil {
			return CPU, nil
		}
	case kind != "cuda":
		return CPU, fault.Inputf("--device %s: want auto, cpu, cuda or cuda:N", name)
	}
	count, err := openCUDA()
	switch {
	case err != nil && name == "auto":
		fmt.Fprintf(os.Stderr, "salsa: no CUDA (%v); using the CPU\n", err)
		return CPU, nil
	case err != nil:
		return CPU, fault.Inputf("--device %s: %v; use --device cpu, or install the NVIDIA driver and fetch the CUDA libraries with `make cuda`", name, err)
	case n >= count:
		return CPU, fault.Inputf("--device %s: this machine has %d CUDA device(s)", name, count)
	}
	return Device(n), nil
}

// openCUDA loads libtorch_cuda and counts devices; no device is an error.
func openCUDA() (int, error) {
	if !cudaTried {
		cudaTried, cudaErr = true, native.OpenCUDA()
	}
	if cudaErr != nil {
		return 0, cudaErr
	}
	count, err := native.CUDACount()
	if err != nil {
		return 0, err
	}
	if count == 0 {
		return 0, fmt.Errorf("no usable NVIDIA GPU or driver found")
	}
	return count, nil
}

// SetThreads sets how many CPU threads an op may use; call it on the compute goroutine.
func SetThreads(n int) { native.SetThreads(n) }

// Threads returns how many CPU threads an op may use.
func Threads() int { return native.Threads() }

// KernelThreads returns how many CPU threads a kernel of salsa's own ran on just now; fewer than Threads where it could
// not find libtorch's.
func KernelThreads() int { return native.KernelThreads() }

// LibtorchVersion returns the version of libtorch, such as "2.11.0".
func LibtorchVersion() string { return native.TorchVersion() }

// CPUCapability returns the vector instructions that libtorch's CPU kernels use here, such as "AVX512".
func CPUCapability() (string, error) { return native.CPUCapability() }

// ProbeCUDA counts the usable CUDA devices; the error is the exact reason why there is none. Like OpenDevice it
// must come before the process's first other libtorch call. It does not load the CUDA libraries when there is no
// driver.
func ProbeCUDA() (int, error) {
	if _, err := os.Stat("/dev/nvidiactl"); err != nil {
		return 0, fmt.Errorf("no NVIDIA driver: %w", err)
	}
	return openCUDA()
}

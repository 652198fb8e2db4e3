// Package gpu holds the tests that need a CUDA device: the same networks on the GPU and on the CPU must agree. They are
// apart from the others because libtorch_cuda must be opened before anything else asks libtorch about devices.
package gpu

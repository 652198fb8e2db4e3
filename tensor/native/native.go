// Package native is salsa's own C++ beside gotch: the libtorch calls that gotch's generated layer lacks.
//
// Handles are libtch.Ctensor, as in gotch. Every call returns the C++ error as a Go error, so no
// thread-local state is involved. Package tensor wraps all of this; nothing else should import it.
package native

/*
#cgo CXXFLAGS: -std=c++17 -O2 -fno-math-errno -Wall -Wno-psabi -Wno-deprecated-declarations
#cgo LDFLAGS: -lstdc++ -ldl
#include <stdlib.h>
#include "native.h"
*/
import "C"

import (
	"errors"
	"runtime"
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

func init() { C.sn_init() }

// check turns a malloc'd message into an error.
func check(msg *C.char) error {
	if msg == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(msg))
	return errors.New(C.GoString(msg))
}

func handle(t libtch.Ctensor) C.sn_tensor { return C.sn_tensor(unsafe.Pointer(t)) }

func tensorOf(h C.sn_tensor) libtch.Ctensor { return libtch.Ctensor(unsafe.Pointer(h)) }

// handles gives the C view of a list; the list must not be empty.
func handles(ts []libtch.Ctensor) *C.sn_tensor { return (*C.sn_tensor)(unsafe.Pointer(&ts[0])) }

func dims(shape []int64) *C.int64_t {
	if len(shape) == 0 {
		return nil
	}
	return (*C.int64_t)(unsafe.Pointer(&shape[0]))
}

func flag(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// FromData copies the memory at data into a new CPU tensor of the given shape and scalar type.
func FromData(data unsafe.Pointer, shape []int64, dtype int) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_from_data(&out, data, dims(shape), C.int(len(shape)), C.int(dtype)))
	return tensorOf(out), err
}

// CopyOut copies t's elements, in row-major order and t's scalar type, to dst, which must hold exactly
// that many bytes.
func CopyOut(t libtch.Ctensor, dst unsafe.Pointer, bytes int) error {
	return check(C.sn_copy_out(handle(t), dst, C.size_t(bytes)))
}

// Randn draws a standard normal tensor as a function of the seed alone.
func Randn(shape []int64, seed uint64, dtype int) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_randn(&out, dims(shape), C.int(len(shape)), C.uint64_t(seed), C.int(dtype)))
	return tensorOf(out), err
}

// Map is a file in memory, private to this process. Tensors made from it keep the pages alive.
type Map struct{ p unsafe.Pointer }

// OpenMap maps the file at path.
func OpenMap(path string) (*Map, error) {
	cs := C.CString(path)
	defer C.free(unsafe.Pointer(cs))
	var p unsafe.Pointer
	if err := check(C.sn_map_open(&p, cs)); err != nil {
		return nil, err
	}
	return &Map{p}, nil
}

// Tensor views shape elements of dtype at the byte offset, without a copy.
func (m *Map) Tensor(offset int64, shape []int64, dtype int) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_map_tensor(&out, m.p, C.int64_t(offset), dims(shape), C.int(len(shape)), C.int(dtype)))
	return tensorOf(out), err
}

// Close drops the map's own hold on the pages.
func (m *Map) Close() {
	C.sn_map_close(m.p)
	m.p = nil
}

// OpenCUDA loads libtorch_cuda into the process. It must run before anything asks libtorch whether
// CUDA is there, seeds a generator or runs a backward pass: those cache the empty CUDA hooks for good.
func OpenCUDA() error { return check(C.sn_cuda_open()) }

// CUDACount returns the number of usable CUDA devices.
func CUDACount() (int, error) {
	var n C.int
	err := check(C.sn_cuda_count(&n))
	return int(n), err
}

// SetThreads sets the size of libtorch's CPU thread team for the calling OS thread.
func SetThreads(n int) { C.sn_set_threads(C.int(n)) }

// Threads returns the size of libtorch's CPU thread team.
func Threads() int { return int(C.sn_get_threads()) }

// KernelThreads returns how many threads a kernel of this package ran on just now: Threads, unless libtorch's team could
// not be found.
func KernelThreads() int { return int(C.sn_kernel_threads()) }

// TorchVersion returns the version of libtorch that this program was built against.
func TorchVersion() string { return C.GoString(C.sn_torch_version()) }

// CPUCapability returns the vector instructions that libtorch's kernels use here, such as "AVX512".
func CPUCapability() (string, error) {
	var out *C.char
	if err := check(C.sn_cpu_capability(&out)); err != nil {
		return "", err
	}
	defer C.free(unsafe.Pointer(out))
	return C.GoString(out), nil
}

// GEMM kernels, for ChooseGEMM.
const (
	GEMMAuto = iota // AVX-512 where the processor has it
	GEMMMKL         // what MKL takes by itself
	GEMMAVX512
)

// ChooseGEMM sets the kernels of matrix products; once MKL has been used it has no effect (GEMMAsked).
func ChooseGEMM(choice int) { C.sn_gemm_choose(C.int(choice)) }

// GEMMAsked tells whether MKL has chosen its kernels.
func GEMMAsked() bool { return C.sn_gemm_asked() != 0 }

// GEMMWide tells whether products use, or will use, MKL's AVX-512 kernels.
func GEMMWide() bool { return C.sn_gemm_wide() != 0 }

// HasAVX512 tells whether the processor has the instructions that they need.
func HasAVX512() bool { return C.sn_gemm_avx512() != 0 }

// Whose kernels compute products, for ChooseOwnGEMM.
const (
	OwnAuto = iota // ours where they are best on the processor
	OwnNone        // libtorch's
	OwnAll
)

// ChooseOwnGEMM sets whose kernels compute products in bf16, if half, or in fp32: OwnAuto, OwnNone or OwnAll.
func ChooseOwnGEMM(half bool, choice int) { C.sn_gemm_own_choose(flag(half), C.int(choice)) }

// OwnGEMM tells whether our kernels compute products in bf16, if half, or in fp32.
func OwnGEMM(half bool) bool { return C.sn_gemm_own(flag(half)) != 0 }

// OwnGEMMBits is how wide the vectors of those kernels are, 256 or 512 bits, and 0 where the processor has no instructions for them.
func OwnGEMMBits(half bool) int { return int(C.sn_gemm_own_has(flag(half))) }

// Memory returns the bytes of large CPU buffers that are in use and held, and the most that was in use.
func Memory() (used, held, most int64) {
	var u, h, m C.int64_t
	C.sn_memory(&u, &h, &m)
	return int64(u), int64(h), int64(m)
}

// ReleaseMemory gives buffers that are held and not in use back to the system.
func ReleaseMemory() { C.sn_memory_release() }

// Backward accumulates gradients of ys into the leaves, given the gradients with respect to ys; a nil
// entry stands for the implicit 1 of a scalar.
func Backward(ys, grads []libtch.Ctensor) error {
	return check(C.sn_backward(handles(ys), handles(grads), C.int(len(ys))))
}

// ZeroGrads drops the gradients of params.
func ZeroGrads(params []libtch.Ctensor) error {
	if len(params) == 0 {
		return nil
	}
	return check(C.sn_zero_grads(handles(params), C.int(len(params))))
}

// Attention is scaled dot-product attention; mask may be nil, gqa lets q have more heads than k and v.
func Attention(q, k, v, mask libtch.Ctensor, causal bool, scale float64, gqa bool) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_sdpa(&out, handle(q), handle(k), handle(v), handle(mask), flag(causal), C.double(scale), flag(gqa)))
	return tensorOf(out), err
}

// AttentionRows is attention over the rows of a line, which slots, starts, own and trees lay out; window and softcap of
// 0 are none.
func AttentionRows(q, k, v libtch.Ctensor, rows [4]libtch.Ctensor, window int, scale, softcap float64) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_attention_rows(&out, handle(q), handle(k), handle(v), handles(rows[:]), C.int64_t(window), C.double(scale), C.double(softcap)))
	return tensorOf(out), err
}

// Linear is x w^T, plus b where it is not nil.
func Linear(x, w, b libtch.Ctensor) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_linear(&out, handle(x), handle(w), handle(b)))
	return tensorOf(out), err
}

// RMSNorm normalises the last axis; plusOne multiplies by 1 + w as Gemma does.
func RMSNorm(x, w libtch.Ctensor, eps float64, plusOne bool) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_rms_norm(&out, handle(x), handle(w), C.double(eps), flag(plusOne)))
	return tensorOf(out), err
}

// NormedLinears maps the normalised x by each of the weights, and adds the biases, of which there are as many or none.
func NormedLinears(x, gain libtch.Ctensor, weights, biases []libtch.Ctensor, eps float64, plusOne bool) ([]libtch.Ctensor, error) {
	out := make([]libtch.Ctensor, len(weights))
	var b *C.sn_tensor
	if len(biases) > 0 {
		b = handles(biases)
	}
	err := check(C.sn_normed_linears(handles(out), handle(x), handle(gain), handles(weights), b, C.int(len(weights)), C.double(eps), flag(plusOne)))
	return out, err
}

// Rope rotates the half-split pairs of x's last axis by the given cosines and sines.
func Rope(x, cos, sin libtch.Ctensor) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_rope(&out, handle(x), handle(cos), handle(sin)))
	return tensorOf(out), err
}

// Gate is act(gate)·up; act is 0 for silu, 1 for gelu with erf, 2 for gelu with tanh.
func Gate(gate, up libtch.Ctensor, act int) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_gate(&out, handle(gate), handle(up), C.int(act)))
	return tensorOf(out), err
}

// GatedLinear is Gate times w^T, plus b where it is not nil.
func GatedLinear(gate, up, w, b libtch.Ctensor, act int) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_gated_linear(&out, handle(gate), handle(up), handle(w), handle(b), C.int(act)))
	return tensorOf(out), err
}

// Lincomb overwrites dst with the weighted sum of src, each element summed in float64 and rounded once.
func Lincomb(dst libtch.Ctensor, src []libtch.Ctensor, weights []float64) error {
	return check(C.sn_lincomb(handle(dst), handles(src), (*C.double)(unsafe.Pointer(&weights[0])), C.int(len(src))))
}

// Sample draws one token per row of logits [B, V] with the uniforms u, len(u) = B. It returns ids [B] and
// their log-probabilities [B] under the unfiltered soft-max at this temperature.
func Sample(logits libtch.Ctensor, u []float64, temperature float64, topK int, topP, minP float64) (ids, logp libtch.Ctensor, err error) {
	var out [2]C.sn_tensor
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&u[0])
	err = check(C.sn_sample(&out[0], handle(logits), (*C.double)(unsafe.Pointer(&u[0])), C.double(temperature),
		C.int64_t(topK), C.double(topP), C.double(minP)))
	return tensorOf(out[0]), tensorOf(out[1]), err
}

package native

// Go's side of mix.h: stretches of weights in Go's memory, mixed by any number of goroutines at once.

/*
#include "mix.h"
#include "native.h"
*/
import "C"

import (
	"runtime"
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

// MixLincomb writes Σ weights[k]·src[k] into dst. Types are scalar types; every slice holds n elements.
func MixLincomb(dst []byte, dtype int, src [][]byte, types []int32, weights []float64, n int) {
	if n == 0 || len(src) == 0 {
		return
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	at := make([]unsafe.Pointer, len(src))
	for k := range src {
		at[k] = unsafe.Pointer(&src[k][0])
		pin.Pin(at[k])
	}
	C.sn_mix_lincomb(unsafe.Pointer(&dst[0]), C.int(dtype), &at[0], (*C.int)(unsafe.Pointer(&types[0])),
		doubles(weights), C.int(len(src)), C.int64_t(n))
}

// MixWiden writes src - base, or src where base is nil, into dst.
func MixWiden(dst []float64, src []byte, dtype int, base []float64) {
	if len(dst) == 0 {
		return
	}
	var b *C.double
	if base != nil {
		b = doubles(base)
	}
	C.sn_mix_widen(doubles(dst), unsafe.Pointer(&src[0]), C.int(dtype), b, C.int64_t(len(dst)))
}

// MixFinite tells whether all n elements of x are finite.
func MixFinite(x []byte, dtype, n int) bool {
	return n == 0 || C.sn_mix_finite(unsafe.Pointer(&x[0]), C.int(dtype), C.int64_t(n)) != 0
}

// MixDot is Σ a·b, summed in four lanes.
func MixDot(a, b []float64) float64 {
	if len(a) == 0 {
		return 0
	}
	return float64(C.sn_mix_dot(doubles(a), doubles(b), C.int64_t(len(a))))
}

// MixNarrow rounds x to a type.
func MixNarrow(dst []byte, dtype int, x []float64) {
	if len(x) > 0 {
		C.sn_mix_narrow(unsafe.Pointer(&dst[0]), C.int(dtype), doubles(x), C.int64_t(len(x)))
	}
}

// MixConsensus adds lambda times the consensus of task vectors to dst; how is as in mix.h.
func MixConsensus(dst []float64, tau [][]float64, weights []float64, how int, lambda float64) {
	if len(dst) == 0 {
		return
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	at := make([]*C.double, len(tau))
	for k := range tau {
		at[k] = doubles(tau[k])
		pin.Pin(at[k])
	}
	C.sn_mix_consensus(doubles(dst), &at[0], doubles(weights), C.int(len(tau)), C.int(how), C.double(lambda), C.int64_t(len(dst)))
}

// MixFold adds a product of two matrices to a stretch; see mix.h.
func MixFold(dst, src []byte, dtype int, b, a []float32, rank, cols int, scale float64, at, n int) {
	if n > 0 {
		C.sn_mix_fold(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), C.int(dtype), (*C.float)(unsafe.Pointer(&b[0])),
			(*C.float)(unsafe.Pointer(&a[0])), C.int(rank), C.int64_t(cols), C.float(scale), C.int64_t(at), C.int64_t(n))
	}
}

// MixCount counts magnitudes; see mix.h.
func MixCount(counts []int, tau []float64, high int) {
	if len(tau) > 0 {
		C.sn_mix_count((*C.int64_t)(unsafe.Pointer(&counts[0])), doubles(tau), C.int64_t(high), C.int64_t(len(tau)))
	}
}

// MixEquals is how many entries have a magnitude.
func MixEquals(tau []float64, least uint32) int {
	if len(tau) == 0 {
		return 0
	}
	return int(C.sn_mix_equals(doubles(tau), C.uint32_t(least), C.int64_t(len(tau))))
}

// MixTrim clears what lies below a magnitude; see mix.h.
func MixTrim(tau []float64, least uint32, equals int) {
	if len(tau) > 0 {
		C.sn_mix_trim(doubles(tau), C.uint32_t(least), C.int64_t(equals), C.int64_t(len(tau)))
	}
}

// MixDrop clears entries at random and scales the others; see mix.h.
func MixDrop(tau []float64, stream uint64, at int, below uint64, gain float64) {
	if len(tau) > 0 {
		C.sn_mix_drop(doubles(tau), C.uint64_t(stream), C.int64_t(at), C.uint64_t(below), C.double(gain), C.int64_t(len(tau)))
	}
}

// doubles gives C's view of a slice that is not empty.
func doubles(x []float64) *C.double { return (*C.double)(unsafe.Pointer(&x[0])) }

// AllFinite tells whether all elements of a float tensor are finite.
func AllFinite(t libtch.Ctensor) (bool, error) {
	var yes C.int
	err := check(C.sn_all_finite(handle(t), &yes))
	return yes != 0, err
}

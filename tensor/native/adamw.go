package native

// Go's side of adamw.hpp.

/*
#include "native.h"
*/
import "C"

import (
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

// Hyper are the settings of an AdamW step.
type Hyper struct{ LR, Beta1, Beta2, WeightDecay, Eps float64 }

// AdamW takes one step with our kernels on parameters on the CPU that have a gradient, of which it takes clip times. all
// holds of each parameter its handle and those of its moments, its fp32 scalar step count, and the low half of a bf16
// parameter's float32 value, nil for fp32.
func AdamW(all []libtch.Ctensor, h Hyper, clip float64) error {
	const each = int(unsafe.Sizeof(C.sn_adamw_state{}) / unsafe.Sizeof(all[0]))
	return check(C.sn_adamw((*C.sn_adamw_state)(unsafe.Pointer(&all[0])), C.int(len(all)/each),
		C.double(h.LR), C.double(h.Beta1), C.double(h.Beta2), C.double(h.WeightDecay), C.double(h.Eps), C.double(clip)))
}

// FusedAdamW is libtorch's step, on any device.
func FusedAdamW(params, grads, m, v, steps []libtch.Ctensor, h Hyper) error {
	return check(C.sn_fused_adamw(handles(params), handles(grads), handles(m), handles(v), handles(steps), C.int(len(params)),
		C.double(h.LR), C.double(h.Beta1), C.double(h.Beta2), C.double(h.WeightDecay), C.double(h.Eps)))
}

// GradNorm returns the global L2 norm of the gradients of params.
func GradNorm(params []libtch.Ctensor) (float64, error) {
	var total C.double
	err := check(C.sn_grad_norm(handles(params), C.int(len(params)), &total))
	return float64(total), err
}

// ScaleGrads multiplies the gradients of params by factor.
func ScaleGrads(params []libtch.Ctensor, factor float64) error {
	return check(C.sn_scale_grads(handles(params), C.int(len(params)), C.double(factor)))
}

// JoinMaster writes the float32 values of w into master, which holds 4 bytes for each.
func JoinMaster(master unsafe.Pointer, w, rest, v libtch.Ctensor) error {
	return check(C.sn_master_join(master, handle(w), handle(rest), handle(v)))
}

// SplitMaster is the way back.
func SplitMaster(master unsafe.Pointer, w, rest, v libtch.Ctensor) error {
	return check(C.sn_master_split(master, handle(w), handle(rest), handle(v)))
}

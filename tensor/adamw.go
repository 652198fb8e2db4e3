package tensor

// The optimizer's step: the norm of all gradients, AdamW on the CPU and on other devices, and the float32 value of a
// weight that is stored in bf16.

import (
	"unsafe"

	"github.com/sugarme/gotch/libtch"

	"salsa/tensor/native"
)

// AdamWHyper are the settings of one AdamW step.
type AdamWHyper = native.Hyper

// GradNorm returns the global L2 norm of the gradients of params, those that have one. On the CPU it is summed in float64
// and is the same for any number of threads; elsewhere libtorch sums in float32.
func GradNorm(params []Tensor) float64 {
	if len(params) == 0 {
		return 0
	}
	total, err := native.GradNorm(handles("grad norm", params))
	if err != nil {
		panic(opError("grad norm", err.Error(), nil))
	}
	return total
}

// ScaleGrads multiplies the gradients of params, those that have one, by factor, which libtorch rounds to their type first.
func ScaleGrads(params []Tensor, factor float64) {
	if len(params) == 0 {
		return
	}
	if err := native.ScaleGrads(handles("scale grads", params), factor); err != nil {
		panic(opError("scale grads", err.Error(), nil))
	}
}

// FusedAdamWStep updates params in place from grads with moments m and v and fp32 scalar step counts, one of each per
// parameter (Loshchilov & Hutter, arXiv 1711.05101), by libtorch's kernel, which works on any device and wants one type.
func FusedAdamWStep(params, grads, m, v, steps []Tensor, h AdamWHyper) {
	if len(params) == 0 {
		return
	}
	const op = "fused adamw"
	err := native.FusedAdamW(handles(op, params), handles(op, grads), handles(op, m), handles(op, v), handles(op, steps), h)
	if err != nil {
		panic(opError(op, err.Error(), nil))
	}
}

// AdamWState is what the step on the CPU keeps of a parameter: moments of the parameter's shape and a scalar step count
// in fp32. For a parameter in bf16, Rest is the low half of its float32 value in int16, of which the parameter is always
// the nearest bf16, ties to even; and the signs of V, whose numbers are not negative, say of those ties which way they
// went. Rest is absent for a parameter in fp32.
type AdamWState struct{ Param, M, V, Step, Rest Tensor }

// AdamWStep updates the parameters on the CPU that have a gradient, which it multiplies by clip in float32 as it reads it.
// Otherwise it is FusedAdamWStep on float32 values, in the same arithmetic, and gives the same bits for any number of
// threads. All tensors, small ones too, are the work of one call.
func AdamWStep(states []AdamWState, h AdamWHyper, clip float64) {
	if len(states) == 0 {
		return
	}
	const op = "adamw"
	for i := range states {
		s := &states[i]
		s.Param.must(op)
		s.M.must(op)
		s.V.must(op)
		s.Step.must(op)
	}
	// A state is five handles in the order of native's.
	all := unsafe.Slice((*libtch.Ctensor)(unsafe.Pointer(&states[0])), len(states)*int(unsafe.Sizeof(states[0])/unsafe.Sizeof(Tensor{})))
	if err := native.AdamW(all, h, clip); err != nil {
		panic(opError(op, err.Error(), nil))
	}
}

// Master returns the float32 values of a bf16 parameter, as little-endian bytes.
func (s AdamWState) Master() []byte {
	data := make([]byte, 4*s.Param.Numel())
	err := native.JoinMaster(unsafe.Pointer(unsafe.SliceData(data)), s.Param.must("master"), s.Rest.must("master"), s.V.must("master"))
	if err != nil {
		panic(opError("master", err.Error(), []Tensor{s.Param, s.Rest, s.V}))
	}
	return data
}

// SetMaster gives a bf16 parameter float32 values, of which it becomes the rounded copy; V keeps its numbers.
func (s AdamWState) SetMaster(data []byte) {
	if len(data) != 4*s.Param.Numel() {
		panic(opError("set master", "4 bytes for each number are expected", []Tensor{s.Param}))
	}
	err := native.SplitMaster(unsafe.Pointer(unsafe.SliceData(data)), s.Param.must("set master"), s.Rest.must("set master"), s.V.must("set master"))
	if err != nil {
		panic(opError("set master", err.Error(), []Tensor{s.Param, s.Rest, s.V}))
	}
}

// SecondMoment returns V's numbers, as little-endian bytes.
func (s AdamWState) SecondMoment() []byte {
	data := s.V.Bytes()
	for i := 3; i < len(data); i += 4 {
		data[i] &= 0x7f // the sign is the master's
	}
	return data
}

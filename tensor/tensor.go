package tensor

// The handle, its error type and what can be asked of a tensor without computing.

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

/*
#include <stdlib.h>
*/
import "C"

// Tensor is a handle to a libtorch tensor: 8 bytes, comparable, copied freely. The zero value means
// "absent" and may be passed only where a parameter is documented as optional.
type Tensor struct{ c libtch.Ctensor }

// Error says which op refused which shapes, and why. Ops panic with *Error; Scope returns it.
type Error struct {
	Op     string
	Shapes [][]int
	Msg    string
}

// Error returns one line.
func (e *Error) Error() string {
	if len(e.Shapes) == 0 {
		return fmt.Sprintf("tensor: %s: %s", e.Op, e.Msg)
	}
	shapes := make([]string, len(e.Shapes))
	for i, s := range e.Shapes {
		shapes[i] = fmt.Sprint(s)
	}
	return fmt.Sprintf("tensor: %s of %s: %s", e.Op, strings.Join(shapes, " and "), e.Msg)
}

// DType is an element type, with libtorch's numbering.
type DType int

// Element types that models and trainers use.
const (
	Uint8    DType = 0
	Int16    DType = 2
	Int32    DType = 3
	Int64    DType = 4
	Float16  DType = 5
	Float32  DType = 6
	Float64  DType = 7
	Bool     DType = 11
	BFloat16 DType = 15
)

var dtypeNames = map[DType]string{
	Uint8: "uint8", Int16: "int16", Int32: "int32", Int64: "int64", Float16: "float16", Float32: "float32",
	Float64: "float64", Bool: "bool", BFloat16: "bfloat16",
}

var dtypeSizes = map[DType]int{
	Uint8: 1, Int16: 2, Int32: 4, Int64: 8, Float16: 2, Float32: 4, Float64: 8, Bool: 1, BFloat16: 2,
}

// String returns the name that PyTorch uses.
func (d DType) String() string {
	if name, ok := dtypeNames[d]; ok {
		return name
	}
	return fmt.Sprintf("dtype(%d)", int(d))
}

// Size returns the bytes per element.
func (d DType) Size() int { return dtypeSizes[d] }

// IsFloat tells whether d is a floating-point type.
func (d DType) IsFloat() bool {
	return d == Float16 || d == Float32 || d == Float64 || d == BFloat16
}

// ParseDType reads a name as config.json and --dtype write it.
func ParseDType(name string) (DType, error) {
	switch name {
	case "float32", "fp32":
		return Float32, nil
	case "bfloat16", "bf16":
		return BFloat16, nil
	case "float16", "fp16":
		return Float16, nil
	}
	return 0, fmt.Errorf("dtype %q is not one of float32, bfloat16, float16", name)
}

// Defined tells whether t holds a tensor.
func (t Tensor) Defined() bool { return t.c != nil }

// Shape returns the sizes of the axes; a scalar has none.
func (t Tensor) Shape() []int {
	if t.c == nil {
		return nil
	}
	var dims [16]int64
	n := int(libtch.AtDim(t.c))
	if n > len(dims) {
		panic(&Error{Op: "shape", Msg: fmt.Sprintf("%d axes are more than %d", n, len(dims))})
	}
	libtch.AtShape(t.c, unsafe.Pointer(&dims[0]))
	shape := make([]int, n)
	for i := range shape {
		shape[i] = int(dims[i])
	}
	return shape
}

// Dim returns the size of axis i; negative i counts from the last axis.
func (t Tensor) Dim(i int) int {
	shape := t.Shape()
	if i < 0 {
		i += len(shape)
	}
	if i < 0 || i >= len(shape) {
		panic(&Error{Op: "dim", Shapes: [][]int{shape}, Msg: fmt.Sprintf("no axis %d", i)})
	}
	return shape[i]
}

// Numel returns the number of elements.
func (t Tensor) Numel() int {
	n := 1
	for _, d := range t.Shape() {
		n *= d
	}
	return n
}

// DType returns the element type.
func (t Tensor) DType() DType { return DType(libtch.AtScalarType(t.must("dtype"))) }

// Device returns where the elements are.
//
// gotch reads the four bytes of the answer as eight; the lower four are right.
func (t Tensor) Device() Device { return Device(int32(libtch.AtDevice(t.must("device")))) }

// must returns the handle and panics if t is absent: libtorch would crash the process instead.
func (t Tensor) must(op string) libtch.Ctensor {
	if t.c == nil {
		panic(&Error{Op: op, Msg: "an operand is absent"})
	}
	return t.c
}

// out receives the handles that an op returns. It is C memory shared by all ops: a local would escape to the
// heap at every cgo call, and cgo refuses Go globals; the compute lock makes it safe.
var out = (*[3]libtch.Ctensor)(C.calloc(3, C.size_t(unsafe.Sizeof(libtch.Ctensor(nil)))))

// lastError returns what gotch recorded for the call just made on this thread, first line only.
func lastError() string {
	p := libtch.GetAndResetLastErr()
	if p == nil {
		return ""
	}
	cs := (*C.char)(unsafe.Pointer(p))
	defer C.free(unsafe.Pointer(cs))
	msg, _, _ := strings.Cut(C.GoString(cs), "\n")
	return msg
}

// result checks the gotch call that just filled out[0] and hands its tensor to the innermost scope.
func result(op string, in ...Tensor) Tensor {
	if msg := lastError(); msg != "" {
		panic(opError(op, msg, in))
	}
	return adopt(Tensor{out[0]})
}

// checked hands over the tensor of one of our native calls, or panics with its error.
func checked(op string, c libtch.Ctensor, err error, in ...Tensor) Tensor {
	if err != nil {
		panic(opError(op, err.Error(), in))
	}
	return adopt(Tensor{c})
}

func opError(op, msg string, in []Tensor) *Error {
	e := &Error{Op: op, Msg: msg}
	for _, t := range in {
		if t.c != nil {
			e.Shapes = append(e.Shapes, t.Shape())
		}
	}
	return e
}

// Handle returns libtorch's handle for calls to libtch; t keeps owning it.
func (t Tensor) Handle() libtch.Ctensor { return t.must("handle") }

// Adopt hands a handle that libtch returned to the innermost scope.
func Adopt(c libtch.Ctensor) Tensor { return adopt(Tensor{c}) }

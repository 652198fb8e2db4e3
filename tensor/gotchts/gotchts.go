// Package gotchts converts between salsa's tensors and gotch's ts.Tensor, so that code written for gotch fits
// in. It is a package of its own because importing gotch creates a cache folder in the user's home.
package gotchts

import (
	"fmt"
	"unsafe"

	"github.com/sugarme/gotch/libtch"
	"github.com/sugarme/gotch/ts"

	"salsa/tensor"
)

// FromGotch returns a salsa tensor that shares elements with t and belongs to the innermost scope. t stays the
// caller's and may be dropped at once.
func FromGotch(t *ts.Tensor) (tensor.Tensor, error) {
	if t == nil || t.Ctensor() == nil {
		return tensor.Tensor{}, fmt.Errorf("gotch tensor is nil")
	}
	c := libtch.AtShallowClone(libtch.Ctensor(t.Ctensor()))
	return tensor.Adopt(c), nil
}

// Gotch returns a gotch tensor that shares elements with t and is freed by gotch (MustDrop or its finalizer).
func Gotch(t tensor.Tensor) *ts.Tensor {
	return ts.FromCtensor(unsafe.Pointer(libtch.AtShallowClone(t.Handle())))
}

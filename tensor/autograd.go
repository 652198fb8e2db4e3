package tensor

// Gradients, the optimizer's kernels and gradient checkpointing by segments.

import (
	"github.com/sugarme/gotch/libtch"

	"salsa/tensor/native"
)

// RequireGrad marks t as a leaf whose gradient is wanted, or not, and returns t.
func (t Tensor) RequireGrad(on bool) Tensor {
	flag := int32(0)
	if on {
		flag = 1
	}
	libtch.AtgSetRequiresGrad(&out[0], t.must("require grad"), flag)
	if msg := lastError(); msg != "" {
		panic(opError("require grad", msg, []Tensor{t}))
	}
	libtch.AtFree(out[0]) // gotch returns a second handle to the same tensor
	return t
}

// RequiresGrad tells whether autograd follows t.
func (t Tensor) RequiresGrad() bool { return libtch.AtRequiresGrad(t.must("requires grad")) }

// Grad returns the accumulated gradient, or an absent tensor if there is none.
func (t Tensor) Grad() Tensor {
	libtch.AtgGrad(&out[0], t.must("grad"))
	if msg := lastError(); msg != "" {
		panic(opError("grad", msg, []Tensor{t}))
	}
	if !libtch.AtDefined(out[0]) {
		libtch.AtFree(out[0])
		return Tensor{}
	}
	return adopt(Tensor{out[0]})
}

// Detach returns the same elements outside the graph.
func (t Tensor) Detach() Tensor { return t.unary("detach", libtch.AtgDetach) }

// Backward accumulates the gradients of the scalar loss into the leaves. Segments that Checkpoint cut out of the
// graph are recomputed and walked through, last first.
func Backward(loss Tensor) {
	backward(loss, Tensor{})
	for a := current; a != nil; a = a.parent {
		for i := len(segments) - 1; i >= 0 && segments[i].scope == a; i-- {
			segments[i].backward()
			segments = segments[:i]
		}
	}
}

func backward(y, grad Tensor) {
	err := native.Backward([]libtch.Ctensor{y.must("backward")}, []libtch.Ctensor{grad.c})
	if err != nil {
		panic(opError("backward", err.Error(), []Tensor{y}))
	}
}

// GradEnabled tells whether ops record what autograd needs: outside NoGrad they do.
func GradEnabled() bool {
	was := libtch.AtGradSetEnabled(1)
	libtch.AtGradSetEnabled(was)
	return int32(was) != 0 // gotch reads 8 bytes of a C int: the upper 4 are not its own
}

// segment is a stretch of the forward pass whose activations were dropped.
type segment struct {
	scope *arena
	fn    func(Tensor) Tensor
	x, y  Tensor // input (in the graph) and output (a leaf of the next stretch)
}

// segments are those of the forward pass in flight, oldest first; guarded by computeLock.
var segments []segment

// Checkpoint computes y = fn(x) without keeping fn's activations: Backward computes them again, one segment at
// a time (Chen et al., arXiv 1604.06174). fn must be pure arithmetic of x and parameters. x and y live in the
// current scope, in which Backward must be called too.
func Checkpoint(fn func(Tensor) Tensor, x Tensor) Tensor {
	if !GradEnabled() {
		return fn(x) // nothing to save
	}
	var y Tensor
	err := NoGrad(func() error {
		y = fn(x).Keep()
		return nil
	})
	if err != nil {
		panic(err)
	}
	y = y.Detach().RequireGrad(true)
	segments = append(segments, segment{scope: current, fn: fn, x: x, y: y})
	return y
}

// backward recomputes the segment with autograd on and continues the gradient from y to x and the parameters. It leaves
// x's gradient behind and nothing else: what the graph does not keep is gone before gradients are made, and y's gradient
// goes with the segment, or all of them would be there with the parameters' at the end.
func (s segment) backward() {
	var gx Tensor
	err := Scope(func() error {
		gy := s.y.Grad()
		if !gy.Defined() { // the loss does not depend on this stretch
			return nil
		}
		x := s.x.Detach().RequireGrad(s.x.RequiresGrad())
		backward(Scoped(func() Tensor { return s.fn(x) }), gy)
		gx = x.Grad().Keep()
		return nil
	})
	if err != nil {
		panic(err)
	}
	ZeroGrads([]Tensor{s.y})
	if gx.Defined() {
		backward(s.x, gx)
		gx.Free()
	}
}

// ZeroGrads drops the gradients of params.
func ZeroGrads(params []Tensor) {
	if len(params) == 0 {
		return
	}
	if err := native.ZeroGrads(handles("zero grads", params)); err != nil {
		panic(opError("zero grads", err.Error(), nil))
	}
}

package tensor

// Who frees what: scopes own the results of ops, and one goroutine at a time computes.

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sugarme/gotch/libtch"
)

// arena is the list of tensors made in one scope.
type arena struct {
	owned  []Tensor
	kept   []Tensor // handed to the parent when the scope ends
	parent *arena
}

var (
	computeLock sync.Mutex
	current     *arena // innermost scope; guarded by computeLock
	live        atomic.Int64
)

// Run makes the calling goroutine the compute goroutine while fn runs: it locks the OS thread, waits for
// any other Run to end, and opens the root scope. Once per process, test or benchmark; nesting deadlocks.
func Run(fn func() error) error {
	computeLock.Lock()
	defer computeLock.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return Scope(fn)
}

// Scope frees every tensor made in fn that was not kept, and returns fn's error or the *Error of an op that
// panicked in it. Other panics fly on.
func Scope(fn func() error) (err error) {
	a := &arena{parent: current}
	current = a
	defer func() {
		current = a.parent
		r := recover()
		e, isOp := r.(*Error)
		if r != nil || err != nil {
			a.kept = nil // a failed scope hands nothing over
		}
		a.close()
		switch {
		case isOp:
			err = e
		case r != nil:
			panic(r)
		}
	}()
	return fn()
}

// Scoped frees what f made on the way to its result, but for what is kept and what the graph holds. It panics as f does,
// and if f calls Checkpoint on the way to a result with a gradient: Backward would come when the scope has ended.
func Scoped(f func() Tensor) (y Tensor) {
	err := Scope(func() error {
		y = f().Keep()
		if n := len(segments); n > 0 && segments[n-1].scope == current && y.c != nil && y.RequiresGrad() {
			panic(opError("scoped", "the result depends on a Checkpoint of this scope, whose gradients would be lost", []Tensor{y}))
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return y
}

// NoGrad is Scope without autograd.
func NoGrad(fn func() error) error {
	return Scope(func() error {
		was := libtch.AtGradSetEnabled(0)
		defer libtch.AtGradSetEnabled(was)
		return fn()
	})
}

// WithGrad is Scope with autograd on, inside a NoGrad.
func WithGrad(fn func() error) error {
	return Scope(func() error {
		was := libtch.AtGradSetEnabled(1)
		defer libtch.AtGradSetEnabled(was)
		return fn()
	})
}

// close frees what the scope owns, but for what was kept, newest first.
func (a *arena) close() {
	for len(segments) > 0 && segments[len(segments)-1].scope == a {
		segments = segments[:len(segments)-1] // a forward pass that never reached Backward
	}
	keep := make(map[Tensor]bool, len(a.kept))
	for _, t := range a.kept {
		keep[t] = true
	}
	for i := len(a.owned) - 1; i >= 0; i-- {
		if t := a.owned[i]; !keep[t] {
			free(t)
		}
	}
	if a.parent != nil {
		a.parent.owned = append(a.parent.owned, a.kept...)
		return
	}
	for _, t := range a.kept { // the root scope has nobody to hand over to
		free(t)
	}
}

func free(t Tensor) {
	libtch.AtFree(t.c)
	live.Add(-1)
}

// adopt enters a fresh handle into the innermost scope.
func adopt(t Tensor) Tensor {
	if current == nil {
		libtch.AtFree(t.c)
		panic(&Error{Op: "scope", Msg: "tensor op outside tensor.Run"})
	}
	live.Add(1)
	current.owned = append(current.owned, t)
	return t
}

// Keep hands t to the enclosing scope, which then frees it. A tensor that already belongs further out stays
// there.
func (t Tensor) Keep() Tensor {
	if current == nil || t.c == nil || slices.Contains(current.kept, t) {
		return t
	}
	for i := len(current.owned) - 1; i >= 0; i-- {
		if current.owned[i] == t {
			current.kept = append(current.kept, t)
			return t
		}
	}
	return t
}

// Hold takes t out of all scopes: it lives until Free. For state that outlasts the scope it was made in, such
// as optimizer moments and a cache's buffers.
func (t Tensor) Hold() Tensor {
	for a := current; a != nil && t.c != nil; a = a.parent {
		for i := len(a.owned) - 1; i >= 0; i-- {
			if a.owned[i] == t {
				a.owned = append(a.owned[:i], a.owned[i+1:]...)
				return t
			}
		}
	}
	return t
}

// Free releases a held tensor. Freeing an absent tensor does nothing.
func (t Tensor) Free() {
	if t.c == nil {
		return
	}
	free(t.Hold())
}

// Live returns the number of tensor handles that exist in the process: the census that tests use to prove
// that nothing leaks. It counts handles, not storage.
func Live() int { return int(live.Load()) }

// Try runs fn, which may make tensors in the current scope, and returns an op's *Error as an error without
// opening a scope.
func Try(fn func()) (err error) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		e, ok := r.(*Error)
		if !ok {
			panic(r)
		}
		err = e
	}()
	fn()
	return nil
}

// IsError tells whether err comes from a tensor op.
func IsError(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

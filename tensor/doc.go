// Package tensor is a lean layer over gotch's libtch: tensors as 8-byte values, memory freed by scopes,
// errors that name the op and the shapes.
//
// Ops are methods. They panic with *Error when libtorch refuses, and their results belong to the innermost
// Scope, which frees them all when it ends: there are no finalizers and nothing to delete by hand. Scope,
// NoGrad and Run turn an op's panic into an error, so a caller of anything that opens a scope never sees one.
//
//	err := tensor.Run(func() error {
//		a := tensor.Floats([]float32{1, 2, 3, 4}, 2, 2)
//		fmt.Println(a.Matmul(a).Float32s())
//		return nil
//	})
//
// libtorch keeps its gradient mode and gotch its last error per OS thread. Run therefore locks the
// goroutine to its thread, and a mutex admits one such goroutine at a time: all tensor work of a process
// happens on one compute goroutine, and loaders hand it Go slices.
//
// Shapes are []int; ids and positions are int64 tensors, masks are Bool, everything else is a float type.
package tensor

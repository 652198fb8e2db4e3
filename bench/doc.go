// Package bench times salsa's kernels and whole steps with `go test -bench`, one file per kernel.
//
//	make bench                                    all of them on the CPU
//	make bench BENCH=Attention                    some
//	make bench BENCH_FLAGS='-args -device cuda'   on a GPU
//
// Every iteration runs in a scope of its own and ends when the device is done, so that a time is the time
// until results can be used. Beside ns/op each benchmark prints a figure that can be held against the
// machine's limits: GFLOP/s, GB/s (bytes that must be read and written once) or tokens/s. yardstick.py prints
// the same kernels in PyTorch under the same names, for benchstat.
package bench

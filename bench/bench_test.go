package bench

// What all benchmarks share: the device, the loop, and the figures beside ns/op.

import (
	"flag"
	"fmt"
	"math"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/sugarme/gotch/libtch"

	"salsa/tensor"
)

var (
	deviceFlag  = flag.String("device", "cpu", "auto, cpu, cuda or cuda:N")
	threadsFlag = flag.Int("threads", 0, "CPU threads per op; 0: libtorch's choice")
	dtypeFlag   = flag.String("dtype", "float32", "element type of weights and activations")

	device tensor.Device
	dtype  tensor.DType
)

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	// The device comes first: libtorch caches the absence of CUDA once it is asked.
	if device, err = tensor.OpenDevice(*deviceFlag); err == nil {
		dtype, err = tensor.ParseDType(*dtypeFlag)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// run makes b's goroutine the compute goroutine while fn prepares and measures.
func run(b *testing.B, fn func() error) {
	b.Helper()
	err := tensor.Run(func() error {
		if *threadsFlag > 0 {
			tensor.SetThreads(*threadsFlag)
		}
		return fn()
	})
	if err != nil {
		b.Fatal(err)
	}
}

// loop times fn, which returns the tensor that it computed last. Each iteration has its own scope and is over
// only when that tensor is there: a GPU runs behind the host.
func loop(b *testing.B, fn func() tensor.Tensor) error {
	b.ReportAllocs()
	used := newUsage(b)
	defer used.report()
	for b.Loop() {
		err := tensor.Scope(func() error {
			sync(fn())
			return nil
		})
		used.lap()
		if err != nil {
			return err
		}
	}
	return nil
}

// usage reports the processor time and the page faults of iterations: on a machine that others load, they say more
// than the clock, and the least time says most.
type usage struct {
	b      *testing.B
	before syscall.Rusage // of all iterations
	last   syscall.Rusage
	least  int64 // ns of the cheapest iteration so far
}

func cpuTime(r *syscall.Rusage) int64 { return r.Utime.Nano() + r.Stime.Nano() }

func newUsage(b *testing.B) *usage {
	u := &usage{b: b, least: math.MaxInt64}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u.before)
	u.last = u.before
	return u
}

// lap ends an iteration.
func (u *usage) lap() {
	was := cpuTime(&u.last)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u.last)
	u.least = min(u.least, cpuTime(&u.last)-was)
}

func (u *usage) report() {
	n := float64(u.b.N)
	u.b.ReportMetric(float64(u.least), "least-cpu-ns/op")
	u.b.ReportMetric(float64(cpuTime(&u.last)-cpuTime(&u.before))/n, "cpu-ns/op")
	u.b.ReportMetric(float64(u.last.Minflt-u.before.Minflt)/n, "faults/op")
}

// inference is loop without autograd.
func inference(b *testing.B, fn func() tensor.Tensor) error {
	return tensor.NoGrad(func() error { return loop(b, fn) })
}

// sync waits until t is computed. On the CPU it is; on a GPU, fetching one element waits for the stream.
func sync(t tensor.Tensor) {
	if t.Defined() && t.Device() != tensor.CPU {
		t.Reshape(-1).Narrow(0, 0, 1).Float32s()
	}
}

// perSecond reports total = each × iterations over the measured time, in units of scale per second.
func perSecond(b *testing.B, each, scale float64, unit string) {
	if s := b.Elapsed().Seconds(); s > 0 {
		b.ReportMetric(each*float64(b.N)/s/scale, unit)
	}
}

func flops(b *testing.B, each float64)  { perSecond(b, each, 1e9, "GFLOP/s") }
func bytes(b *testing.B, each float64)  { perSecond(b, each, 1e9, "GB/s") }
func tokens(b *testing.B, each float64) { perSecond(b, each, 1, "tokens/s") }

// readSpeed is the rate, in bytes per second, at which libtorch's threads sum 512 MB: the best of three passes.
func readSpeed() float64 {
	return speed(512<<20, func(x, _ tensor.Tensor) { x.Sum().Float32s() })
}

// updateSpeed is the rate at which they add 512 MB to 512 MB in place, two read and one written.
func updateSpeed() float64 {
	return speed(3*512<<20, func(x, y tensor.Tensor) {
		out := make([]libtch.Ctensor, 1)
		libtch.AtgAdd_(&out[0], x.Handle(), y.Handle())
		libtch.AtFree(out[0]) // a second handle to x
		sync(x)
	})
}

// speed is the best of three passes over two tensors of 512 MB, that move so many bytes, in bytes per second.
func speed(moved float64, pass func(x, y tensor.Tensor)) float64 {
	best := time.Duration(1 << 62)
	_ = tensor.NoGrad(func() error {
		x, y := tensor.Ones(tensor.Float32, device, 128<<20), tensor.Ones(tensor.Float32, device, 128<<20)
		for range 3 {
			start := time.Now()
			pass(x, y)
			best = min(best, time.Since(start))
		}
		return nil
	})
	return moved / best.Seconds()
}

// normal draws a tensor of the benchmark's type on its device; every call gives the same numbers.
func normal(shape ...int) tensor.Tensor {
	return tensor.Randn(1, shape...).To(dtype).OnDevice(device)
}

// weight is normal with autograd on.
func weight(shape ...int) tensor.Tensor { return normal(shape...).Detach().RequireGrad(true) }

// bytesOf is the size of tensors in memory.
func bytesOf(ts ...tensor.Tensor) float64 {
	n := 0
	for _, t := range ts {
		n += t.Numel() * t.DType().Size()
	}
	return float64(n)
}

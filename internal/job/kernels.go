package job

// The kernels of matrix products as part of a run: what its folder says of them, and what doctor measures.

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"time"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/options"
	"salsa/tensor"
)

// kernelsFile of a run folder names the kernels that the run began with, and on how many threads: others round
// differently, as MKL does in fp32 when it shares a sum out among other threads, and a resumed run would no longer equal a
// straight one.
const kernelsFile = "kernels.json"

// kernels is the content of kernelsFile.
type kernels struct {
	GEMM    string `json:"gemm"`      // see tensor.GEMM
	Half    string `json:"gemm_bf16"` // see tensor.HalfGEMM; absent in folders of versions that had libtorch's alone
	Threads int    `json:"threads"`   // 0 in folders of versions that did not note it
}

// writeKernels says in a run folder what this process computes with.
func writeKernels(path string, b *Base) error {
	raw, err := json.Marshal(kernels{GEMM: cmp.Or(b.gemm, tensor.GEMM()), Half: cmp.Or(b.half, tensor.HalfGEMM()), Threads: threads(b)})
	if err != nil {
		return err
	}
	return checkpoint.WriteFileAtomic(path, append(raw, '\n'))
}

// threads is how many threads of the CPU an op of the job may use.
func threads(b *Base) int {
	if b.Threads > 0 {
		return b.Threads
	}
	return tensor.Threads()
}

// tellOfThreads says that more threads than there are processors make a job slower, many of them by far.
func tellOfThreads(opts any) {
	c, cores := options.Of(opts), runtime.NumCPU()
	text, _ := c.Get("threads")
	if n, err := strconv.Atoi(text); err != nil || n <= cores {
		return
	}
	if quiet, _ := c.Get("quiet"); quiet != "true" {
		fmt.Fprintf(os.Stderr, "salsa: note: --threads %s is more than the %d processors that this process may use, so threads wait for one another; --threads %d is as many as help\n",
			text, cores, cores)
	}
}

// sameKernels makes this process compute with the kernels and, unless --threads says otherwise, the threads of a run
// folder's file, or refuses. Without the file, which a new run does not have yet, everything stays.
func sameKernels(path string, b *Base) error {
	raw, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var k kernels
	err = json.Unmarshal(raw, &k)
	if err == nil && k.GEMM == "" {
		err = errors.New("it names no kernels of fp32")
	}
	if err != nil {
		return fault.Inputf("%s: %w; remove the file to resume with %s", path, err, tensor.GEMM())
	}
	b.gemm, b.half = k.GEMM, cmp.Or(k.Half, tensor.GEMMLibtorch)
	f32, half := tensor.AskedGEMM()
	if f32 != "" && f32 != b.gemm || half != "" && half != b.half {
		return fault.Inputf("%s: the run was started with matrix products by %s and %s, and %s asks for others; unset it, or use another --out", path, b.gemm, b.half, tensor.GEMMVariable)
	}
	restore, err := chooseKernels(b) // a look ahead; the job chooses when it computes
	if err != nil {
		return fault.Inputf("%s: the run was started with matrix products by %s and %s, and here %w; resume it where they are, or use another --out", path, b.gemm, b.half, err)
	}
	if err := restore(); err != nil {
		return err
	}
	b.Threads = sameThreads(path, k.Threads, b)
	return nil
}

// chooseKernels makes this process compute with the kernels that a resumed run began with, until restore. What MKL has chosen
// by then it keeps, and with it the process.
func chooseKernels(b *Base) (restore func() error, err error) {
	f32, half := tensor.GEMM(), tensor.HalfGEMM()
	restore = func() error {
		if err := tensor.ChooseGEMM(f32); err != nil && tensor.GEMM() != cmp.Or(b.gemm, f32) {
			return err
		}
		return tensor.ChooseGEMM(half)
	}
	for _, name := range []string{cmp.Or(b.gemm, f32), cmp.Or(b.half, half)} {
		if err := tensor.ChooseGEMM(name); err != nil {
			return nil, errors.Join(err, restore())
		}
	}
	return restore, nil
}

// sameThreads returns --threads for a run that began with so many, and says when the run will not end with the bytes of
// an undisturbed one.
func sameThreads(path string, began int, b *Base) int {
	switch now := threads(b); {
	case began == 0 || began == now:
		return b.Threads
	case b.Threads == 0 && began <= runtime.NumCPU():
		return began
	default:
		if !b.Quiet {
			fmt.Fprintf(os.Stderr, "salsa: note: %s: the run was started with %d threads and goes on with %d, which round sums otherwise; --threads %d ends with the bytes of an undisturbed run\n",
				path, began, now, began)
		}
		return b.Threads
	}
}

// Products is what doctor finds of matrix products of one type on the CPU.
type Products struct {
	Kernels string  `json:"kernels"`
	GFlops  float64 `json:"gflop_per_s"`
	Error   float64 `json:"relative_error"` // the largest difference from float64 over the largest element
}

// What any order of sums stays below, in fp32 and, with results rounded to bf16, in that; sums in a shorter type come far above.
const (
	maxProductError     = 5e-6
	maxHalfProductError = 4e-3
)

// measureProducts times a product as a layer has them, for a few milliseconds, and holds it to float64.
func measureProducts(d tensor.DType, kernels string) (p Products, err error) {
	const n, in, out = 256, 512, 512
	err = tensor.NoGrad(func() error {
		x, w := tensor.Randn(1, n, in).To(d), tensor.Randn(2, out, in).To(d)
		y := x.Linear(w, tensor.Tensor{})
		best := math.Inf(1)
		for range 8 {
			start := time.Now()
			x.Linear(w, tensor.Tensor{}).Free()
			best = min(best, time.Since(start).Seconds())
		}
		want := x.To(tensor.Float64).Linear(w.To(tensor.Float64), tensor.Tensor{})
		p = Products{Kernels: kernels, GFlops: 2 * n * in * out / best / 1e9,
			Error: y.To(tensor.Float64).Sub(want).Abs().Max().Item() / want.Abs().Max().Item()}
		return nil
	})
	return p, err
}

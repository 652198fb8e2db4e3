package job

// The kernels of matrix products as part of a run: what its folder says of them, and what doctor measures.

import (
	"encoding/json"
	"math"
	"os"
	"time"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/tensor"
)

// kernelsFile of a run folder names the kernels that the run began with: others round differently, and a resumed run
// would no longer equal a straight one.
const kernelsFile = "kernels.json"

// kernels is the content of kernelsFile.
type kernels struct {
	GEMM string `json:"gemm"` // see tensor.GEMM
}

// writeKernels says in a run folder what this process computes with.
func writeKernels(path string) error {
	raw, err := json.Marshal(kernels{GEMM: tensor.GEMM()})
	if err != nil {
		return err
	}
	return checkpoint.WriteFileAtomic(path, append(raw, '\n'))
}

// sameKernels makes this process compute with the kernels of a run folder's file, or refuses. Without the file, which
// a new run does not have yet, everything stays.
func sameKernels(path string) error {
	raw, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var k kernels
	if err := json.Unmarshal(raw, &k); err != nil {
		return fault.Inputf("%s: %w; remove the file to resume with %s", path, err, tensor.GEMM())
	}
	if err := tensor.ChooseGEMM(k.GEMM); err != nil {
		return fault.Inputf("%s: the run was started with matrix products by %s, and here %w; resume it where they are, or use another --out", path, k.GEMM, err)
	}
	return nil
}

// Products is what doctor finds of fp32 matrix products on the CPU.
type Products struct {
	Kernels string  `json:"kernels"`
	GFlops  float64 `json:"gflop_per_s"`
	Error   float64 `json:"relative_error"` // the largest difference from float64 over the largest element
}

// maxProductError is above what any order of sums gives in fp32, and far below what a shorter type would.
const maxProductError = 5e-6

// measureProducts times a product as a layer has them, for a few milliseconds, and holds it to float64.
func measureProducts() (p Products, err error) {
	const n, in, out = 256, 512, 512
	err = tensor.NoGrad(func() error {
		x, w := tensor.Randn(1, n, in), tensor.Randn(2, out, in)
		y := x.Linear(w, tensor.Tensor{})
		best := math.Inf(1)
		for range 8 {
			start := time.Now()
			x.Linear(w, tensor.Tensor{}).Free()
			best = min(best, time.Since(start).Seconds())
		}
		want := x.To(tensor.Float64).Linear(w.To(tensor.Float64), tensor.Tensor{})
		p = Products{Kernels: tensor.GEMM(), GFlops: 2 * n * in * out / best / 1e9,
			Error: y.To(tensor.Float64).Sub(want).Abs().Max().Item() / want.Abs().Max().Item()}
		return nil
	})
	return p, err
}

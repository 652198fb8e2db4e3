package job

// salsa doctor: what the program runs on, and whether its kernels compute here what they should.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"salsa/tensor"
)

// DoctorOptions are the options of `salsa doctor`.
type DoctorOptions struct {
	Device  string `yaml:"device" help:"where to test: auto, cpu, cuda or cuda:N"`
	JSON    bool   `yaml:"json" help:"print one JSON object instead of text" hash:"-"`
	Version string `yaml:"-"` // of salsa, for the result
}

// DefaultDoctor returns the defaults.
func DefaultDoctor() DoctorOptions { return DoctorOptions{Device: "auto"} }

// Diagnosis is what Doctor finds.
type Diagnosis struct {
	Salsa    string  `json:"salsa"`
	Go       string  `json:"go"`
	Platform string  `json:"platform"`
	Libtorch string  `json:"libtorch"`
	Machine  Machine `json:"machine"`
	Vectors  string  `json:"cpu_capability"` // instructions that libtorch's kernels use
	Threads  int     `json:"threads"`
	// KernelThreads is how many of them salsa's own kernels ran on.
	KernelThreads int          `json:"kernel_threads"`
	Device        string       `json:"device"` // where the tests ran
	CUDA          int          `json:"cuda_devices"`
	CUDAReason    string       `json:"cuda_reason,omitempty"` // why there is none
	Products      Products     `json:"products"`              // of matrices, fp32, on the CPU
	HalfProducts  Products     `json:"products_bf16"`         // in bf16
	DTypes        []DTypeCheck `json:"dtypes"`
	Tests         []SelfTest   `json:"self_tests"`
}

// DTypeCheck tells whether a dtype multiplies, differentiates and adds up on the device.
type DTypeCheck struct {
	DType string `json:"dtype"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// SelfTest is a kernel held to a formula.
type SelfTest struct {
	Name      string  `json:"name"`
	OK        bool    `json:"ok"`
	Deviation float64 `json:"max_deviation"` // from the formula, absolute
	Tolerance float64 `json:"tolerance"`
	Millis    float64 `json:"ms"`
	Error     string  `json:"error,omitempty"`
}

// Doctor runs the job. Failed tests are in the result, and an error says how many there are.
func Doctor(_ context.Context, o *DoctorOptions) (*Diagnosis, error) {
	d := &Diagnosis{Salsa: o.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Libtorch: tensor.LibtorchVersion(), Machine: lookAround()}
	var err error
	if d.CUDA, err = tensor.ProbeCUDA(); err != nil {
		d.CUDAReason = err.Error()
	}
	dev, err := tensor.OpenDevice(o.Device)
	if err != nil {
		return d, err
	}
	d.Device = dev.String()
	if d.Vectors, err = tensor.CPUCapability(); err != nil {
		return d, err
	}
	err = tensor.Run(func() error {
		d.Threads, d.KernelThreads = tensor.Threads(), tensor.KernelThreads()
		d.DTypes = checkDTypes(dev)
		d.Tests = runSelfTests(selfTests, dev)
		if d.Products, err = measureProducts(tensor.Float32, tensor.GEMM()); err != nil {
			return err
		}
		d.HalfProducts, err = measureProducts(tensor.BFloat16, tensor.HalfGEMM())
		return err
	})
	return d, errors.Join(err, d.verdict())
}

// verdict is nil if all tests passed.
func (d *Diagnosis) verdict() error {
	var failed []string
	for _, c := range d.DTypes {
		if !c.OK {
			failed = append(failed, c.DType)
		}
	}
	for _, t := range d.Tests {
		if !t.OK {
			failed = append(failed, t.Name)
		}
	}
	for _, p := range []struct {
		Products
		most float64
	}{{d.Products, maxProductError}, {d.HalfProducts, maxHalfProductError}} {
		if !(p.Error <= p.most) { // nor NaN
			failed = append(failed, "matrix products by "+p.Kernels)
		}
	}
	if failed == nil {
		return nil
	}
	return fmt.Errorf("%d self-tests failed on %s: %s; results cannot be trusted here: reinstall libtorch %s, or use another --device",
		len(failed), d.Device, strings.Join(failed, ", "), d.Libtorch)
}

// checkDTypes multiplies, differentiates and sums in every float type.
func checkDTypes(dev tensor.Device) []DTypeCheck {
	var list []DTypeCheck
	for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Float16, tensor.Float64} {
		err := tensor.Scope(func() error {
			a := tensor.Full(0.5, d, dev, 4, 8).RequireGrad(true)
			y := a.Matmul(tensor.Full(2, d, dev, 8, 3)).Sum() // 4·3 ones times 8
			tensor.Backward(y)
			if got := y.Item(); got != 96 {
				return fmt.Errorf("4·3·8·0.5·2 came out as %g", got)
			}
			if got := a.Grad().Sum().Item(); got != 192 { // 32 elements times 3·2
				return fmt.Errorf("a gradient of 4·8·3·2 came out as %g", got)
			}
			return nil
		})
		c := DTypeCheck{DType: d.String(), OK: err == nil}
		if err != nil {
			c.Error = err.Error()
		}
		list = append(list, c)
	}
	return list
}

// runSelfTests times every test and holds its deviation to the tolerance.
func runSelfTests(tests []selfTest, dev tensor.Device) []SelfTest {
	var list []SelfTest
	for _, test := range tests {
		start := time.Now()
		r := SelfTest{Name: test.name, Tolerance: test.tolerance}
		err := tensor.Scope(func() error { r.Deviation = test.run(dev); return nil })
		r.Millis = float64(time.Since(start).Microseconds()) / 1000
		r.OK = err == nil && r.Deviation <= r.Tolerance // not so for NaN
		if err != nil {
			r.Error = err.Error()
		}
		list = append(list, r)
	}
	return list
}

// WriteText implements Shown.
func (d *Diagnosis) WriteText(w io.Writer) error {
	return table(w, func(row func(string, ...any)) {
		m := d.Machine
		row("salsa\t%s", d.Salsa)
		row("go\t%s, %s", d.Go, d.Platform)
		row("libtorch\t%s", d.Libtorch)
		row("cpu\t%s, %d cores, %s, %d threads for one op (%d in salsa's kernels)", m.CPU, m.Cores, d.Vectors, d.Threads, d.KernelThreads)
		for _, p := range []struct {
			name string
			Products
		}{{"products", d.Products}, {"in bf16", d.HalfProducts}} {
			row("%s\t%s, %.0f GFLOP/s, relative error %.0e (%s chooses)", p.name, p.Kernels, p.GFlops, p.Error, tensor.GEMMVariable)
		}
		limit := ""
		if m.MemoryLimit > 0 {
			limit = ", limited to " + humanBytes(m.MemoryLimit)
		}
		row("memory\t%s free of %s%s", humanBytes(m.FreeMemory), humanBytes(m.Memory), limit)
		row("disk\t%s free at %s", humanBytes(m.FreeDisk), m.Folder)
		if d.CUDAReason != "" {
			row("cuda\tno: %s", d.CUDAReason)
		} else {
			row("cuda\t%d devices", d.CUDA)
		}
		row("tested on\t%s", d.Device)
		for _, c := range d.DTypes {
			row("%s\t%s", c.DType, mark(c.OK, c.Error))
		}
		for _, t := range d.Tests {
			row("%s\t%s\t off by %.1e, %.0e allowed, %.1f ms", t.Name, mark(t.OK, t.Error), t.Deviation, t.Tolerance, t.Millis)
		}
	})
}

func mark(ok bool, why string) string {
	switch {
	case ok:
		return "ok"
	case why != "":
		return "FAILED: " + why
	}
	return "FAILED"
}

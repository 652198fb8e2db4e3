package job

// A run keeps its kernels, and doctor's product is held to float64.

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/models"
	"salsa/tensor"
	"salsa/tensor/tensortest"
)

func TestARunKeepsItsKernels(t *testing.T) {
	path := filepath.Join(t.TempDir(), kernelsFile)
	b := &Base{Quiet: true}
	require.NoError(t, sameKernels(path, b), "a new run has no file yet")
	tensortest.Run(t, func() { tensor.Randn(1, 64, 64).Matmul(tensor.Randn(2, 64, 64)) }) // the choice is made
	require.NoError(t, writeKernels(path, b))
	require.NoError(t, sameKernels(path, b))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.JSONEq(t, `{"gemm":"`+tensor.GEMM()+`","gemm_bf16":"`+tensor.HalfGEMM()+`","threads":`+strconv.Itoa(tensor.Threads())+`}`, string(raw))

	lacking := tensor.GEMMFP32AVX2 // MKL's are chosen once, ours need their processor
	if tensor.GEMM() == lacking {
		lacking = tensor.GEMMAVX512
	}
	for content, says := range map[string]string{
		`{"gemm":"` + lacking + `"}`: "the run was started with matrix products by " + lacking,
		`{"gemm":"abacus"}`:          `"abacus" is not one of mkl, mkl-avx512`,
		`{`:                          "remove the file to resume",
		`{"threads":2}`:              "it names no kernels of fp32; remove the file to resume",
	} {
		before := tensor.GEMM()
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		err := sameKernels(path, &Base{Quiet: true})
		require.ErrorContains(t, err, says)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
		assert.Equal(t, before, tensor.GEMM())
	}
}

// A variable that asks for other kernels than the run's is refused rather than overruled.
func TestAResumedRunRefusesOtherKernels(t *testing.T) {
	path, b := filepath.Join(t.TempDir(), kernelsFile), &Base{Quiet: true}
	require.NoError(t, writeKernels(path, b))
	for asked, refused := range map[string]bool{tensor.GEMM(): false, tensor.GEMM() + ", " + tensor.HalfGEMM(): false, tensor.HalfGEMM(): false, "mkl-avx2": true, tensor.GEMM() + ",bf16-none": true} {
		t.Setenv(tensor.GEMMVariable, asked)
		err := sameKernels(path, b)
		assert.Equal(t, refused, err != nil, asked)
		if refused {
			assert.ErrorContains(t, err, tensor.GEMMVariable+" asks for others")
			assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
		}
	}
}

// keepsKernels holds a job that is resumed from a folder with this file to the kernels that it names, for the job alone;
// kernels tells those of the process.
func keepsKernels(t *testing.T, path, content, dtype, want string, kernels func() string) {
	t.Helper()
	whole := kernels()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	b := &Base{Quiet: true, Device: "cpu", DType: dtype}
	require.NoError(t, sameKernels(path, b))
	assert.Equal(t, whole, kernels(), "before the job")
	require.NoError(t, compute(b, func(models.Options) error {
		assert.Equal(t, want, kernels())
		return nil
	}))
	assert.Equal(t, whole, kernels(), "behind it")
	require.NoError(t, writeKernels(path, b))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(raw), want)
}

// The kernels of fp32 are those that the run began with, for its job alone, where the process can still choose.
func TestARunKeepsItsKernelsOfFP32(t *testing.T) {
	path, whole := filepath.Join(t.TempDir(), kernelsFile), tensor.GEMM()
	for _, name := range []string{whole, tensor.GEMMMKL} {
		if err := tensor.ChooseGEMM(name); err != nil {
			continue // MKL has chosen its other ones
		}
		require.NoError(t, tensor.ChooseGEMM(whole))
		keepsKernels(t, path, `{"gemm":"`+name+`"}`, "float32", name, tensor.GEMM)
	}
}

// Those of bf16 likewise: libtorch's where its folder says nothing.
func TestARunKeepsItsKernelsOfBF16(t *testing.T) {
	path, whole := filepath.Join(t.TempDir(), kernelsFile), tensor.HalfGEMM()
	for content, want := range map[string]string{
		``: tensor.GEMMLibtorch, `,"gemm_bf16":"` + whole + `"`: whole, `,"gemm_bf16":"` + tensor.GEMMLibtorch + `"`: tensor.GEMMLibtorch,
	} {
		keepsKernels(t, path, `{"gemm":"`+tensor.GEMM()+`"`+content+`}`, "bfloat16", want, tensor.HalfGEMM)
	}
}

func TestARunKeepsItsThreads(t *testing.T) {
	path := filepath.Join(t.TempDir(), kernelsFile)
	kept := func(began int) int { // --threads stays 0 where that is the same
		if began == tensor.Threads() {
			return 0
		}
		return began
	}
	cores := runtime.NumCPU()
	for _, c := range []struct{ began, given, want int }{
		{began: cores, want: kept(cores)}, {began: 1, want: kept(1)}, {began: 1, given: 3, want: 3}, {began: cores + 1}, {began: 0},
	} {
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `{"gemm":%q,"threads":%d}`, tensor.GEMM(), c.began), 0o644))
		b := &Base{Quiet: true, Threads: c.given}
		require.NoError(t, sameKernels(path, b))
		assert.Equal(t, c.want, b.Threads, "%+v", c)
	}
}

// The threads of one stage of a recipe are not those of the next: whether the first is skipped must not matter.
func TestThreadsEndWithTheJob(t *testing.T) {
	whole := tensor.Threads()
	for _, given := range []int{0, whole + 2, 0} {
		require.NoError(t, compute(&Base{Device: "cpu", DType: "float32", Threads: given}, func(models.Options) error {
			assert.Equal(t, max(whole, given), tensor.Threads())
			return nil
		}))
	}
	assert.Equal(t, whole, tensor.Threads())
}

func TestProductsAreExact(t *testing.T) {
	tensortest.Run(t, func() {
		p, err := measureProducts(tensor.Float32, tensor.GEMM())
		require.NoError(t, err)
		assert.Positive(t, p.GFlops)
		assert.Less(t, p.Error, maxProductError)
		p, err = measureProducts(tensor.BFloat16, tensor.HalfGEMM())
		require.NoError(t, err)
		assert.Less(t, p.Error, maxHalfProductError)
		assert.Greater(t, p.Error, maxProductError, "computed in fp32")
		d := Diagnosis{Products: Products{Kernels: "mkl", Error: 1e-3}}
		assert.ErrorContains(t, d.verdict(), "matrix products by mkl")
	})
}

func TestTooManyThreadsAreSaid(t *testing.T) {
	said := func(threads int, quiet bool) string {
		o := DefaultSFT()
		o.Threads, o.Quiet = threads, quiet
		return saidAloud(t, func() { tellOfThreads(&o) })
	}
	cores := runtime.NumCPU()
	assert.Empty(t, said(0, false)+said(cores, false)+said(cores+1, true))
	assert.Contains(t, said(cores+1, false), fmt.Sprintf("--threads %d is as many as help", cores))
}

// saidAloud is what do writes to standard error.
func saidAloud(t *testing.T, do func()) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stderr")
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	stderr := os.Stderr
	os.Stderr = file
	do()
	os.Stderr = stderr
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

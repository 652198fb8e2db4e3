package job

// A run keeps its kernels, and doctor's product is held to float64.

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/tensor"
	"salsa/tensor/tensortest"
)

func TestARunKeepsItsKernels(t *testing.T) {
	path := filepath.Join(t.TempDir(), kernelsFile)
	require.NoError(t, sameKernels(path), "a new run has no file yet")
	tensortest.Run(t, func() { tensor.Randn(1, 64, 64).Matmul(tensor.Randn(2, 64, 64)) }) // the choice is made
	require.NoError(t, writeKernels(path))
	require.NoError(t, sameKernels(path))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.JSONEq(t, `{"gemm":"`+tensor.GEMM()+`"}`, string(raw))

	other := map[string]string{tensor.GEMMMKL: tensor.GEMMAVX512, tensor.GEMMAVX512: tensor.GEMMMKL}[tensor.GEMM()]
	for content, says := range map[string]string{
		`{"gemm":"` + other + `"}`: "the run was started with matrix products by " + other,
		`{"gemm":"abacus"}`:        `"abacus" is not one of mkl, mkl-avx512`,
		`{`:                        "remove the file to resume",
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		err := sameKernels(path)
		require.ErrorContains(t, err, says)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
}

func TestProductsAreFp32(t *testing.T) {
	tensortest.Run(t, func() {
		p, err := measureProducts()
		require.NoError(t, err)
		assert.Positive(t, p.GFlops)
		assert.Less(t, p.Error, maxProductError)
		d := Diagnosis{Products: Products{Kernels: "mkl", Error: 1e-3}}
		assert.ErrorContains(t, d.verdict(), "matrix products by mkl")
	})
}

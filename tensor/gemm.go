package tensor

// Which kernels compute fp32 matrix products on the CPU: a part of a run's configuration, since each adds up in an
// order of its own.

import (
	"fmt"
	"os"

	"salsa/internal/fault"
	"salsa/tensor/native"
)

// The kernels of fp32 matrix products on the CPU. Both are exact to fp32: neither ever computes in a shorter type.
const (
	GEMMMKL    = "mkl"        // what MKL takes by itself: AVX2 where the processor is not Intel's
	GEMMAVX512 = "mkl-avx512" // MKL's AVX-512 kernels, whoever made the processor; the default where it can run them
)

// GEMMVariable is the environment variable that chooses the kernels of a process.
const GEMMVariable = "SALSA_GEMM"

// GEMM returns the kernels of this process.
func GEMM() string {
	if native.GEMMWide() {
		return GEMMAVX512
	}
	return GEMMMKL
}

// ChooseGEMM sets the kernels of this process, by name. It must come before the first matrix product; it fails if the
// processor lacks the instructions, or products were computed by other kernels already.
func ChooseGEMM(name string) error {
	choice := map[string]int{GEMMMKL: native.GEMMMKL, GEMMAVX512: native.GEMMAVX512}[name]
	switch {
	case choice == 0:
		return fmt.Errorf("%q is not one of %s, %s", name, GEMMMKL, GEMMAVX512)
	case choice == native.GEMMAVX512 && !native.HasAVX512():
		return fmt.Errorf("%s needs a processor with AVX-512", name)
	case GEMM() == name:
		return nil
	case native.GEMMAsked():
		return fmt.Errorf("matrix products have been computed by %s already", GEMM())
	}
	native.ChooseGEMM(choice)
	return nil
}

// gemmFromEnvironment follows SALSA_GEMM where it is set.
func gemmFromEnvironment() error {
	name := os.Getenv(GEMMVariable)
	if name == "" {
		return nil
	}
	if err := ChooseGEMM(name); err != nil {
		return fault.Inputf("%s: %w; unset it, or set it to one of %s, %s", GEMMVariable, err, GEMMMKL, GEMMAVX512)
	}
	return nil
}

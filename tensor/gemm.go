package tensor

// Which kernels compute matrix products on the CPU: a part of a run's configuration, since each adds up in an order of its
// own.

import (
	"fmt"
	"os"
	"strings"

	"salsa/internal/fault"
	"salsa/tensor/native"
)

// The kernels of matrix products on the CPU. Those of fp32 are exact to fp32: neither ever computes in a shorter type. Those
// of bf16 sum in fp32; ours do so in the order of the columns, whatever the number of rows and threads.
const (
	GEMMMKL         = "mkl"           // fp32: what MKL takes by itself: AVX2 where the processor is not Intel's
	GEMMAVX512      = "mkl-avx512"    // fp32: MKL's AVX-512 kernels, whoever made the processor; the default where it can run them
	GEMMLibtorch    = "bf16-libtorch" // bf16: what libtorch takes, mostly oneDNN
	GEMMBF16AVX512  = "bf16-avx512"   // bf16: ours, with AVX512_BF16; the default where the processor has it and no matrix unit (AMX)
	gemmNamesOfFP32 = GEMMMKL + ", " + GEMMAVX512
	gemmNamesOfBF16 = GEMMLibtorch + ", " + GEMMBF16AVX512
)

// GEMMVariable is the environment variable that chooses the kernels of a process: a name for fp32, for bf16, or one for each
// with a comma between them.
const GEMMVariable = "SALSA_GEMM"

// GEMM returns the kernels of this process for fp32.
func GEMM() string {
	if native.GEMMWide() {
		return GEMMAVX512
	}
	return GEMMMKL
}

// HalfGEMM returns the kernels of this process for bf16.
func HalfGEMM() string {
	if native.HalfGEMMOwn() {
		return GEMMBF16AVX512
	}
	return GEMMLibtorch
}

// ChooseGEMM sets the kernels of this process for fp32 or for bf16, by name. It fails if the processor lacks the
// instructions, or if fp32 products were computed by other kernels already: MKL chooses once.
func ChooseGEMM(name string) error {
	switch {
	case name == GEMMLibtorch:
		native.ChooseHalfGEMM(native.HalfLibtorch)
		return nil
	case name == GEMMBF16AVX512 && !native.HasHalfGEMM():
		return fmt.Errorf("%s needs a processor with AVX512_BF16", name)
	case name == GEMMBF16AVX512:
		native.ChooseHalfGEMM(native.HalfOwn)
		return nil
	}
	choice := map[string]int{GEMMMKL: native.GEMMMKL, GEMMAVX512: native.GEMMAVX512}[name]
	switch {
	case choice == 0:
		return fmt.Errorf("%q is not one of %s, %s", name, gemmNamesOfFP32, gemmNamesOfBF16)
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
	names := os.Getenv(GEMMVariable)
	if names == "" {
		return nil
	}
	for name := range strings.SplitSeq(names, ",") {
		if err := ChooseGEMM(strings.TrimSpace(name)); err != nil {
			return fault.Inputf("%s: %w; unset it, or set it to one of %s for fp32, to one of %s for bf16, or to both with a comma",
				GEMMVariable, err, gemmNamesOfFP32, gemmNamesOfBF16)
		}
	}
	return nil
}

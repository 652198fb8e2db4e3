package tensor

// Which kernels compute matrix products on the CPU: a part of a run's configuration, since each adds up in an order of its
// own.

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/tensor/native"
)

// The kernels of matrix products on the CPU. Those of fp32 are exact to fp32: none ever computes in a shorter type. Those of
// bf16 sum in fp32. Ours, in either, add up in the order of the columns, whatever the number of rows and threads.
const (
	GEMMMKL        = "mkl"           // fp32: what MKL takes by itself: AVX2 where the processor is not Intel's
	GEMMAVX512     = "mkl-avx512"    // fp32: MKL's AVX-512 kernels, whoever made the processor; the default where it can run them
	GEMMFP32AVX2   = "fp32-avx2"     // fp32: ours; the default where the processor has AVX2, no AVX-512, and is not Intel's
	GEMMLibtorch   = "bf16-libtorch" // bf16: what libtorch takes: oneDNN, or plain loops where the processor has no AVX-512
	GEMMBF16AVX512 = "bf16-avx512"   // bf16: ours, with AVX512_BF16; the default where the processor has it and no matrix unit (AMX)
	GEMMBF16AVX2   = "bf16-avx2"     // bf16: ours, in floats; the default where the processor has AVX2 and no AVX-512
)

// The names that ChooseGEMM takes.
var (
	gemmNamesOfFP32 = []string{GEMMMKL, GEMMAVX512, GEMMFP32AVX2}
	gemmNamesOfBF16 = []string{GEMMLibtorch, GEMMBF16AVX512, GEMMBF16AVX2}
)

// ownGEMM are our kernels, by the type and the bits of their vectors.
var ownGEMM = map[bool]map[int]string{false: {256: GEMMFP32AVX2}, true: {256: GEMMBF16AVX2, 512: GEMMBF16AVX512}}

// gemmNeeds is what a processor must have for the kernels of a name.
var gemmNeeds = map[string]string{GEMMAVX512: "AVX-512", GEMMBF16AVX512: "AVX512_BF16", GEMMFP32AVX2: "AVX2 and no AVX-512", GEMMBF16AVX2: "AVX2 and no AVX-512"}

// GEMMVariable is the environment variable that chooses the kernels of a process: a name for fp32, for bf16, or one for each
// with a comma between them.
const GEMMVariable = "SALSA_GEMM"

// GEMM returns the kernels of this process for fp32.
func GEMM() string {
	if native.OwnGEMM(false) {
		return ownGEMM[false][native.OwnGEMMBits(false)]
	}
	return mklGEMM()
}

// mklGEMM returns those of MKL that it has chosen, or would choose.
func mklGEMM() string {
	if native.GEMMWide() {
		return GEMMAVX512
	}
	return GEMMMKL
}

// HalfGEMM returns the kernels of this process for bf16.
func HalfGEMM() string {
	if native.OwnGEMM(true) {
		return ownGEMM[true][native.OwnGEMMBits(true)]
	}
	return GEMMLibtorch
}

// ChooseGEMM sets the kernels of this process for fp32 or for bf16, by name. It fails if the processor lacks the
// instructions, or if MKL computed products by other kernels already: it chooses once.
func ChooseGEMM(name string) error {
	half := slices.Contains(gemmNamesOfBF16, name)
	if !half && !slices.Contains(gemmNamesOfFP32, name) {
		return fmt.Errorf("%q is not one of %s, %s", name, strings.Join(gemmNamesOfFP32, ", "), strings.Join(gemmNamesOfBF16, ", "))
	}
	switch wide := name == GEMMAVX512; {
	case name == ownGEMM[half][native.OwnGEMMBits(half)]:
		native.ChooseOwnGEMM(half, native.OwnAll)
		return nil
	case wide && !native.HasAVX512(), !wide && gemmNeeds[name] != "":
		return fmt.Errorf("%s needs a processor with %s", name, gemmNeeds[name])
	case !half && name != mklGEMM() && native.GEMMAsked():
		return fmt.Errorf("matrix products have been computed by %s already", mklGEMM())
	case !half:
		native.ChooseGEMM(map[bool]int{false: native.GEMMMKL, true: native.GEMMAVX512}[wide])
	}
	native.ChooseOwnGEMM(half, native.OwnNone)
	return nil
}

// askedGEMM returns the names in SALSA_GEMM, none where it is not set.
func askedGEMM() (names []string) {
	asked := os.Getenv(GEMMVariable)
	if asked == "" {
		return nil
	}
	for name := range strings.SplitSeq(asked, ",") {
		names = append(names, strings.TrimSpace(name))
	}
	return names
}

// AskedGEMM returns the kernels that SALSA_GEMM asks for, in fp32 and bf16; empty where it says nothing of a type.
func AskedGEMM() (f32, half string) {
	for _, name := range askedGEMM() {
		if slices.Contains(gemmNamesOfBF16, name) {
			half = name
		} else {
			f32 = name
		}
	}
	return f32, half
}

// gemmFromEnvironment follows SALSA_GEMM where it is set.
func gemmFromEnvironment() error {
	for _, name := range askedGEMM() {
		if err := ChooseGEMM(name); err != nil {
			return fault.Inputf("%s: %w; unset it, or set it to one of %s for fp32, to one of %s for bf16, or to both with a comma",
				GEMMVariable, err, strings.Join(gemmNamesOfFP32, ", "), strings.Join(gemmNamesOfBF16, ", "))
		}
	}
	return nil
}

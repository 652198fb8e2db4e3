package trainers

// What the tests of this package share: the tiny golden models, their data, and comparisons.

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/internal/safetensors"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
	"salsa/tensor/tensortest"
)

// run is the frame of a tensor test.
var run = tensortest.Run

var (
	trained = models.Options{DType: tensor.Float32, Device: tensor.CPU, Train: true}
	frozen  = models.Options{DType: tensor.Float32, Device: tensor.CPU}
)

const (
	llamaDir = "testdata/llama"
	scoreDir = "testdata/llama-score"
)

func loadModel(t *testing.T, dir string, opt models.Options) models.Model {
	t.Helper()
	m, err := models.Load(dir, opt)
	require.NoError(t, err)
	return m
}

func loadScorer(t *testing.T, dir string, opt models.Options) *models.Scorer {
	t.Helper()
	s, err := models.LoadScorer(dir, opt)
	require.NoError(t, err)
	return s
}

// weights copies all weights of a module to Go, by name.
func weights(module any) map[string][]float32 {
	out := map[string][]float32{}
	for p := range nn.Params(module) {
		out[p.Name] = p.Tensor.Float32s()
	}
	return out
}

// readWeights reads the float32 tensors of a safetensors file.
func readWeights(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	file, err := safetensors.ReadHeader(path)
	require.NoError(t, err)
	out := map[string][]float32{}
	for _, info := range file.Infos {
		require.Equal(t, "F32", info.DType)
		raw, err := file.Read(info, nil)
		require.NoError(t, err)
		require.NoError(t, tensor.NoGrad(func() error {
			out[info.Name] = tensor.FromBytes(raw, tensor.Float32, info.Shape...).Float32s()
			return nil
		}))
	}
	return out
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, into))
}

// near holds two series to each other element by element.
func near(t *testing.T, want, got []float64, tol float64, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		require.InDelta(t, want[i], got[i], tol, "%s[%d]", what, i)
	}
}

func nearRows(t *testing.T, want, got [][]float64, tol float64, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		near(t, want[i], got[i], tol, what)
	}
}

// exampleOf marks all tokens from promptLen on as targets.
func exampleOf(ids []int, promptLen int) data.Example {
	mask := make([]bool, len(ids))
	for i := promptLen; i < len(ids); i++ {
		mask[i] = true
	}
	return data.Example{IDs: ids, PromptLen: promptLen, Mask: mask}
}

// goldenSFT is trainers/testdata/sft/golden.json.
type goldenSFT struct {
	Optimizer goldenOptimizer
	Rows      []struct {
		IDs       []int
		PromptLen int `json:"prompt_len"`
	}
	Order [][][]int
	Steps []goldenStep
}

type goldenOptimizer struct {
	LearningRate float64 `json:"learning_rate"`
	Betas        [2]float64
	Eps          float64
	WeightDecay  float64 `json:"weight_decay"`
	MaxGradNorm  float64 `json:"max_grad_norm"`
}

// goldenStep is one optimizer step of a golden run.
type goldenStep struct {
	Loss     float64
	GradNorm float64 `json:"grad_norm"`
	Micro    []struct{ Chosen, Rejected []float64 }
}

// common turns the optimizer's settings into options.
func (g goldenOptimizer) common() Common {
	c := DefaultCommon()
	c.LearningRate, c.LRSchedule = g.LearningRate, "constant"
	c.AdamBeta1, c.AdamBeta2, c.AdamEpsilon = g.Betas[0], g.Betas[1], g.Eps
	c.WeightDecay, c.MaxGradNorm = g.WeightDecay, g.MaxGradNorm
	return c
}

func readSFT(t *testing.T) (goldenSFT, []data.Example) {
	t.Helper()
	var g goldenSFT
	readJSON(t, "testdata/sft/golden.json", &g)
	examples := make([]data.Example, len(g.Rows))
	for i, r := range g.Rows {
		examples[i] = exampleOf(r.IDs, r.PromptLen)
	}
	return g, examples
}

// requireUpdate holds each tensor's way from start to got to its way from start to want: within 1e-3 of the
// typical change of the tensor, its worst thousandth of elements apart (Adam turns the sign of a gradient that is
// nothing but rounding into a full step).
func requireUpdate(t *testing.T, start, want, got map[string][]float32) {
	t.Helper()
	require.Len(t, got, len(want))
	for name, w := range want {
		s, g := start[name], got[name]
		require.Len(t, g, len(w), name)
		var square float64
		for i := range w {
			square += float64(w[i]-s[i]) * float64(w[i]-s[i])
		}
		limit := 1e-3 * math.Sqrt(square/float64(len(w)))
		require.Positive(t, limit, "%s did not move", name)
		bad := 0
		for i := range w {
			if math.Abs(float64(g[i]-w[i])) > limit {
				bad++
			}
		}
		require.LessOrEqual(t, bad, len(w)/1000, "%s: %d of %d elements are farther than %g from the golden weights", name, bad, len(w), limit)
	}
}

// filesOf reads a folder tree into memory, by relative path.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(raw)
		return err
	}))
	return out
}

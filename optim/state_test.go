package optim_test

// Clipping in the step, and the state on disk: fp32 masters, whatever form they have in memory.

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/safetensors"
	"salsa/optim"
	"salsa/tensor"
)

func TestClipFactor(t *testing.T) {
	for _, c := range []struct{ norm, most, want float64 }{
		{2, 0, 1}, {.5, 1, 1}, {1, 1, 1}, {4, 1, 1 / 4.000001}, {math.NaN(), 1, 1}, {math.Inf(1), 1, 1},
	} {
		assert.Equal(t, c.want, optim.ClipFactor(c.norm, c.most), "%+v", c)
	}
}

// A step on clipped gradients is that on smaller ones, whichever kernel takes it; a quarter is exact in every type.
func TestStepClips(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Float16} {
		run(t, func() {
			start := []float64{1, -2, .5}
			a, b := param(start, d), param(start, d)
			clipped, small := optim.NewAdamW(params(&a), hyper), optim.NewAdamW(params(&b), hyper)
			defer clipped.Close()
			defer small.Close()
			for s := range 5 {
				g := gradient(s, 3)
				setGrad(t, a, g)
				require.NoError(t, clipped.Step(1e-2, .25))
				for i := range g {
					g[i] /= 4
				}
				setGrad(t, b, g)
				require.NoError(t, small.Step(1e-2, 1))
			}
			assert.NotEqual(t, start, a.Float64s())
			assert.Equal(t, b.Bytes(), a.Bytes(), d)
		})
	}
}

// A file with an fp32 master, such as those of older runs, is taken over whole: the master comes back bit for bit, ties of
// either direction and their second moments included, and the weight is the master rounded.
func TestLoadOfMasters(t *testing.T) {
	run(t, func() {
		masters := []float32{1.2345678, -3.00390625, 1.00390625, 1.01171875, -1.01171875, 0, 1e-40, 65504.125}
		f32 := func(x []float32) (b []byte) {
			require.NoError(t, tensor.Scope(func() error { b = tensor.Floats(x, len(x)).Bytes(); return nil }))
			return b
		}
		second := []float32{1, 2, 3, 4, 0, 6, 7, 8}
		content := map[string][]byte{"m.a": f32(second), "v.a": f32(second), "step.a": f32([]float32{3})[:4], "master.a": f32(masters)}
		var specs []safetensors.Spec
		for _, name := range []string{"m.a", "v.a", "step.a", "master.a"} {
			spec := safetensors.Spec{Name: name, DType: "F32", Shape: []int{8}}
			if name == "step.a" {
				spec.Shape = []int{}
			}
			specs = append(specs, spec)
		}
		old, again := filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "again")
		read := func(name string) ([]byte, error) { return content[name], nil }
		require.NoError(t, safetensors.WriteFile(old, specs, map[string]string{"format": "pt"}, read))

		w := param(make([]float64, 8), tensor.BFloat16)
		o := optim.NewAdamW(params(&w), hyper)
		defer o.Close()
		require.NoError(t, o.Load(old))
		assert.Equal(t, tensor.Floats(masters, 8).To(tensor.BFloat16).Bytes(), w.Bytes())
		require.NoError(t, o.Save(again))
		one, err := os.ReadFile(old)
		require.NoError(t, err)
		two, err := os.ReadFile(again)
		require.NoError(t, err)
		assert.Equal(t, one, two)
	})
}

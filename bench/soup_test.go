package bench

// Mixing weights: the kernel and every operator on one tensor, and a soup of three members read from disk.

import (
	"cmp"
	"fmt"
	"path/filepath"
	"testing"

	"salsa/models"
	"salsa/nn"
	"salsa/soup"
	"salsa/tensor"
)

func BenchmarkLincomb(b *testing.B) {
	for _, members := range []int{2, 8} {
		b.Run(fmt.Sprintf("%dx1024x1024", members), func(b *testing.B) {
			run(b, func() error {
				into := normal(1024, 1024)
				var src []tensor.Tensor
				var weights []float64
				for range members {
					src, weights = append(src, normal(1024, 1024)), append(weights, 1/float64(members))
				}
				err := inference(b, func() tensor.Tensor {
					tensor.Lincomb(into, src, weights)
					return into
				})
				bytes(b, bytesOf(src...)+bytesOf(into))
				return err
			})
		})
	}
}

// BenchmarkOperators mixes one tensor of two members, with a base where the operator reads one. Bytes are those of the
// inputs and the result, once each: what an operator reads twice, or computes, shows as fewer GB/s.
func BenchmarkOperators(b *testing.B) {
	half := soup.Fixed(.5, .5)
	for _, c := range []struct {
		name   string
		base   bool
		recipe soup.Recipe
	}{
		{"linear", false, soup.Linear(half)},
		{"slerp", false, soup.Slerp(half)},
		{"slerp-base", true, soup.Slerp(half)},
		{"task-arithmetic", true, soup.TaskArithmetic(half, 1)},
		{"ties", true, soup.TIES(half, .2, 1, soup.AgreeingMean)},
		{"dare-linear", true, soup.DARE(half, .5, 1, soup.AllSigns, soup.ByDensity, 1)},
		{"dare-ties-l1", true, soup.DARE(half, .5, 1, soup.AgreeingSum, soup.ByL1, 1)},
		{"model-stock", true, soup.ModelStock()},
		{"liti", true, soup.LITI(soup.Linear(half), .3)},
	} {
		b.Run(c.name+"/2x1024x1024", func(b *testing.B) {
			run(b, func() error {
				into, base := normal(1024, 1024), normal(1024, 1024)
				in := soup.Inputs{Name: "w", Shape: base.Shape(), Members: []models.Source{
					models.SourceOf(noisy(base, 2)), models.SourceOf(noisy(base, 3))}}
				size := 3 * bytesOf(into)
				if c.base {
					in.Base, size = models.SourceOf(base), size+bytesOf(base)
				}
				var failed error
				err := inference(b, func() tensor.Tensor {
					failed = c.recipe.Into(into, in)
					return into
				})
				bytes(b, size)
				return cmp.Or(err, failed)
			})
		})
	}
}

// noisy is a fine-tune of a weight.
func noisy(t tensor.Tensor, seed uint64) tensor.Tensor {
	return t.Add(tensor.Randn(seed, t.Shape()...).To(t.DType()).OnDevice(t.Device()).MulScalar(.1))
}

func BenchmarkSoup(b *testing.B) {
	run(b, func() error {
		var dirs []string
		var dst models.Model
		size := 0.0
		for k := range 3 {
			m, err := newModel(false)
			if err != nil {
				return err
			}
			dirs = append(dirs, filepath.Join(b.TempDir(), fmt.Sprint(k)))
			if err := models.Save(dirs[k], m, models.SaveOptions{}); err != nil {
				return err
			}
			dst = m
		}
		for p := range nn.Params(dst) {
			size += bytesOf(*p.Tensor)
		}
		members, err := soup.Open(dirs)
		if err != nil {
			return err
		}
		defer members.Close()
		weights, err := soup.Weights(nil, len(dirs), false)
		if err != nil {
			return err
		}
		recipe := soup.Linear(soup.Fixed(weights...))
		for b.Loop() {
			if err := members.Mix(dst, recipe); err != nil {
				return err
			}
			for p := range nn.Params(dst) {
				sync(*p.Tensor)
			}
		}
		bytes(b, float64(len(dirs)+1)*size)
		return nil
	})
}

// BenchmarkSoupWrite mixes two members from disk to disk, hashed and synced: what salsa soup does. Bytes are those of the
// members and the result.
func BenchmarkSoupWrite(b *testing.B) {
	run(b, func() error {
		m, err := newModel(false)
		if err != nil {
			return err
		}
		dirs := []string{filepath.Join(b.TempDir(), "a"), filepath.Join(b.TempDir(), "b")}
		for _, dir := range dirs {
			if err := models.Save(dir, m, models.SaveOptions{}); err != nil {
				return err
			}
		}
		members, err := soup.Open(dirs)
		if err != nil {
			return err
		}
		defer members.Close()
		size := 0.0
		for p := range nn.Params(m) {
			size += bytesOf(*p.Tensor)
		}
		out, recipe := filepath.Join(b.TempDir(), "soup"), soup.Linear(soup.Fixed(.5, .5))
		for b.Loop() {
			if err := members.Write(b.Context(), out, recipe, soup.WriteOptions{}); err != nil {
				return err
			}
		}
		bytes(b, 3*size)
		return nil
	})
}

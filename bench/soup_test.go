package bench

// Mixing weights: the kernel on one tensor, and a soup of three members read from disk.

import (
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

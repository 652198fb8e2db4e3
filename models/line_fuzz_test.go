package models_test

// Batches of random rows that begin alike to different lengths, held to their rows one by one.

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"

	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// family returns rows that are beginnings and branches of one another, among them equal ones and rows of one token.
func family(r *rand.Rand) [][]int {
	token := func() int { return 3 + r.IntN(3) } // few, so that the same token follows another past
	var rows [][]int
	for range 2 + r.IntN(6) {
		var row []int
		if len(rows) > 0 {
			old := rows[r.IntN(len(rows))]
			lengths := []int{0, 1, 7, 8, 9, 20, len(old)}
			row = append(row, old[:min(len(old), lengths[r.IntN(len(lengths))])]...)
		}
		for range []int{0, 1, 2, 13, 30}[r.IntN(5)] {
			row = append(row, token())
		}
		if len(row) == 0 {
			row = []int{token()}
		}
		rows = append(rows, row)
	}
	return rows
}

func TestLinesOfFamilies(t *testing.T) {
	eachKind(t, func(t *testing.T, dir string, _ golden) {
		m := load(t, dir, models.Options{DType: tensor.Float32, Device: tensor.CPU, Train: true})
		var params []tensor.Tensor
		for p := range nn.Params(m) {
			params = append(params, *p.Tensor)
		}
		taken := func() (out []tensor.Tensor) {
			for _, p := range params {
				out = append(out, p.Grad().Detach().MulScalar(1))
			}
			tensor.ZeroGrads(params)
			return out
		}
		logp := func(in models.Input, rows [][]int, mask [][]bool) []float64 {
			lp := models.LogProbs(m, in, models.TargetsOf(rows, mask), 1).LogP
			tensor.Backward(lp.Mul(lp).Sum())
			return lp.Float64s()
		}
		for round := range 6 {
			r := rand.New(rand.NewPCG(uint64(round), 1))
			rows := family(r)
			var want []float64
			for _, row := range rows {
				if len(row) > 1 {
					want = append(want, logp(models.Collate([][]int{row}), [][]int{row}, nil)...)
				}
			}
			if len(want) == 0 {
				continue
			}
			alone := taken()
			scale := 1.0 // of all gradients: those of a query that sees one key are nothing but rounding
			for _, g := range alone {
				scale = max(scale, g.Abs().Max().Item())
			}
			same := func(how string, got []float64, grads []tensor.Tensor) {
				assert.InDeltaSlice(t, want, got, 3e-5, "%s, round %d: %v", how, round, rows)
				for i := range grads {
					assert.Less(t, maxDiff(alone[i], grads[i])/scale, 3e-5, "%s, round %d, parameter %d: %v", how, round, i, rows)
				}
			}
			got := logp(models.Collate(rows), rows, nil)
			same("batch", got, taken())
			half := (len(rows) + 1) / 2
			packed, joined := models.Pack([][][]int{rows[:half], rows[half:]})
			mask := make([][]bool, 2)
			for i, row := range rows {
				b := i / half
				for j := range row {
					mask[b] = append(mask[b], j > 0)
				}
			}
			got = logp(packed, joined, mask)
			same("packed", got, taken())
		}
	})
}

package trainers

// APA and AWR: the worked numbers of METHODS.md §9 and their limits.

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"salsa/tensor"
)

var (
	apaNow  = []float64{-.9, -.8, -1.6}
	apaInit = []float64{-1.2, -.9, -1.5}
	apaAdv  = []float64{.5, -.2, 1}
)

func TestAPALoss(t *testing.T) {
	run(t, func() {
		now := flat(apaNow).RequireGrad(true)
		loss := APALoss(now, flat(apaInit), flat(apaAdv), 1)
		near(t, []float64{.04, .09, 1.21}, loss.Float64s(), 1e-6, "λ = 1")
		assert.InDelta(t, .446667, loss.Mean().Item(), 1e-6)
		tensor.Backward(loss.Mean())
		near(t, []float64{-.133333, .2, -.733333}, now.Grad().Float64s(), 1e-6, "2(log-ratio - Â/λ)/N")

		bold := APALoss(flat(apaNow), flat(apaInit), flat(apaAdv), .1)
		near(t, []float64{22.09, 4.41, 102.01}, bold.Float64s(), 1e-4, "λ = .1")
		assert.InDelta(t, 42.836667, bold.Mean().Item(), 1e-5)
	})
}

// Without advantages, or as λ grows, APA pulls the log-ratio to 0; it is 0 where the log-ratio is Â/λ.
func TestAPALimits(t *testing.T) {
	run(t, func() {
		pull := APALoss(flat(apaNow), flat(apaInit), flat([]float64{0, 0, 0}), .1)
		near(t, []float64{.09, .01, .01}, pull.Float64s(), 1e-6, "Â = 0")
		near(t, pull.Float64s(), APALoss(flat(apaNow), flat(apaInit), flat(apaAdv), 1e9).Float64s(), 1e-6, "λ → ∞")
		at := flat(apaInit).Add(flat(apaAdv).DivScalar(2))
		near(t, []float64{0, 0, 0}, APALoss(at, flat(apaInit), flat(apaAdv), 2).Float64s(), 1e-12, "the target")
	})
}

func TestAWRLoss(t *testing.T) {
	run(t, func() {
		loss := AWRLoss(flat(apaNow), flat(apaAdv), 2, 20)
		near(t, []float64{1.155623, .723870, 2.637954}, loss.Float64s(), 1e-6, "coefficient .5")
		assert.InDelta(t, 1.505816, loss.Mean().Item(), 1e-6)
		assert.InDelta(t, 2.162695, AWRLoss(flat(apaNow), flat(apaAdv), 1, 20).Mean().Item(), 1e-6)
		assert.InDelta(t, .9*20, AWRLoss(flat([]float64{-.9}), flat([]float64{1000}), 1, 20).Item(), 1e-4, "a weight is limited")
	})
}

package soup_test

// The operators: worked numbers, and what each is equal to in its special cases.

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
)

// vectors are Inputs of rank 1; an empty base is none.
func vectors(base []float32, members ...[]float32) soup.Inputs {
	in := soup.Inputs{Name: "model.layers.1.w", Shape: []int{len(members[0])}}
	if len(base) > 0 {
		in.Base = source(base)
	}
	for _, m := range members {
		in.Members = append(in.Members, source(m))
	}
	return in
}

// source is a weight of rank 1.
func source(values []float32) models.Source {
	return models.SourceOf(tensor.Floats(values, len(values)))
}

// cook returns what a recipe makes of in, in float32.
func cook(r soup.Recipe, in soup.Inputs) []float32 {
	dst := tensor.Zeros(tensor.Float32, tensor.CPU, in.Shape...)
	if err := r.Into(dst, in); err != nil {
		panic(err)
	}
	return dst.Float32s()
}

// close32 compares at the worked numbers' precision.
func close32(t *testing.T, want []float64, got []float32, note ...any) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		assert.InDelta(t, want[i], float64(got[i]), 1e-6, note...)
	}
}

// noise are n normal numbers about mean.
func noise(seed uint64, n int, mean []float32, scale float32) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	out := make([]float32, n)
	for i := range out {
		out[i] = scale * float32(rng.NormFloat64())
		if mean != nil {
			out[i] += mean[i]
		}
	}
	return out
}

var (
	tau1 = []float32{.5, -.2, .9, .1, -.6, .05}
	tau2 = []float32{-.4, .3, .8, -.7, -.1, .02}
	none = []float32{0, 0, 0, 0, 0, 0}
)

func TestSlerpWorked(t *testing.T) {
	v0, v1 := []float32{1, 2, 2, 0}, []float32{2, 0, 1, 2}
	run(t, func() {
		got := cook(soup.Slerp(soup.Fixed(.7, .3)), vectors(nil, v0, v1))
		close32(t, []float64{1.512784, 1.565661, 1.930637, 0.729953}, got)
		norm := 0.0
		for _, v := range got {
			norm += float64(v) * float64(v)
		}
		assert.InDelta(t, 3, math.Sqrt(norm), 1e-6, "both ends have norm 3, and so has the arc")
		close32(t, []float64{1.3, 1.4, 1.7, .6}, cook(soup.Linear(soup.Fixed(.7, .3)), vectors(nil, v0, v1)))
		for end, want := range [][]float32{v0, v1} {
			share := []float64{1 - float64(end), float64(end)}
			assert.Equal(t, want, cook(soup.Slerp(soup.Fixed(share...)), vectors(nil, v0, v1)), "t = %d", end)
			assert.Equal(t, want, cook(soup.Slerp(soup.Fixed(share...)), vectors([]float32{.5, .5, .5, .5}, v0, v1)), "t = %d, with a base", end)
		}
	})
}

// The task vectors from a base of halves are at a right angle.
func TestWARPWorked(t *testing.T) {
	base := []float32{.5, .5, .5, .5}
	run(t, func() {
		in := vectors(base, []float32{1, 2, 2, 0}, []float32{2, 0, 1, 2})
		r := soup.Slerp(soup.Fixed(.5, .5))
		close32(t, []float64{1.914214, 1.207107, 1.914214, 1.207107}, cook(r, in))
		close32(t, []float64{0.924264, 0.712132, 0.924264, 0.712132}, cook(soup.LITI(r, .3), in))
		assert.Equal(t, cook(r, in), cook(soup.LITI(r, 1), in))
	})
}

func TestSlerpFallsBackToTheLine(t *testing.T) {
	at := func(angle float64) []float32 { return []float32{float32(math.Cos(angle)), float32(math.Sin(angle))} }
	run(t, func() {
		x := []float32{1, 0}
		for _, angle := range []float64{.03, math.Pi - .03} { // |cos| is .999550
			in := vectors(nil, x, at(angle))
			assert.Equal(t, cook(soup.Linear(soup.Fixed(.7, .3)), in), cook(soup.Slerp(soup.Fixed(.7, .3)), in), "%g", angle)
		}
		in := vectors(nil, x, at(.04)) // cos is .9992
		assert.NotEqual(t, cook(soup.Linear(soup.Fixed(.7, .3)), in), cook(soup.Slerp(soup.Fixed(.7, .3)), in))
		in = vectors(x, x, at(1)) // the first task vector is zero
		assert.Equal(t, cook(soup.Linear(soup.Fixed(.7, .3)), in), cook(soup.Slerp(soup.Fixed(.7, .3)), in))
	})
}

func TestTIESWorked(t *testing.T) {
	run(t, func() {
		in := vectors(none, tau1, tau2)
		got := cook(soup.TIES(soup.Fixed(.5, .5), .5, 1, soup.AgreeingMean), in)
		close32(t, []float64{.5, 0, .85, -.7, -.6, 0}, got)
		close32(t, []float64{.25, 0, .85, -.35, -.3, 0}, cook(soup.TIES(soup.Fixed(.5, .5), .5, 1, soup.AgreeingSum), in))
		close32(t, []float64{.05, 0, .85, -.35, -.3, 0}, cook(soup.TIES(soup.Fixed(.5, .5), .5, 1, soup.AllSigns), in))
		lone := vectors(none, tau1)
		close32(t, []float64{0, 0, .9, 0, 0, 0}, cook(soup.TIES(soup.Fixed(1), .01, 1, soup.AgreeingMean), lone), "one entry stays at least")
		equal := vectors([]float32{0, 0, 0, 0}, []float32{1, -1, 1, 1})
		close32(t, []float64{1, -1, 0, 0}, cook(soup.TIES(soup.Fixed(1), .5, 1, soup.AgreeingMean), equal), "of equals the first")
		zeroSum := vectors([]float32{0}, []float32{1}, []float32{-1})
		close32(t, []float64{1}, cook(soup.TIES(soup.Fixed(.5, .5), 1, 1, soup.AgreeingMean), zeroSum), "a sum of zero is positive")
	})
}

func TestDAREWorked(t *testing.T) {
	run(t, func() {
		in, kept := vectors(none, tau1), []int{0, 2, 4}
		one := soup.Fixed(1)
		close32(t, []float64{1, 0, 1.8, 0, -1.2, 0}, cook(soup.DAREMasked(one, 1, soup.AllSigns, soup.ByDensity, .5, kept), in))
		close32(t, []float64{.5875, 0, 1.0575, 0, -.705, 0}, cook(soup.DAREMasked(one, 1, soup.AllSigns, soup.ByL1, .5, kept), in))
		close32(t, []float64{.5, 0, .9, 0, -.6, 0}, cook(soup.DAREMasked(one, 1, soup.AllSigns, soup.NotRescaled, .5, kept), in))
		two := vectors(none, tau1, tau2)
		close32(t, []float64{1, .6, 1.8, 0, -1.2, 0},
			cook(soup.DAREMasked(soup.Fixed(.5, .5), 1, soup.AgreeingMean, soup.ByDensity, .5, kept, []int{0, 1}), two), "dropped entries have no vote")
	})
}

// What DARE keeps: the right share, and the same whatever else is mixed.
func TestDAREDraws(t *testing.T) {
	const n = soup.BlockSize + 4000 // more than one block
	ones := slices.Repeat([]float32{1}, n)
	zeros := make([]float32, n)
	dare := func(seed uint64) soup.Recipe {
		return soup.DARE(soup.Fixed(1), .3, 1, soup.AllSigns, soup.NotRescaled, seed)
	}
	run(t, func() {
		a := cook(dare(1), vectors(zeros, ones))
		sum := 0.0
		for _, v := range a {
			sum += float64(v)
		}
		assert.InDelta(t, .3, sum/n, .01)
		assert.Equal(t, a, cook(dare(1), vectors(zeros, ones)), "the seed decides")
		assert.NotEqual(t, a, cook(dare(2), vectors(zeros, ones)))
		other := vectors(zeros, ones)
		other.Name = "another"
		assert.NotEqual(t, a, cook(dare(1), other), "each tensor has its own numbers")
		assert.NotEqual(t, a[:100], a[soup.BlockSize:soup.BlockSize+100], "and each block")
		both := cook(soup.DARE(soup.Fixed(1, 0), .3, 1, soup.AllSigns, soup.NotRescaled, 1), vectors(zeros, ones, ones))
		assert.Equal(t, a, both, "a first member's numbers do not depend on a second")
		second := cook(soup.DARE(soup.Fixed(0, 1), .3, 1, soup.AllSigns, soup.NotRescaled, 1), vectors(zeros, ones, ones))
		assert.NotEqual(t, a, second, "which has its own")
	})
}

func TestModelStockWorked(t *testing.T) {
	assert.InDelta(t, 0.666667, soup.StockRatio(2, .5), 1e-6)
	assert.InDelta(t, 0.428571, soup.StockRatio(3, .2), 1e-6)
	assert.Equal(t, 1.0, soup.StockRatio(1, 1))
	assert.Zero(t, soup.StockRatio(2, -1), "opposed members: the base")
	run(t, func() {
		base := []float32{1, 1}
		half := float32(math.Sqrt(3) / 2)
		in := vectors(base, []float32{2, 1}, []float32{1.5, 1 + half}) // task vectors at 60°
		close32(t, []float64{1 + .75*2/3., 1 + math.Sqrt(3)/4*2/3}, cook(soup.ModelStock(), in))
		assert.Equal(t, []float32{2, 1}, cook(soup.ModelStock(), vectors(base, []float32{2, 1})), "one member is itself")
		assert.Equal(t, base, cook(soup.ModelStock(), vectors(base, []float32{2, 1}, []float32{0, 1})))
	})
}

func TestEMAWorked(t *testing.T) {
	run(t, func() {
		to := []float32{2, 0}
		in := vectors(nil, []float32{1, 1}, to, to, to)
		close32(t, []float64{1.029701, 0.970299}, cook(soup.Linear(soup.Fixed(soup.EMAWeights(4, .01)...)), in))
		assert.Equal(t, to, cook(soup.Linear(soup.Fixed(soup.EMAWeights(4, 1)...)), in), "μ = 1 is the last")
		assert.Equal(t, []float64{1}, soup.EMAWeights(1, .3))
		steps := vectors(nil, []float32{1, 1}, []float32{3, 0}, []float32{5, 7}) // 1 → 1.5 → 2.375, 1 → .75 → 2.3125
		close32(t, []float64{2.375, 2.3125}, cook(soup.Linear(soup.Fixed(soup.EMAWeights(3, .25)...)), steps), "the order counts")
	})
}

// operators are all recipes with n members of equal shares that should leave equal members alone.
func operators(n int) map[string]soup.Recipe {
	weights, err := soup.Weights(nil, n, false)
	if err != nil {
		panic(err)
	}
	w := soup.Fixed(weights...)
	all := map[string]soup.Recipe{
		"linear": soup.Linear(w), "ema": soup.Linear(soup.Fixed(soup.EMAWeights(n, .1)...)), "stock": soup.ModelStock(),
		"task arithmetic": soup.TaskArithmetic(w, 1), "liti 1": soup.LITI(soup.Linear(w), 1), "layers": soup.Linear(soup.ByLayer(nil, weights)),
	}
	for how, name := range []string{"all signs", "agreeing mean", "agreeing sum"} {
		all["ties, "+name] = soup.TIES(w, 1, 1, soup.Consensus(how))
		for scale := range 3 {
			all[fmt.Sprintf("dare, %s, rescale %d", name, scale)] = soup.DARE(w, 1, 1, soup.Consensus(how), soup.Rescale(scale), 5)
		}
	}
	if n == 2 {
		all["slerp"] = soup.Slerp(w)
	}
	return all
}

func TestEqualMembersAreLeftAlone(t *testing.T) {
	const size = 1000
	base := noise(1, size, nil, 1)
	model := noise(2, size, base, .1)
	run(t, func() {
		for n := 1; n <= 5; n++ {
			in := vectors(base, slices.Repeat([][]float32{model}, n)...)
			atBase := vectors(base, slices.Repeat([][]float32{base}, n)...)
			for name, r := range operators(n) {
				assert.Equal(t, model, cook(r, in), "%s of %d", name, n)
				assert.Equal(t, base, cook(r, atBase), "%s of %d at the base", name, n)
			}
		}
	})
}

func TestReductions(t *testing.T) {
	const size = 500
	base := noise(1, size, nil, 1)
	members := [][]float32{noise(2, size, base, .1), noise(3, size, base, .1), noise(4, size, base, .1)}
	w := soup.Fixed(.5, .2, .3)
	run(t, func() {
		in := vectors(base, members...)
		linear := cook(soup.Linear(w), in)
		same := func(r soup.Recipe, note string) {
			t.Helper()
			got := cook(r, in)
			for i := range linear {
				require.InDelta(t, linear[i], got[i], 1e-6, "%s [%d]", note, i)
			}
		}
		same(soup.TaskArithmetic(w, 1), "task arithmetic with λ = 1")
		same(soup.DARE(w, 1, 1, soup.AllSigns, soup.ByDensity, 1), "DARE that drops nothing")
		same(soup.DARE(w, 1, 1, soup.AllSigns, soup.ByL1, 1), "DARE that drops nothing, by norm")
		same(soup.TIES(w, 1, 1, soup.AllSigns), "TIES that trims nothing and hears all")
		assert.Equal(t, cook(soup.TIES(w, 1, .6, soup.AgreeingMean), in), cook(soup.DARE(w, 1, .6, soup.AgreeingMean, soup.ByDensity, 1), in))
		assert.Equal(t, base, cook(soup.TIES(w, .3, 0, soup.AgreeingMean), in), "λ = 0 is the base")
		assert.Equal(t, base, cook(soup.TaskArithmetic(w, 0), in))
		raised := make([][]float32, len(members)) // all task vectors positive
		for k := range raised {
			raised[k] = slices.Clone(base)
			for i := range raised[k] {
				raised[k][i] += float32(math.Abs(float64(members[k][i] - base[i])))
			}
		}
		in = vectors(base, raised...)
		linear = cook(soup.Linear(w), in)
		same(soup.TIES(w, 1, 1, soup.AgreeingMean), "TIES of equal signs")
		same(soup.TIES(w, 1, 1, soup.AgreeingSum), "and its sum")
	})
}

// A trim that is found by counting is the trim that sorting finds, over several blocks and with equal entries.
func TestTIESTrimsAsSortingDoes(t *testing.T) {
	const size = soup.BlockSize + 999
	rng := rand.New(rand.NewPCG(4, 4))
	model := make([]float32, size)
	for i := range model {
		model[i] = float32(rng.IntN(2001)-1000) / 64 // many of equal size
	}
	density := .37
	keep := int(density * float64(size))
	order := make([]int, size)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return int(math.Abs(float64(64*model[b]))) - int(math.Abs(float64(64*model[a])))
	})
	want := make([]float32, size)
	for _, i := range order[:keep] {
		want[i] = model[i]
	}
	run(t, func() {
		got := cook(soup.TIES(soup.Fixed(1), density, 1, soup.AgreeingMean), vectors(make([]float32, size), model))
		for i := range got {
			if got[i] == 0 {
				got[i] = 0 // without a sign
			}
		}
		assert.Equal(t, want, got)
	})
}

func TestGreedy(t *testing.T) {
	var tries [][]int
	greedy := func(strict bool, values ...float64) ([]int, []soup.GreedyStep) {
		tries = nil
		kept, steps, err := soup.Greedy([]float64{1, 3, 2, 2}, strict, func(members []int) (float64, error) {
			tries = append(tries, slices.Clone(members))
			return values[len(tries)-1], nil
		})
		require.NoError(t, err)
		return kept, steps
	}
	kept, steps := greedy(false, 3.5, 3.4, 3.5)
	assert.Equal(t, []int{1, 2, 0}, kept, "an equal metric is no worse")
	assert.Equal(t, [][]int{{1, 2}, {1, 2, 3}, {1, 2, 0}}, tries, "from the best down, ties in their order, what was refused stays out")
	assert.Equal(t, soup.GreedyStep{Member: 3, Alone: 2, Mixed: 3.4}, steps[2])
	kept, _ = greedy(true, 3.5, 3.4, 3.5)
	assert.Equal(t, []int{1, 2}, kept, "strictly better only")
	kept, _ = greedy(false, 2, 2, 2)
	assert.Equal(t, []int{1}, kept, "without an improver the best single model")
	assert.Equal(t, []float64{0, .5, .5, 0}, soup.Among(4, []int{1, 2}))
	_, _, err := soup.Greedy([]float64{1, 2}, false, func([]int) (float64, error) { return 0, assert.AnError })
	assert.ErrorIs(t, err, assert.AnError)
}

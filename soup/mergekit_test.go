package soup_test

// The operators against mergekit's results on tiny Llamas; scripts/golden/soups.py made the numbers.

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/soup"
)

// mergekitGolden is mergekit.golden.json; tensors are flat and by name.
type mergekitGolden struct {
	Weights []float64
	Base    map[string][]float32
	Members []map[string][]float32
	Merged  map[string]map[string][]float64
	Dropped struct {
		Name     string
		Mask     []int
		None, L1 []float64
	}
}

func readMergekit(t *testing.T) (g mergekitGolden) {
	t.Helper()
	raw, err := os.ReadFile("testdata/mergekit.golden.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &g))
	return g
}

// inputs are one tensor of the golden file, of the first n members.
func (g *mergekitGolden) inputs(name string, n int, base bool) soup.Inputs {
	in := soup.Inputs{Name: name, Shape: []int{len(g.Members[0][name])}}
	if base {
		in.Base = source(g.Base[name])
	}
	for _, m := range g.Members[:n] {
		in.Members = append(in.Members, source(m[name]))
	}
	return in
}

func TestMergekit(t *testing.T) {
	g := readMergekit(t)
	w := soup.Fixed(g.Weights...)
	thirds := soup.Fixed(1./3, 1./3, 1./3)
	for _, c := range []struct {
		name    string
		members int
		base    bool
		recipe  soup.Recipe
	}{
		{"linear", 3, false, soup.Linear(w)},
		{"slerp", 2, false, soup.Slerp(soup.Fixed(.7, .3))},
		{"nuslerp", 2, true, soup.Slerp(soup.Fixed(.7, .3))},
		{"task_arithmetic", 3, true, soup.TaskArithmetic(w, .7)},
		{"task_arithmetic_sum", 3, true, soup.TaskArithmetic(thirds, 3)}, // weights of 1 each
		{"ties", 3, true, soup.TIES(w, .4, .9, soup.AgreeingMean)},
		{"ties_all", 3, true, soup.TIES(w, 1, 1, soup.AgreeingMean)},
		{"dare_linear_all", 3, true, soup.DARE(w, 1, 1, soup.AllSigns, soup.ByL1, 1)},
		{"dare_ties_all", 3, true, soup.DARE(w, 1, 1, soup.AgreeingSum, soup.ByL1, 1)},
		{"model_stock", 3, true, soup.ModelStock()},
		{"model_stock_2", 2, true, soup.ModelStock()},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func() {
				require.NotEmpty(t, g.Merged[c.name])
				for name, want := range g.Merged[c.name] {
					close32(t, want, cook(c.recipe, g.inputs(name, c.members, c.base)), name)
				}
			})
		})
	}
	assert.Len(t, g.Merged, 11, "every merge of the file is looked at")
}

// mergekit's own thinning of a task vector, with the mask that it drew.
func TestMergekitDrops(t *testing.T) {
	g := readMergekit(t)
	var kept []int
	for i, on := range g.Dropped.Mask {
		if on == 1 {
			kept = append(kept, i)
		}
	}
	run(t, func() {
		in := g.inputs(g.Dropped.Name, 1, true)
		tau := slices.Clone(g.Members[0][g.Dropped.Name])
		for i := range tau {
			tau[i] -= g.Base[g.Dropped.Name][i]
		}
		in.Members[0], in.Base = source(tau), source(make([]float32, len(tau)))
		one := soup.Fixed(1)
		close32(t, g.Dropped.None, cook(soup.DAREMasked(one, 1, soup.AllSigns, soup.NotRescaled, .5, kept), in))
		close32(t, g.Dropped.L1, cook(soup.DAREMasked(one, 1, soup.AllSigns, soup.ByL1, .5, kept), in))
		doubled := slices.Clone(g.Dropped.None)
		for i := range doubled {
			doubled[i] *= 2
		}
		close32(t, doubled, cook(soup.DAREMasked(one, 1, soup.AllSigns, soup.ByDensity, .5, kept), in), "the paper's gain is another")
	})
}

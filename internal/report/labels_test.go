package report

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNamesDoNotCoverEachOther(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var list []label
	for i := range 18 { // two crowds
		list = append(list, label{text: fmt.Sprintf("method %d", i), x: 200 + 300*float64(i%2) + 14*rng.NormFloat64(), y: 150 + 14*rng.NormFloat64()})
	}
	placed := place(list, 0, 0, 900, 400)
	require.Len(t, placed, 18)
	for i := range placed {
		a := &placed[i]
		assert.GreaterOrEqual(t, a.left, 0.0)
		assert.LessOrEqual(t, a.left+a.width, 900.0)
		for k := range placed {
			assert.False(t, k != i && a.overlaps(placed[k]), "%s over %s", a.text, placed[k].text)
			assert.False(t, a.covers(placed[k].x, placed[k].y), "%s over the point of %s", a.text, placed[k].text)
		}
	}
	assert.Equal(t, placed, place(list, 0, 0, 900, 400))
}

func TestANameWithoutRoomStaysBesideItsPoint(t *testing.T) {
	placed := place([]label{{text: "far too long a name", x: 5, y: 5}}, 0, 0, 10, 10)
	assert.InDelta(t, 5+beside, placed[0].left, 1e-9)
	assert.InDelta(t, 5-labelLine/2, placed[0].top, 1e-9)
}

func TestDirectLabelsReplaceTheLegend(t *testing.T) {
	chart := ScatterChart{Direct: true, X: Axis{Label: "KL"}, Y: Axis{Label: "gold"}}
	for i := range 18 {
		p := Point{X: float64(i), Y: float64(i * i)}
		chart.Groups = append(chart.Groups, Group{Name: fmt.Sprintf("m%d", i), Lines: []Trace{{Name: "seed 1", Points: []Point{p}}}, Mean: []Point{p}})
	}
	draw := func() string {
		var out strings.Builder
		require.NoError(t, WriteSVG(&out, chart))
		return out.String()
	}
	direct := draw()
	wellFormed(t, direct)
	assert.Equal(t, 18, strings.Count(direct, `class="label"`))
	assert.Zero(t, strings.Count(direct, `class="key"`))
	assert.Contains(t, direct, "m7, mean of 1: KL 7, gold 49")
	for i := range 18 {
		assert.Contains(t, direct, fmt.Sprintf(".fig .f%d{", i), "every series has a colour")
	}
	chart.Direct = false
	assert.Equal(t, 18, strings.Count(draw(), `class="key"`))
}

func TestColoursComeInPairs(t *testing.T) {
	assert.Len(t, darkColors, len(lightColors))
	seen := map[string]bool{}
	for _, c := range append(append([]string{}, lightColors...), darkColors...) {
		assert.False(t, seen[c], c)
		seen[c] = true
	}
}

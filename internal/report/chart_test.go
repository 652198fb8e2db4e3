package report

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"salsa/internal/metrics"
)

func labels(s *scale) []string {
	var out []string
	for i := range s.ticks {
		out = append(out, s.label(i))
	}
	return out
}

func TestTicksAreRound(t *testing.T) {
	inf := math.Inf(1)
	cases := []struct {
		name   string
		axis   Axis
		values []float64
		air    bool
		want   string
	}{
		{"plain", Axis{}, []float64{0, 10}, tight, "0 2 4 6 8 10"},
		{"fractions", Axis{}, []float64{-0.13, 0.3}, tight, "−0.1 0.0 0.1 0.2 0.3"},
		{"large", Axis{}, []float64{0, 50000}, tight, "0 10k 20k 30k 40k 50k"},
		{"tiny", Axis{}, []float64{0, 3e-6}, tight, "0 5e−7 1e−6 1.5e−6 2e−6 2.5e−6 3e−6"},
		{"share", Axis{Percent: true, Include: []float64{0, 1}}, []float64{0.5}, loose, "0 % 20 % 40 % 60 % 80 % 100 %"},
		{"log", Axis{Log: true}, []float64{1e-6, 1, 0, -3}, tight, "1e−6 1e−5 1e−4 0.001 0.01 0.1 1"},
		{"log within a decade or two", Axis{Log: true}, []float64{128, 8192}, tight, "200 500 1000 2000 5000"},
		{"log of small values", Axis{Log: true}, []float64{0.03, 0.6}, tight, "0.05 0.1 0.2 0.5"},
		{"one value", Axis{}, []float64{5}, tight, "4.6 4.8 5.0 5.2 5.4"},
		{"constant zero", Axis{}, []float64{0, 0}, tight, "−1.0 −0.5 0.0 0.5 1.0"},
		{"nothing", Axis{}, []float64{math.NaN(), inf}, tight, "0.0 0.2 0.4 0.6 0.8 1.0"},
	}
	for _, c := range cases {
		s := newScale(c.axis, c.values, 0, 440, c.air)
		require.Equal(t, c.want, strings.Join(labels(s), " "), c.name)
	}
}

func TestAirIsLeftUnlessTheAxisStartsAtAnIncludedValue(t *testing.T) {
	s := newScale(Axis{Include: []float64{0}}, []float64{2, 10}, 0, 100, loose)
	require.Equal(t, 0.0, s.min)
	require.InDelta(t, 10.5, s.max, 1e-12)
	require.InDelta(t, 100*10/10.5, s.at(10), 1e-9)
}

func TestNumber(t *testing.T) {
	for want, c := range map[string]struct {
		v      float64
		digits int
	}{
		"12.5k": {12500, 0}, "3.2M": {3.2e6, 2}, "−1.50": {-1.5, 2}, "3e−6": {3e-6, 0}, "3.3e−6": {1. / 300000, 0}, "0.00": {0, 2},
		"–": {math.NaN(), 1}, "∞": {math.Inf(1), 1}, "−∞": {math.Inf(-1), 1}, "0.123": {0.1234, 0}, "112": {112, 0}, "1.23e+12": {1.234e12, 0},
	} {
		require.Equal(t, want, Number(c.v, c.digits))
	}
}

func TestPinnedSeriesKeepTheirColour(t *testing.T) {
	c := newCanvas(&markup{}, []string{"PPO", "SALSA"}, []string{"other", "SALSA", "third"})
	require.Equal(t, map[string]int{"SALSA": 1, "other": 0, "third": 2}, c.color)
	d := newCanvas(&markup{}, []string{"PPO", "SALSA"}, []string{"PPO", "other"})
	require.Equal(t, map[string]int{"PPO": 0, "other": 1}, d.color)
}

// Charts of data that cannot be drawn must still be charts.
func TestChartsOfOddDataAreWellFormed(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	charts := map[string]Chart{
		"no series":     LineChart{Title: "t"},
		"empty series":  LineChart{Series: []Series{{Name: "a"}, {Name: "a"}}},
		"only NaN":      LineChart{Series: []Series{{Name: "a", Points: []Point{{X: 1, Y: nan, Low: nan, High: inf}}, Band: true}}},
		"one point":     LineChart{Series: []Series{{Name: "a", Points: []Point{{X: 1, Y: 2}}}}},
		"negative log":  LineChart{Y: Axis{Log: true}, Series: []Series{{Name: "a", Points: []Point{{X: 1, Y: -2}, {X: 2, Y: 0}}}}},
		"huge":          LineChart{Series: []Series{{Name: "a", Points: []Point{{X: 1, Y: 1e300}, {X: 2, Y: -1e300}}}}},
		"no groups":     ScatterChart{},
		"infinite mean": ScatterChart{Groups: []Group{{Name: "a", Lines: []Trace{{Points: []Point{{X: nan, Y: 1}}}}, Mean: []Point{{X: inf, Y: 1}}}}},
		"no rows":       BarCI{},
		"open interval": BarCI{Rows: []Estimate{{"a", "b", 1, nan, inf, ""}, {"a", "b", nan, 0, 1, ""}}, ReferenceText: "zero"},
		"long legend":   LineChart{Series: []Series{{Name: strings.Repeat("wide ", 40)}, {Name: strings.Repeat("name ", 40)}, {Name: "<&>"}}},
	}
	for name, chart := range charts {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			require.NoError(t, WriteSVG(&out, chart))
			wellFormed(t, out.String())
			require.NotContains(t, out.String(), "NaN")
			require.NotContains(t, out.String(), "Inf")
			wellFormed(t, rendered(t, &Report{Sections: []Section{{Blocks: []Block{chart, Columns{chart}}}}}))
		})
	}
}

func TestThinKeepsPeaksAndGaps(t *testing.T) {
	points := make([]Point, 10000)
	for i := range points {
		points[i] = Point{X: float64(i), Y: math.Sin(float64(i) / 50)}
	}
	points[1234].Y, points[7777].Y, points[5000].Y = 99, -99, math.NaN()
	got := thin(points)
	require.LessOrEqual(t, len(got), 600)
	require.Contains(t, got, points[1234])
	require.Contains(t, got, points[7777])
	gaps := 0
	for i, pt := range got {
		if math.IsNaN(pt.Y) {
			gaps++
		}
		require.True(t, i == 0 || got[i-1].X < pt.X, "order is kept")
	}
	require.Equal(t, 1, gaps)
	require.Equal(t, points[:600], thin(points[:600]))
}

func TestSmoothIsUnbiasedAtTheStart(t *testing.T) {
	got := smooth([]Point{{Y: 4}, {Y: math.NaN()}, {Y: 4}, {Y: 8}}, 0.5)
	require.InDelta(t, 4, got[0].Y, 1e-12)
	require.True(t, math.IsNaN(got[1].Y))
	require.InDelta(t, 4, got[2].Y, 1e-12)
	require.InDelta(t, (0.5*4*0.25+0.5*4*0.5+0.5*8)/0.875, got[3].Y, 1e-12)
}

func TestRichTextMarksCodeAndStrongOnly(t *testing.T) {
	for in, want := range map[string]string{
		"a `b<` **c** d": "a <code>b&lt;</code> <strong>c</strong> d",
		"2**3 and `":     "2**3 and `",
		"``empty":        "``empty",
		"":               "",
	} {
		m := &markup{}
		m.rich(in)
		require.Equal(t, want, m.String())
	}
	require.Equal(t, "a\ufffdb\t\n\ufffd", escape("a\xffb\t\n\uffff"))
}

func TestBestOfAColumn(t *testing.T) {
	table := Table{Columns: []Column{{"m", false, NoBest}, {"up", true, Highest}, {"down", true, Lowest}, {"same", true, Highest}},
		Rows: [][]Cell{{Text("a"), Value(1, 0), Value(1, 0), Value(2, 0)}, {Text("b"), Value(2, 0), Value(2, 0), Value(2, 0)}, {Text("c"), Value(math.NaN(), 0)}}}
	doc := rendered(t, &Report{Sections: []Section{{Blocks: []Block{table}}}})
	require.Contains(t, doc, `<td class="num"><span class="best" title="best of this column">2</span></td><td class="num">2</td>`)
	require.Equal(t, 2, strings.Count(doc, `class="best"`), "a shared value is no best")
	require.Contains(t, doc, `<td class="num">–</td><td class="num"></td><td class="num"></td>`)
}

func trainingRows(keys ...string) []metrics.Row {
	var rows []metrics.Row
	for step := 1; step <= 20; step++ {
		row := metrics.Row{Step: step, Values: map[string]float64{}}
		for i, key := range keys {
			row.Values[key] = float64(step * (i + 1))
		}
		rows = append(rows, row)
	}
	return rows
}

func TestTrainingBlocksOfOneRunGroupRelatedMetrics(t *testing.T) {
	blocks := TrainingBlocks(Training{"run", trainingRows("loss", "rewards/chosen", "rewards/rejected", "my/metric", "timing_s/step")})
	require.Len(t, blocks, 3)
	charts := blocks[0].(Columns)
	require.Len(t, charts, 2)
	require.Equal(t, "rewards/chosen, rewards/rejected", charts[1].(LineChart).Y.Label)
	require.Equal(t, []string{"chosen", "rejected"}, charts[1].(LineChart).names())
	require.Equal(t, "All other metrics (1)", blocks[1].(Details).Summary)
	require.Equal(t, "Speed and memory (1)", blocks[2].(Details).Summary)
	wellFormed(t, rendered(t, &Report{Sections: []Section{{Blocks: blocks}}}))
}

func TestTrainingBlocksOfTwoRunsLayThemOver(t *testing.T) {
	blocks := TrainingBlocks(Training{"PPO", trainingRows("objective/scores", "objective/kl")}, Training{"SALSA", trainingRows("objective/kl")})
	require.Len(t, blocks, 1)
	charts := blocks[0].(Columns)
	require.Len(t, charts, 2)
	require.Equal(t, "Score", charts[0].(LineChart).Title)
	require.Equal(t, []string{"PPO", "SALSA"}, charts[1].(LineChart).names())
	require.Len(t, charts[1].(LineChart).Series[1].Points, 20)
	require.Empty(t, TrainingBlocks(Training{Name: "empty"}))
}

func TestHintsBecomeNotes(t *testing.T) {
	require.Equal(t, Good, HintNotes(HintsOf(trainingRows("loss")))[0].(Note).Verdict)
	notes := HintNotes(HintsOf(trainingRows("policy/clipfrac_avg")))
	require.Len(t, notes, 1)
	require.Equal(t, "policy/clipfrac_avg was 1 at step 1", notes[0].(Note).Title)
}

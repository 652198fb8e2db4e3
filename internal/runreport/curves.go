package runreport

// Curves of PPO and SALSA: single steps are noisy, so neighbours are averaged before anything is drawn or compared.

import (
	"fmt"
	"math"

	"salsa/eval"
	"salsa/internal/metrics"
	"salsa/internal/report"
)

// Metrics of a PPO step that the report reads by name.
const (
	keyGold    = "objective/gold"
	keyScore   = "objective/scores_raw"
	keyKL      = "objective/kl"
	keyKLStart = "objective/kl_start"
)

// Most points of a curve over steps, and of a frontier, whose points carry the noise of two metrics.
const (
	curvePoints    = 60
	frontierPoints = 30
)

// method is PPO or SALSA with the runs of its seeds.
type method struct {
	name string
	runs []*ranRun
}

// methods lists those that ran.
func (m *material) methods() []method {
	var list []method
	for _, x := range []method{{namePPO, m.ppo}, {nameSALSA, m.salsa}} {
		if len(x.runs) > 0 {
			list = append(list, x)
		}
	}
	return list
}

// stride is how many steps make a point so that no curve has more than the given points: the same for all runs, so
// that seeds and methods line up.
func (m *material) stride(points int) int {
	last := 0
	for _, x := range m.methods() {
		for _, run := range x.runs {
			last = max(last, run.steps())
		}
	}
	return max(1, (last+points-1)/points)
}

// binned averages a metric over each stride of steps; entry i covers steps i·stride+1 to (i+1)·stride and is NaN
// where none of them has the metric.
func binned(rows []metrics.Row, key string, stride int) []float64 {
	var sums, counts []float64
	for _, row := range rows {
		v, ok := row.Values[key]
		if !ok || row.Step < 1 {
			continue
		}
		at := (row.Step - 1) / stride
		for len(sums) <= at {
			sums, counts = append(sums, 0), append(counts, 0)
		}
		sums[at] += v
		counts[at]++
	}
	for i := range sums {
		sums[i] /= counts[i] // 0/0 is the NaN that is promised
	}
	return sums
}

// path is a run's way through a plane of two metrics, up to the first stride that lacks one of them.
func (r *ranRun) path(xKey, yKey string, stride int) []eval.Point {
	x, y := binned(r.rows, xKey, stride), binned(r.rows, yKey, stride)
	var out []eval.Point
	for i := range min(len(x), len(y)) {
		if math.IsNaN(x[i]+y[i]) || math.IsInf(x[i]+y[i], 0) {
			break
		}
		out = append(out, eval.Point{X: x[i], Y: y[i]})
	}
	return out
}

// meanPath averages the seeds' ways, point by point.
func (x method) meanPath(xKey, yKey string, stride int) []eval.Point {
	var all [][]eval.Point
	for _, run := range x.runs {
		all = append(all, run.path(xKey, yKey, stride))
	}
	return eval.MeanCurve(all)
}

// window is how many neighbouring points of n a mean curve averages: an odd number, 5 at most, 1 for short curves.
func window(n int) int { return min(5, max(1, n/8)|1) }

// runningMean averages each point with its neighbours in both axes; at the ends with those there are.
func runningMean(curve []eval.Point) []eval.Point {
	out := make([]eval.Point, len(curve))
	reach := window(len(curve)) / 2
	for i := range curve {
		near := curve[max(0, i-reach):min(len(curve), i+reach+1)]
		for _, p := range near {
			out[i].X += p.X / float64(len(near))
			out[i].Y += p.Y / float64(len(near))
		}
	}
	return out
}

// has reports whether every run of the method has the metric.
func (x method) has(key string) bool {
	for _, run := range x.runs {
		if !run.has(key) {
			return false
		}
	}
	return len(x.runs) > 0
}

// frontier draws reward over KL for all methods.
func (m *material) frontier(title, key, label string, stride int) report.ScatterChart {
	chart := report.ScatterChart{Title: title,
		X: report.Axis{Label: "KL to the start policy", Unit: "nats per completion", Include: m.kls(stride)}, Y: report.Axis{Label: label}}
	for _, x := range m.methods() {
		if !x.has(key) || !x.has(keyKLStart) {
			continue
		}
		g := report.Group{Name: x.name}
		for _, run := range x.runs {
			t := report.Trace{Name: "seed " + run.seed, Points: plotted(run.path(keyKLStart, key, stride))}
			for i := range t.Points {
				t.Labels = append(t.Labels, stepsOf(i, stride))
			}
			g.Lines = append(g.Lines, t)
		}
		g.Mean = plotted(runningMean(x.meanPath(keyKLStart, key, stride)))
		chart.Groups = append(chart.Groups, g)
	}
	return chart
}

// kls lists the KLs of all points of all runs, so that panels share their axis.
func (m *material) kls(stride int) []float64 {
	all := []float64{0}
	for _, x := range m.methods() {
		for _, run := range x.runs {
			for _, p := range run.path(keyKLStart, keyScore, stride) {
				all = append(all, p.X)
			}
		}
	}
	return all
}

func plotted(curve []eval.Point) []report.Point {
	out := make([]report.Point, len(curve))
	for i, p := range curve {
		out[i] = report.Point{X: p.X, Y: p.Y}
	}
	return out
}

// middle is the mean step of a point.
func middle(i, stride int) float64 { return float64(i*stride) + float64(stride+1)/2 }

// stepsOf names the steps of a point.
func stepsOf(i, stride int) string {
	if stride == 1 {
		return fmt.Sprintf("step %d", i+1)
	}
	return fmt.Sprintf("steps %d to %d", i*stride+1, (i+1)*stride)
}

// spot is a place on a curve of reward over KL.
type spot struct {
	KL    float64 `json:"kl"` // to the start policy
	Value float64 `json:"value"`
}

func spotOf(p eval.Point) spot { return spot{KL: p.X, Value: p.Y} }

// summit is where a method's mean curve of a metric over KL is highest, and where it ends.
type summit struct {
	Method string  `json:"method"`
	Metric string  `json:"metric"`
	Stride int     `json:"steps_per_point"`
	Best   spot    `json:"best"`
	BestAt int     `json:"best_step"`
	First  spot    `json:"first"`
	Last   spot    `json:"last"`
	Noise  float64 `json:"noise"` // mean size of the change between neighbouring points, before they are averaged
}

// summits sums up each method's mean curve; methods without the metric are left out.
func (m *material) summits(key string, stride int) []summit {
	var list []summit
	for _, x := range m.methods() {
		raw := x.meanPath(keyKLStart, key, stride)
		if len(raw) == 0 {
			continue
		}
		curve := runningMean(raw)
		s := summit{Method: x.name, Metric: key, Stride: stride, First: spotOf(curve[0]), Last: spotOf(curve[len(curve)-1])}
		for i, p := range curve {
			if i == 0 || p.Y > s.Best.Value {
				s.Best, s.BestAt = spotOf(p), (i+1)*stride
			}
			if i > 0 {
				s.Noise += math.Abs(raw[i].Y-raw[i-1].Y) / float64(len(raw)-1)
			}
		}
		list = append(list, s)
	}
	return list
}

// bent reports whether the curve ends clearly below its best: by more than twice the noise of its points.
func (s summit) bent() bool { return s.Best.Value-s.Last.Value > 2*s.Noise }

// atEqualKL is both methods' reward where they have moved equally far.
type atEqualKL struct {
	KL      float64   `json:"kl"`
	PPO     float64   `json:"ppo"`
	SALSA   float64   `json:"salsa"`
	PerSeed []float64 `json:"difference_per_seed,omitempty"` // SALSA − PPO of seeds that both have and whose curves reach this KL
}

// equalKL compares the mean curves at four KLs that both reach; nil where they share no range.
func (m *material) equalKL(key string, stride int) ([]atEqualKL, error) {
	a, b := method{namePPO, m.ppo}, method{nameSALSA, m.salsa}
	p, q := runningMean(a.meanPath(keyKLStart, key, stride)), runningMean(b.meanPath(keyKLStart, key, stride))
	low, high, ok := eval.Overlap(p, q)
	if !ok || low == high {
		return nil, nil
	}
	var list []atEqualKL
	for i := 1; i <= 4; i++ {
		e := atEqualKL{KL: min(high, low+(high-low)*float64(i)/4)}
		var err error
		if e.PPO, err = eval.At(p, e.KL); err != nil {
			return nil, err
		}
		if e.SALSA, err = eval.At(q, e.KL); err != nil {
			return nil, err
		}
		e.PerSeed = m.equalKLSeeds(key, stride, e.KL)
		list = append(list, e)
	}
	return list, nil
}

func (m *material) equalKLSeeds(key string, stride int, kl float64) []float64 {
	var out []float64
	for _, s := range m.salsa {
		for _, p := range m.ppo {
			if p.seed != s.seed {
				continue
			}
			x, errX := eval.At(runningMean(p.path(keyKLStart, key, stride)), kl)
			y, errY := eval.At(runningMean(s.path(keyKLStart, key, stride)), kl)
			if errX == nil && errY == nil { // a seed that never came so far takes no part
				out = append(out, y-x)
			}
		}
	}
	return out
}

// banded draws a metric of all methods over steps: mean over seeds, band from the lowest to the highest seed.
func (m *material) banded(title, unit, key string, stride int) (chart report.LineChart, ok bool) {
	chart = report.LineChart{Title: title, X: report.Axis{Label: "step"}, Y: report.Axis{Unit: unit, Label: key}}
	for _, x := range m.methods() {
		if !x.has(key) {
			continue
		}
		s := report.Series{Name: x.name, Band: len(x.runs) > 1}
		var all [][]float64
		shortest := math.MaxInt
		for _, run := range x.runs {
			bins := binned(run.rows, key, stride)
			all, shortest = append(all, bins), min(shortest, len(bins))
		}
		for i := range shortest {
			p := report.Point{X: middle(i, stride), Low: math.Inf(1), High: math.Inf(-1)}
			for _, bins := range all {
				p.Y += bins[i] / float64(len(all))
				p.Low, p.High = min(p.Low, bins[i]), max(p.High, bins[i])
			}
			s.Points = append(s.Points, p)
		}
		chart.Series = append(chart.Series, s)
	}
	return chart, len(chart.Series) > 0
}

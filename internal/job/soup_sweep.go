package job

// The walk along α: how loss, reward and KL change on the way from one member to the other.

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/soup"
)

// SweepOptions are the options of the walk along α.
type SweepOptions struct {
	Sweep string `yaml:"sweep" arg:"FROM:TO:STEP" help:"measure the mix α·first + (1-α)·second, or with slerp that point of the arc, at each α of this grid, into sweep.json"`
}

// grid reads FROM:TO:STEP; nil if no sweep is asked for.
func (o *SoupOptions) grid() ([]float64, error) {
	if o.Sweep == "" {
		return nil, nil
	}
	if len(o.Members) != 2 {
		return nil, fault.Inputf("--sweep walks between two members; %d are given", len(o.Members))
	}
	if len(o.EvalData) == 0 {
		return nil, fault.Inputf("--sweep needs --eval-data: rows to measure on")
	}
	var v [3]float64
	parts := strings.Split(o.Sweep, ":")
	for i := range v {
		var err error
		if len(parts) != 3 {
			return nil, fault.Inputf("--sweep %s: want FROM:TO:STEP, such as 0:1:0.1", o.Sweep)
		}
		if v[i], err = strconv.ParseFloat(parts[i], 64); err != nil {
			return nil, fault.Inputf("--sweep %s: %q is not a number; want FROM:TO:STEP, such as 0:1:0.1", o.Sweep, parts[i])
		}
	}
	from, to, step := v[0], v[1], v[2]
	if !(step > 0) || !(to >= from) || (to-from)/step > 1000 {
		return nil, fault.Inputf("--sweep %s: want FROM <= TO and at most 1000 steps", o.Sweep)
	}
	if (from < 0 || to > 1) && !o.Extrapolate {
		return nil, fault.Inputf("--sweep %s leaves [0, 1]; add --extrapolate if you mean it", o.Sweep)
	}
	var grid []float64
	for i := 0; ; i++ {
		a := math.Round((from+float64(i)*step)*1e9) / 1e9 // 0.1 steps stay 0.3, not 0.30000000000000004
		if a > to+1e-9 {
			return grid, nil
		}
		grid = append(grid, a)
	}
}

// SweepFile is what a sweep leaves in its folder: a Sweep as JSON.
const SweepFile = "sweep.json"

// Sweep is sweep.json.
type Sweep struct {
	Members []string     `json:"members"`
	Points  []SweepPoint `json:"points"`
}

// SweepPoint is one mix: means over the held-out rows.
type SweepPoint struct {
	Alpha float64 `json:"alpha"`
	Measures
}

// onTheWay is the recipe of the point α of the walk.
func (o *SoupOptions) onTheWay(alpha float64) soup.Recipe {
	shares := soup.Fixed(alpha, 1-alpha)
	if o.Method == "slerp" {
		return soup.Slerp(shares)
	}
	return soup.Linear(shares)
}

func (o *SoupOptions) sweep(ctx context.Context, grid []float64, members *soup.Members, opt models.Options, scalars map[string]float64) error {
	s, err := o.newSweeper(opt)
	if err != nil {
		return err
	}
	result := Sweep{Members: o.Members}
	bar := o.progress("sweep", len(grid))
	defer bar.done()
	for i, alpha := range grid {
		got, err := s.at(ctx, members, o.onTheWay(alpha))
		if err != nil {
			return fmt.Errorf("α = %g: %w", alpha, err)
		}
		result.Points = append(result.Points, SweepPoint{alpha, got})
		got.scalars(scalars, fmt.Sprint(alpha))
		bar.step(i + 1)
	}
	bar.done() // the table comes after the bar
	if err := o.keep(SweepFile, result); err != nil {
		return err
	}
	return o.tell(result.writeText)
}

// bar is a progress bar that --quiet leaves out.
type bar struct{ p *metrics.Progress }

func (o *SoupOptions) progress(name string, n int) *bar {
	if o.Quiet {
		return &bar{}
	}
	return &bar{metrics.NewProgress(os.Stderr, name, 0, n)}
}

func (b *bar) step(i int) {
	if b.p != nil {
		b.p.Step(i)
	}
}

func (b *bar) done() {
	if b.p != nil {
		b.p.Done()
		b.p = nil
	}
}

package job

// The reward-region probe: is the soup in the middle of a wide region of good models, and a member at its rim? The
// probe measures the line through two members, beyond both ends too, and the surroundings of the soup and of the first
// member, at the same distances along the same random directions.

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"

	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
)

// ProbeOptions are the options of the reward-region probe.
type ProbeOptions struct {
	Probe           bool      `yaml:"probe" help:"measure the line through two members, extrapolated, and random directions around the soup and the first member, into probe.json"`
	ProbeAlphas     []float64 `yaml:"probe_alphas" help:"points α·first + (1-α)·second of the line"`
	ProbeRadii      []float64 `yaml:"probe_radii" help:"L2 distances along the directions, in units of the distance between the members" check:">0"`
	ProbeDirections int       `yaml:"probe_directions" help:"random directions per centre and radius" check:">=1,<=1000"`
	ProbeNormalize  string    `yaml:"probe_normalize" enum:"global,filter" help:"global: each weight of the model counts the same; filter: each row moves in proportion to its norm; either way the direction has norm 1 in all"`
}

func defaultProbe() ProbeOptions {
	return ProbeOptions{ProbeAlphas: []float64{-.25, 0, .25, .5, .75, 1, 1.25}, ProbeRadii: []float64{.25, .5, 1}, ProbeDirections: 3,
		ProbeNormalize: "global"}
}

// ProbeFile is what a probe leaves in its folder: a Probe as JSON.
const ProbeFile = "probe.json"

// Probe is probe.json.
type Probe struct {
	Members   []string     `json:"members"`
	Shares    []float64    `json:"shares"`   // of the soup in the middle of the directions
	Distance  float64      `json:"distance"` // L2, between the members
	Normalize string       `json:"normalize"`
	Seed      uint64       `json:"seed"`
	Line      []SweepPoint `json:"line"`
	Centres   []ProbePoint `json:"centres"` // radius 0
	Ball      []ProbePoint `json:"ball"`
}

// ProbePoint is one model off the line.
type ProbePoint struct {
	Centre    string  `json:"centre"`    // "soup" or "first"
	Radius    float64 `json:"radius"`    // in units of the members' distance
	Length    float64 `json:"length"`    // L2
	Direction int     `json:"direction"` // from 0; the same number is the same vector around both centres
	Measures
}

// checkProbe refuses a probe that cannot be made.
func (o *SoupOptions) checkProbe() error {
	switch {
	case !o.Probe:
		return nil
	case len(o.Members) != 2:
		return fault.Inputf("--probe looks at the line through two members; %d are given", len(o.Members))
	case o.Method != "linear" || len(o.LayerWeights) > 0 || o.LITI > 0:
		return fault.Inputf("--probe looks around a linear soup of the same shares everywhere; leave out --layer-weights and --liti, and choose --method linear")
	case len(o.EvalData) == 0:
		return fault.Inputf("--probe needs --eval-data: rows to measure on")
	case len(o.ProbeAlphas)+len(o.ProbeRadii) == 0:
		return fault.Inputf("--probe has nothing to measure; give --probe-alphas or --probe-radii")
	}
	return nil
}

// probeStream tells the directions' numbers from those of sampling with the same seed.
const probeStream = 0x70726f6265

func (o *SoupOptions) probe(ctx context.Context, plan *soupPlan, members *soup.Members, opt models.Options, scalars map[string]float64) error {
	s, err := o.newSweeper(opt)
	if err != nil {
		return err
	}
	out := Probe{Members: o.Members, Shares: plan.shares, Normalize: o.ProbeNormalize, Seed: o.Seed}
	if out.Distance, err = members.Distance(); err != nil {
		return err
	}
	if out.Distance == 0 && len(o.ProbeRadii) > 0 {
		return fault.Inputf("%s and %s hold the same weights: their distance, the unit of --probe-radii, is zero; give two fine-tunes", o.Members[0], o.Members[1])
	}
	bar := o.progress("probe", len(o.ProbeAlphas)+2+2*len(o.ProbeRadii)*o.ProbeDirections)
	defer bar.done()
	done := 0
	at := func(r soup.Recipe) (Measures, error) {
		got, err := s.at(ctx, members, r)
		done++
		bar.step(done)
		return got, err
	}
	for _, alpha := range o.ProbeAlphas {
		got, err := at(soup.Linear(soup.Fixed(alpha, 1-alpha)))
		if err != nil {
			return fmt.Errorf("α = %g: %w", alpha, err)
		}
		out.Line = append(out.Line, SweepPoint{alpha, got})
		got.scalars(scalars, fmt.Sprint(alpha))
	}
	if err := o.ball(members, &out, at); err != nil {
		return err
	}
	bar.done()
	for _, row := range out.means() {
		row.scalars(scalars)
	}
	if err := o.keep(ProbeFile, out); err != nil {
		return err
	}
	return o.tell(out.writeText)
}

// ball measures both centres and what lies around them.
func (o *SoupOptions) ball(members *soup.Members, out *Probe, at func(soup.Recipe) (Measures, error)) error {
	if len(o.ProbeRadii) == 0 {
		return nil
	}
	centres := []struct {
		name   string
		shares soup.Shares
	}{{"soup", soup.Fixed(out.Shares...)}, {"first", soup.Fixed(1, 0)}}
	for _, c := range centres {
		got, err := at(soup.Linear(c.shares))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		out.Centres = append(out.Centres, ProbePoint{Centre: c.name, Measures: got})
	}
	for n := range o.ProbeDirections * len(o.ProbeRadii) * len(centres) {
		c, rest := centres[n%len(centres)], n/len(centres)
		d, radius := rest/len(o.ProbeRadii), o.ProbeRadii[rest%len(o.ProbeRadii)]
		u, err := members.NewDirection(tensor.Mix(o.Seed, probeStream, uint64(d)), o.ProbeNormalize == "filter")
		if err != nil {
			return err
		}
		length := radius * out.Distance
		got, err := at(u.From(c.shares, length))
		if err != nil {
			return fmt.Errorf("%s, radius %g, direction %d: %w", c.name, radius, d, err)
		}
		out.Ball = append(out.Ball, ProbePoint{c.name, radius, length, d, got})
	}
	return nil
}

// probeMean is the mean over the directions at one radius around one centre.
type probeMean struct {
	centre string
	radius float64
	values map[string]float64
}

func (m *probeMean) scalars(into map[string]float64) {
	for _, name := range []string{"loss", "reward", "gold"} {
		if v, ok := m.values[name]; ok {
			into[fmt.Sprintf("%s@%s+%g", name, m.centre, m.radius)] = v
		}
	}
}

// means averages over directions, in the order of radii, the soup before the first member.
func (p *Probe) means() []probeMean {
	var out []probeMean
	var radii []float64
	points := slices.Concat(p.Centres, p.Ball)
	for _, point := range points {
		radii = append(radii, point.Radius)
	}
	slices.Sort(radii)
	radii = slices.Compact(radii)
	for _, centre := range []string{"soup", "first"} {
		for _, radius := range radii {
			out = append(out, meanOf(points, centre, radius))
		}
	}
	return out
}

// meanOf averages the points at one radius around one centre.
func meanOf(points []ProbePoint, centre string, radius float64) probeMean {
	m, n := probeMean{centre, radius, map[string]float64{}}, 0.0
	for _, point := range points {
		if point.Centre != centre || point.Radius != radius {
			continue
		}
		n++
		for name, v := range point.values() {
			m.values[name] += v
		}
	}
	for name := range m.values {
		m.values[name] /= n
	}
	return m
}

// writeText prints the line, then the surroundings, each row a mean over its directions.
func (p *Probe) writeText(w io.Writer) error {
	if len(p.Line) > 0 {
		line := Sweep{Members: p.Members, Points: p.Line}
		if err := line.writeText(w); err != nil {
			return err
		}
	}
	var rows []meanRow
	for _, m := range p.means() {
		rows = append(rows, meanRow{m.centre + " + " + strconv.FormatFloat(m.radius, 'g', -1, 64) + "·d·u", m.values})
	}
	if len(rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(w, "around the soup and the first member, means over random unit directions u (normalised: %s); d = %.4g is the members' distance\n", p.Normalize, p.Distance); err != nil {
		return err
	}
	var kls []map[string]float64
	for _, point := range p.Ball {
		kls = append(kls, point.KL)
	}
	return writeMeans(w, "centre", slices.Concat([]string{"loss", "reward", "gold"}, klColumns(kls...)), rows)
}

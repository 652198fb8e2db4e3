package job

// salsa soup: mix checkpoints, and see how loss, reward and KL change along the way from one to the other.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
	"salsa/trainers"
)

// SoupOptions are the options of `salsa soup`.
type SoupOptions struct {
	Members      []string  `yaml:"members" required:"true" input:"path" arg:"DIRS" help:"folders to mix; also the arguments of the command"`
	Out          string    `yaml:"out" required:"true" arg:"DIR" help:"folder of the soup" hash:"-"`
	Method       string    `yaml:"method" enum:"linear" help:"how weights are combined"`
	Weights      []float64 `yaml:"weights" help:"share of each member, scaled to sum to 1; empty: equal shares"`
	Extrapolate  bool      `yaml:"extrapolate" help:"allow shares outside [0, 1]"`
	StoreDType   string    `yaml:"store_dtype" enum:"member,float32,bfloat16,float16" help:"type of the weights on disk"`
	MaxShardMB   int       `yaml:"max_shard_mb" help:"size of a weights file; 0: one file" unit:"MB" check:">=0"`
	SweepOptions `group:"Sweep"`
	Base         `group:"Machine"`
}

// SweepOptions are the options of the walk along α.
type SweepOptions struct {
	Sweep       string   `yaml:"sweep" arg:"FROM:TO:STEP" help:"measure the mix α·first + (1-α)·second at each α of this grid, into sweep.json"`
	EvalData    []string `yaml:"eval_data" input:"path" arg:"FILES" help:"held-out rows for the loss and the prompts of the sweep"`
	Holdout     float64  `yaml:"holdout" help:"use only the rows that --holdout kept out of training; 0: all" check:">=0,<1"`
	MaxRows     int      `yaml:"max_rows" help:"use at most so many rows; 0: all" check:">=0"`
	RewardModel string   `yaml:"reward_model" input:"path" arg:"DIR" help:"reward model for the samples of the sweep"`
	Gold        string   `yaml:"gold" enum:"none,salsa" help:"exact reward: salsa is the demo task's"`
	Sampling
}

// DefaultSoup returns the defaults.
func DefaultSoup() SoupOptions {
	return SoupOptions{Method: "linear", StoreDType: "member", Base: defaultBase(),
		SweepOptions: SweepOptions{Gold: "none", Sampling: defaultSampling()}}
}

// Soup runs the job.
func Soup(ctx context.Context, o *SoupOptions) (scalars map[string]float64, err error) {
	shares, err := soup.Weights(o.Weights, len(o.Members), o.Extrapolate)
	if err != nil {
		return nil, err
	}
	grid, err := o.grid()
	if err != nil {
		return nil, err
	}
	members, err := soup.Open(o.Members)
	if err != nil {
		return nil, err
	}
	defer members.Close()
	if err := o.checkTypes(members); err != nil {
		return nil, err
	}
	if err := o.checkSweep(); err != nil {
		return nil, err
	}
	if err := checkpoint.PrepareOut(o.Out, false); err != nil {
		return nil, err
	}
	if !o.Quiet {
		for i, dir := range o.Members {
			fmt.Fprintf(os.Stderr, "salsa: %.4f × %s\n", shares[i], dir)
		}
	}
	scalars = map[string]float64{}
	err = compute(&o.Base, func(opt models.Options) error {
		if grid != nil {
			if err := o.sweep(ctx, grid, members, opt, scalars); err != nil {
				return err
			}
		}
		return o.write(members, shares)
	})
	return scalars, err
}

// write streams the soup to disk with progress by bytes.
func (o *SoupOptions) write(members *soup.Members, shares []float64) error {
	dtype := tensor.DType(0)
	if o.StoreDType != "member" {
		var err error
		if dtype, err = tensor.ParseDType(o.StoreDType); err != nil {
			return err
		}
	}
	sweep, err := os.ReadFile(filepath.Join(o.Out, SweepFile))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := members.Write(o.Out, soup.Linear(shares), soup.WriteOptions{DType: dtype, MaxShardBytes: int64(o.MaxShardMB) << 20}); err != nil {
		return err
	}
	if sweep == nil {
		return nil
	}
	return checkpoint.WriteFileAtomic(filepath.Join(o.Out, SweepFile), sweep)
}

// checkTypes refuses to choose silently how much of the members' precision the soup keeps.
func (o *SoupOptions) checkTypes(members *soup.Members) error {
	first := members.Checkpoints[0]
	for _, c := range members.Checkpoints[1:] {
		if o.StoreDType == "member" && c.DType() != first.DType() {
			return fault.Inputf("%s is stored as %s and %s as %s; choose the soup's type with --store-dtype", first.Dir, first.DType(), c.Dir, c.DType())
		}
	}
	return nil
}

// checkSweep opens what the sweep measures with, by its headers.
func (o *SoupOptions) checkSweep() error {
	if o.Sweep == "" {
		return nil
	}
	if err := checkModels(models.LanguageModel, o.Members...); err != nil || o.RewardModel == "" {
		return err
	}
	if err := checkModels(models.ScoringModel, o.RewardModel); err != nil {
		return err
	}
	return sharesVocabulary(o.Members[0], o.RewardModel)
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
	Alpha  float64            `json:"alpha"`
	Loss   *float64           `json:"loss,omitempty"`
	Reward *float64           `json:"reward,omitempty"`
	Gold   *float64           `json:"gold,omitempty"`
	KL     map[string]float64 `json:"kl"` // to each member, per sequence
}

func (o *SoupOptions) sweep(ctx context.Context, grid []float64, members *soup.Members, opt models.Options, scalars map[string]float64) error {
	s, err := o.newSweeper(opt)
	if err != nil {
		return err
	}
	result := Sweep{Members: o.Members}
	progress := (*metrics.Progress)(nil)
	if !o.Quiet {
		progress = metrics.NewProgress(os.Stderr, "sweep", 0, len(grid))
		defer progress.Done()
	}
	for i, alpha := range grid {
		p, err := s.point(ctx, members, alpha, opt)
		if err != nil {
			return fmt.Errorf("α = %g: %w", alpha, err)
		}
		result.Points = append(result.Points, p)
		for _, x := range []struct {
			name string
			v    *float64
		}{{"loss", p.Loss}, {"reward", p.Reward}, {"gold", p.Gold}} {
			if x.v != nil {
				scalars[fmt.Sprintf("%s@%g", x.name, alpha)] = *x.v
			}
		}
		if progress != nil {
			progress.Step(i + 1)
		}
	}
	raw, err := json.MarshalIndent(result, "", " ")
	if err != nil {
		return err
	}
	if err := checkpoint.WriteFileAtomic(filepath.Join(o.Out, SweepFile), raw); err != nil {
		return err
	}
	if progress != nil {
		progress.Done() // the table comes after the bar
	}
	return o.tell(result.writeText)
}

// sweeper holds what every point of a sweep is measured with.
type sweeper struct {
	o        *SoupOptions
	examples []data.Example
	prompts  []data.Prompt
	stops    []int
	judges   *judges
}

func (o *SoupOptions) newSweeper(opt models.Options) (*sweeper, error) {
	ev := EvalOptions{Models: o.Members, RewardModel: o.RewardModel, KLTo: o.Members, Gold: o.Gold, Base: o.Base, Sampling: o.Sampling}
	cfg, err := models.ReadConfig(o.Members[0])
	if err != nil {
		return nil, err
	}
	enc, err := newEncoder(o.Members[0], cfg, 0, "drop")
	if err != nil {
		return nil, err
	}
	rows, err := readRows(o.EvalData, "", !o.Quiet)
	if err != nil {
		return nil, err
	}
	if o.Holdout > 0 {
		_, rows = splitRows(rows, o.Holdout)
	}
	if o.MaxRows > 0 && len(rows) > o.MaxRows {
		rows = rows[:o.MaxRows]
	}
	s := &sweeper{o: o, stops: enc.Stops}
	if len(rows) == 0 {
		return nil, fault.Inputf("--eval-data has no held-out rows; raise --holdout")
	}
	if s.examples, err = encode(rows, "held-out rows", !o.Quiet, enc.SFT); err != nil {
		return nil, err
	}
	if err := errors.Join(needStops(o.Members[0], enc), o.room(enc, cfg)); err != nil {
		return nil, err
	}
	if s.prompts, err = encode(rows, "prompts", !o.Quiet, enc.Prompt); err != nil {
		return nil, err
	}
	if err := checkGold("gold", o.Gold, s.prompts); err != nil {
		return nil, err
	}
	s.judges, err = ev.judges(opt, enc)
	return s, err
}

// point mixes at α and measures.
func (s *sweeper) point(ctx context.Context, members *soup.Members, alpha float64, opt models.Options) (SweepPoint, error) {
	out := SweepPoint{Alpha: alpha, KL: map[string]float64{}}
	return out, withModel(s.o.Members[0], opt, func(m models.Model) error {
		if err := members.Mix(m, soup.Linear([]float64{alpha, 1 - alpha})); err != nil {
			return err
		}
		loss, err := trainers.HeldOutLoss(ctx, m, s.examples, s.o.BatchSize)
		if err != nil {
			return err
		}
		out.Loss = &loss
		drawn, err := s.o.draw(ctx, m, promptIDs(s.prompts), 1, s.stops, nil)
		if err != nil {
			return err
		}
		r, err := s.judges.judge(ctx, m, s.prompts, drawn, s.o.Temperature)
		if err != nil {
			return err
		}
		if len(r.Reward) > 0 {
			v := mean(r.Reward)
			out.Reward = &v
		}
		if len(r.Gold) > 0 {
			v := mean(r.Gold)
			out.Gold = &v
		}
		for name, kl := range r.KL {
			out.KL[name] = mean(kl)
		}
		return nil
	})
}

// withModel loads a model, hands it to fn and frees it.
func withModel(dir string, opt models.Options, fn func(m models.Model) error) error {
	return tensor.Scope(func() error {
		m, err := models.Load(dir, opt)
		if err != nil {
			return err
		}
		return fn(m)
	})
}

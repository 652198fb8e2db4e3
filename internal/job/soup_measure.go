package job

// What a soup is measured with: the held-out rows, the samples drawn for their prompts and the judges of both. The
// sweep, the greedy soup and the probe share it.

import (
	"context"
	"errors"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
	"salsa/trainers"
)

// MeasureOptions are the options of measuring soups.
type MeasureOptions struct {
	EvalData    []string `yaml:"eval_data" input:"path" arg:"FILES" help:"held-out rows for the loss and the prompts of a sweep, a probe or a greedy soup; preference pairs for a greedy soup of reward models"`
	Holdout     float64  `yaml:"holdout" help:"use only the rows that --holdout kept out of training; 0: all" check:">=0,<1"`
	MaxRows     int      `yaml:"max_rows" help:"use at most so many rows; 0: all" check:">=0"`
	RewardModel string   `yaml:"reward_model" input:"path" arg:"DIR" help:"reward model for the samples"`
	Gold        string   `yaml:"gold" enum:"none,salsa" help:"exact reward: salsa is the demo task's"`
	Sampling
}

// Measures are one mix's means over the held-out rows; nil is what was not measured.
type Measures struct {
	Loss   *float64           `json:"loss,omitempty"`
	Reward *float64           `json:"reward,omitempty"`
	Gold   *float64           `json:"gold,omitempty"`
	KL     map[string]float64 `json:"kl"` // to each member, per sequence
}

// scalars adds the means to the numbers that the command prints, each as name@at.
func (m *Measures) scalars(into map[string]float64, at string) {
	for _, x := range []struct {
		name string
		v    *float64
	}{{"loss", m.Loss}, {"reward", m.Reward}, {"gold", m.Gold}} {
		if x.v != nil {
			into[x.name+"@"+at] = *x.v
		}
	}
}

// values are the means by column of a table.
func (m *Measures) values() map[string]float64 {
	out := map[string]float64{}
	for name, v := range map[string]*float64{"loss": m.Loss, "reward": m.Reward, "gold": m.Gold} {
		if v != nil {
			out[name] = *v
		}
	}
	for name, v := range m.KL {
		out[klColumn(name)] = v
	}
	return out
}

// checkMeasures opens what soups are measured with, by its headers.
func (o *SoupOptions) checkMeasures() error {
	if err := checkModels(models.LanguageModel, o.Members...); err != nil || o.RewardModel == "" {
		return err
	}
	if err := checkModels(models.ScoringModel, o.RewardModel); err != nil {
		return err
	}
	return sharesVocabulary(o.Members[0], o.RewardModel)
}

// rows reads the held-out rows.
func (o *SoupOptions) rows() ([]data.Row, error) {
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
	if len(rows) == 0 {
		return nil, fault.Inputf("--eval-data has no held-out rows; raise --holdout")
	}
	return rows, nil
}

// sweeper holds what every mix is measured with.
type sweeper struct {
	o        *SoupOptions
	opt      models.Options
	examples []data.Example
	prompts  []data.Prompt
	stops    []int
	judges   *judges // nil: the loss is all
}

// samples tells whether mixes are measured by what they say, not by their loss alone.
func (o *SoupOptions) samples() bool {
	return o.Sweep != "" || o.Probe || o.RewardModel != "" || o.Gold != "none"
}

func (o *SoupOptions) newSweeper(opt models.Options) (*sweeper, error) {
	ev := EvalOptions{Models: o.Members, RewardModel: o.RewardModel, Gold: o.Gold, Base: o.Base, Sampling: o.Sampling}
	if o.Sweep != "" || o.Probe { // a greedy soup of many members asks for no KL
		ev.KLTo = o.Members
	}
	cfg, err := models.ReadConfig(o.Members[0])
	if err != nil {
		return nil, err
	}
	enc, err := newEncoder(o.Members[0], cfg, 0, "drop")
	if err != nil {
		return nil, err
	}
	rows, err := o.rows()
	if err != nil {
		return nil, err
	}
	s := &sweeper{o: o, opt: opt, stops: enc.Stops}
	if s.examples, err = encode(rows, "held-out rows", !o.Quiet, enc.SFT); err != nil || !o.samples() {
		return s, err
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

// at mixes the members by a recipe and measures the mix.
func (s *sweeper) at(ctx context.Context, members *soup.Members, r soup.Recipe) (out Measures, err error) {
	out.KL = map[string]float64{}
	return out, withModel(s.o.Members[0], s.opt, func(m models.Model) error {
		if err := members.Mix(m, r); err != nil {
			return err
		}
		loss, err := trainers.HeldOutLoss(ctx, m, s.examples, s.o.BatchSize)
		if err != nil {
			return err
		}
		out.Loss = &loss
		return s.sample(ctx, m, &out)
	})
}

// sample draws a completion for every prompt and has them judged.
func (s *sweeper) sample(ctx context.Context, m models.Model, out *Measures) error {
	if s.judges == nil {
		return nil
	}
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

package runreport

// From what was read to the numbers of a report.

import (
	"salsa/eval"
)

// rewardAccuracy is how often a reward model prefers what the annotator chose; 0 where it was not measured.
type rewardAccuracy struct {
	Train float64 `json:"train_accuracy,omitempty"` // over the last tenth of its steps
	Held  float64 `json:"held_out_accuracy,omitempty"`
}

// stageTime is a stage of the pipeline.
type stageTime struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind"`
	Status  string  `json:"status"`
	Seconds float64 `json:"seconds"`
}

// findings works out all numbers.
func (m *material) findings(title string, list []contender) (*findings, error) {
	f := &findings{Title: title, Table: []tableRow{}, fromBase: map[string]difference{}}
	for _, s := range m.state.Stages {
		f.Stages = append(f.Stages, stageTime{Name: s.Name, Kind: s.Kind, Status: string(s.Status), Seconds: s.Seconds})
	}
	if m.reward != nil {
		f.RewardModel = m.reward.accuracy()
	}
	if m.eval != nil {
		if err := m.evaluate(f, list); err != nil {
			return nil, err
		}
	}
	stride := m.stride(frontierPoints)
	for _, key := range []string{keyGold, keyScore} {
		f.Summits = append(f.Summits, m.summits(key, stride)...)
	}
	var err error
	if f.EqualKL, err = m.equalKL(m.frontierKey(), stride); err != nil {
		return nil, err
	}
	m.decide(f)
	return f, nil
}

// frontierKey is the reward that the comparison at equal KL is about.
func (m *material) frontierKey() string {
	for _, x := range m.methods() {
		if !x.has(keyGold) {
			return keyScore
		}
	}
	return keyGold
}

// evaluate fills the table and the differences.
func (m *material) evaluate(f *findings, list []contender) error {
	measures := m.measures()
	base, ppo, salsa := find(list, m.display(m.base)), find(list, namePPO), find(list, nameSALSA)
	for i := range list {
		row, err := m.row(&list[i], ppo, measures)
		if err != nil {
			return err
		}
		f.Table = append(f.Table, row)
	}
	for _, x := range measures {
		if ppo == nil || salsa == nil {
			break
		}
		d, ok, err := differ(salsa, ppo, x, m.eval.Samples)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		f.diffs = append(f.diffs, d)
		f.Differences = append(f.Differences, d.row())
	}
	for _, c := range []*contender{ppo, salsa} {
		if c == nil || base == nil {
			continue
		}
		d, ok, err := differ(c, base, measures[0], m.eval.Samples)
		if err != nil {
			return err
		}
		if ok {
			f.fromBase[c.name] = d
		}
	}
	return nil
}

// row estimates all measures of a method, and its win rates against PPO.
func (m *material) row(c, ppo *contender, measures []measure) (tableRow, error) {
	row := tableRow{Method: c.name, Models: len(c.models), Measures: map[string]estimate{}}
	for _, x := range measures {
		values := c.perPrompt(x, m.eval.Samples)
		if values == nil {
			continue
		}
		e, err := (eval.Bootstrap{}).Mean(values, nil)
		if err != nil {
			return row, err
		}
		row.Measures[x.key] = estimateOf(e)
		if ppo == nil || c == ppo || (x.key != "gold" && x.key != "reward") {
			continue
		}
		w, ok, err := winRate(c, ppo, x, m.eval)
		if err != nil {
			return row, err
		}
		rate := estimateOf(w.Rate)
		switch {
		case !ok:
		case x.key == "gold":
			row.WinGold = &rate
		default:
			row.WinScore = &rate
		}
	}
	return row, nil
}

func estimateOf(i eval.Interval) estimate { return estimate{Mean: i.Mean, Low: i.Low, High: i.High} }

// accuracy reads a reward model's accuracies off its run.
func (r *ranRun) accuracy() rewardAccuracy {
	var a rewardAccuracy
	a.Held, _ = r.lastOf("eval_accuracy")
	first, n := r.steps()-r.steps()/10, 0.0
	for _, row := range r.rows {
		if v, ok := row.Values["accuracy"]; ok && row.Step >= first {
			a.Train += v
			n++
		}
	}
	if n > 0 {
		a.Train /= n
	}
	return a
}

// scalars are the main numbers as a flat list, for --json.
func (f *findings) scalars() map[string]float64 {
	out := map[string]float64{}
	for _, row := range f.Table {
		for key, e := range row.Measures {
			out[row.Method+"/"+key] = e.Mean
		}
		if row.WinGold != nil {
			out[row.Method+"/win_rate_gold"] = row.WinGold.Mean
		}
		if row.WinScore != nil {
			out[row.Method+"/win_rate_reward"] = row.WinScore.Mean
		}
	}
	for _, d := range f.Differences {
		out["difference/"+d.Measure] = d.Mean
		out["difference/"+d.Measure+"_low"], out["difference/"+d.Measure+"_high"] = d.Low, d.High
	}
	if f.RewardModel.Held > 0 {
		out["reward_model/accuracy"] = f.RewardModel.Held
	}
	return out
}

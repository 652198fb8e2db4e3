package job

// What salsa can finds: the dual's solution for each bound, the labelled pairs, and the aligned model beside what was
// predicted of it. can.json holds all of it, the terminal the means.

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"

	"salsa/data"
	"salsa/eval"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/soup"
	"salsa/trainers"
)

// CANResult is can.json. In mode pecan reward and safety are log-ratios to the reference, s_r and s_g, and the dual is
// that over β.
type CANResult struct {
	Mode      string               `json:"mode"`
	Beta      float64              `json:"beta"`
	Prompts   int                  `json:"prompts"`
	Samples   int                  `json:"samples_per_prompt"`
	Reference CANMeans             `json:"reference"`
	Reach     float64              `json:"largest_safety"` // the mean of each prompt's safest sample: no bound may ask for more
	Solutions []CANSolution        `json:"solutions"`      // one per bound
	Curve     []trainers.DualPoint `json:"curve"`          // of the last bound that can be reached
	Pairs     int                  `json:"pairs,omitempty"`
	HeldOut   bool                 `json:"held_out"` // predicted and measured are of the held-out prompts
	Predicted *CANMeans            `json:"predicted,omitempty"`
	Measured  *CANMeans            `json:"measured,omitempty"`
	Notes     []string             `json:"notes,omitempty"`
}

// CANSolution is the dual's minimum for one bound.
type CANSolution struct {
	Bound      float64             `json:"bound"`                // as given
	Target     float64             `json:"target"`               // b̄, the least mean safety that it stands for
	Infeasible string              `json:"infeasible,omitempty"` // why there is no λ*; nothing below then
	Point      *trainers.DualPoint `json:"point,omitempty"`
	Reward     *eval.Interval      `json:"reward_interval,omitempty"` // over prompts, λ* held fixed
	Safety     *eval.Interval      `json:"safety_interval,omitempty"`
}

// CANMeans are means over prompts with intervals; KL is to the reference.
type CANMeans struct {
	Reward eval.Interval `json:"reward"`
	Safety eval.Interval `json:"safety"`
	KL     float64       `json:"kl"`
}

// samplesOf are the scores alone.
func samplesOf(rows []scoredRow) []trainers.DualSamples {
	out := make([]trainers.DualSamples, len(rows))
	for i, row := range rows {
		for _, x := range row.Completions {
			out[i].Reward, out[i].Safety = append(out[i].Reward, x.Reward), append(out[i].Safety, x.Safety)
		}
	}
	return out
}

// dual is the dual of rows for one bound.
func (c *canJob) dual(rows []scoredRow, bound float64) *trainers.Dual {
	d := &trainers.Dual{Prompts: samplesOf(rows), Beta: c.Beta, Target: bound}
	switch {
	case c.Mode == "pecan":
		d.Beta = 1
		d.Target, _ = trainers.LogRatioTarget(d.Prompts, bound, c.Beta)
	case len(c.SafetyBound) > 0:
		d.Target += d.ReferenceSafety()
	}
	return d
}

// bounds are those asked for; exactly one of the two options is given.
func (c *canJob) bounds() []float64 { return slices.Concat(c.SafetyBound, c.SafetyTarget) }

// solve finds λ* for every bound. One that cannot be reached ends a run that is to train.
func (c *canJob) solve(rows []scoredRow) error {
	r := &c.result
	*r = CANResult{Mode: c.Mode, Beta: c.Beta, Prompts: len(rows), Samples: c.Samples}
	if c.Samples < fewSamples {
		r.Notes = append(r.Notes, fmt.Sprintf("%d completions per prompt: below %d λ* is biased, usually towards more safety than asked for; raise --samples", c.Samples, fewSamples))
	}
	start := c.dual(rows, 0)
	var err error
	if r.Reference, err = c.expected(start.Prompts, nil); err != nil {
		return err
	}
	r.Reach = start.Reach()
	lambda, solved := 0.0, c.bounds()[0]
	for _, bound := range c.bounds() {
		s, err := c.solution(rows, bound)
		if err != nil {
			return err
		}
		if s.Infeasible != "" && !c.DualOnly {
			return fault.Inputf("safety bound %g: %s", bound, s.Infeasible)
		}
		if r.Solutions = append(r.Solutions, s); s.Point != nil {
			lambda, solved = s.Point.Lambda, bound
		}
	}
	last := c.dual(rows, solved)
	for _, share := range []float64{0, 0.25, 0.5, 0.75, 1, 1.5, 2, 4} {
		if lambda == 0 { // any scale will do
			r.Curve = append(r.Curve, last.At(share))
			continue
		}
		r.Curve = append(r.Curve, last.At(share*lambda))
	}
	return nil
}

// solution solves one dual. What the samples cannot reach is a result; other errors are errors.
func (c *canJob) solution(rows []scoredRow, bound float64) (CANSolution, error) {
	d := c.dual(rows, bound)
	s := CANSolution{Bound: bound, Target: d.Target}
	if err := d.Check(); err != nil {
		return s, err
	}
	lambda, err := d.Solve()
	if err != nil {
		s.Infeasible = err.Error()
		return s, nil
	}
	p := d.At(lambda)
	s.Point = &p
	if len(rows) < 2 {
		return s, nil // one prompt tells nothing about others
	}
	m, err := c.expected(d.Prompts, &lambda)
	s.Reward, s.Safety = &m.Reward, &m.Safety
	return s, err
}

// expected returns E_λ[r] and E_λ[g] with intervals over prompts; without λ they are the reference's.
func (c *canJob) expected(prompts []trainers.DualSamples, lambda *float64) (CANMeans, error) {
	d := &trainers.Dual{Prompts: prompts, Beta: c.Beta}
	if c.Mode == "pecan" {
		d.Beta = 1
	}
	var reward, safety []float64
	m := CANMeans{}
	if lambda == nil {
		for _, p := range prompts {
			reward, safety = append(reward, mean(p.Reward)), append(safety, mean(p.Safety))
		}
	} else {
		reward, safety = d.Expected(*lambda)
		m.KL = d.At(*lambda).KL
	}
	return m, m.set(reward, safety)
}

// set fills in both means; a single prompt gives them without intervals.
func (m *CANMeans) set(reward, safety []float64) (err error) {
	if len(reward) < 2 {
		m.Reward, m.Safety = eval.Interval{Mean: mean(reward), Low: mean(reward), High: mean(reward), N: 1}, eval.Interval{Mean: mean(safety), Low: mean(safety), High: mean(safety), N: 1}
		return nil
	}
	if m.Reward, err = (eval.Bootstrap{}).Mean(reward, nil); err != nil {
		return err
	}
	m.Safety, err = (eval.Bootstrap{}).Mean(safety, nil)
	return err
}

// labelledPair is a line of pairs.jsonl, which salsa dpo reads too.
type labelledPair struct {
	Prompt      string  `json:"prompt,omitempty"`
	PromptIDs   []int   `json:"prompt_ids"`
	ChosenIDs   []int   `json:"chosen_ids"`
	RejectedIDs []int   `json:"rejected_ids"`
	Probability float64 `json:"probability"` // of this label
}

// pairs labels pairs of each prompt's completions by λ* and writes them to pairs.jsonl.
func (c *canJob) pairs(rows []scoredRow) ([]data.Pair, error) {
	lambda := c.result.Solutions[0].Point.Lambda
	var out []data.Pair
	var lines []labelledPair
	for i, s := range samplesOf(rows) {
		done := rows[i].Completions
		same := func(a, b int) bool { return slices.Equal(done[a].IDs, done[b].IDs) }
		for _, p := range s.PseudoPairs(lambda, c.PairsPerPrompt, c.Seed, i, same) {
			w, l := done[p.Chosen], done[p.Rejected]
			out = append(out, data.Pair{Chosen: c.prompts[i].Answered(w.IDs), Rejected: c.prompts[i].Answered(l.IDs)})
			lines = append(lines, labelledPair{rows[i].Prompt, rows[i].PromptIDs, w.IDs, l.IDs,
				trainers.PseudoPreference(lambda, l.Reward, l.Safety, w.Reward, w.Safety)})
		}
	}
	if c.result.Pairs = len(out); len(out) == 0 {
		return nil, fault.Inputf("no pair to train on: each prompt's completions are the same; use another --reference or more --samples")
	}
	return out, writeRows(filepath.Join(c.Out, "pairs.jsonl"), lines)
}

// measure samples the aligned model and compares it with the prediction on the same prompts.
func (c *canJob) measure(ctx context.Context, rows []scoredRow) error {
	prompts, lambda := c.prompts, c.result.Solutions[0].Point.Lambda
	if c.MeasureSamples == 0 {
		return nil
	}
	if len(c.held) > 0 {
		prompts, c.result.HeldOut = c.held, true
		var err error
		if rows, err = c.scored(ctx, c.fromReference("held", c.held)); err != nil {
			return err
		}
	}
	predicted, err := c.expected(samplesOf(rows), &lambda)
	if err != nil {
		return err
	}
	aligned := drawing{name: "measured", prompts: prompts, n: c.MeasureSamples, aligned: true,
		model: soup.Expr{Dirs: []string{c.Out}, Weights: []float64{1}}}
	got, err := c.scored(ctx, aligned)
	if err != nil {
		return err
	}
	measured, err := c.expected(samplesOf(got), nil)
	for _, row := range got {
		for _, x := range row.Completions {
			measured.KL += x.LogRatio / float64(len(got)*c.MeasureSamples)
		}
	}
	c.result.Predicted, c.result.Measured = &predicted, &measured
	return err
}

// publish writes can.json and prints what it holds so far.
func (c *canJob) publish() error {
	raw, err := json.MarshalIndent(&c.result, "", "  ")
	if err != nil {
		return err
	}
	if err := checkpoint.WriteFileAtomic(filepath.Join(c.Out, "can.json"), append(raw, '\n')); err != nil {
		return err
	}
	return c.tell(c.result.writeText)
}

// scalars are what the command prints with --json.
func (r *CANResult) scalars() map[string]float64 {
	out := map[string]float64{"can/reference_reward": r.Reference.Reward.Mean, "can/reference_safety": r.Reference.Safety.Mean, "can/largest_safety": r.Reach}
	for _, s := range r.Solutions {
		if s.Point == nil {
			continue
		}
		at := "@" + strconv.FormatFloat(s.Bound, 'g', -1, 64)
		if len(r.Solutions) == 1 {
			at = ""
		}
		out["can/lambda"+at], out["can/predicted_reward"+at], out["can/predicted_safety"+at] = s.Point.Lambda, s.Point.Reward, s.Point.Safety
	}
	if r.Pairs > 0 {
		out["can/pairs"] = float64(r.Pairs)
	}
	if r.Measured != nil {
		out["can/measured_reward"], out["can/measured_safety"], out["can/measured_kl"] = r.Measured.Reward.Mean, r.Measured.Safety.Mean, r.Measured.KL
	}
	return out
}

// writeText prints the solutions and the curve, and once the model is measured the outcome alone.
func (r *CANResult) writeText(w io.Writer) error {
	if r.Measured != nil {
		return r.writeOutcome(w)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "salsa: note: %s\n", note)
	}
	rows := []meanRow{{"reference", map[string]float64{"reward": r.Reference.Reward.Mean, "safety": r.Reference.Safety.Mean}}}
	for _, s := range r.Solutions {
		row := meanRow{fmt.Sprintf("bound %g", s.Bound), map[string]float64{"at least": s.Target}}
		if p := s.Point; p != nil {
			row.values["λ*"], row.values["reward"], row.values["safety"], row.values["KL"], row.values["samples that count"] = p.Lambda, p.Reward, p.Safety, p.KL, p.Effective
		}
		rows = append(rows, row)
	}
	if err := writeMeans(w, "predicted", []string{"at least", "λ*", "reward", "safety", "KL", "samples that count"}, rows); err != nil {
		return err
	}
	for _, s := range r.Solutions {
		if s.Infeasible != "" {
			fmt.Fprintf(w, "salsa: bound %g: %s\n", s.Bound, s.Infeasible)
		}
	}
	rows = nil
	for _, p := range r.Curve {
		rows = append(rows, meanRow{strconv.FormatFloat(p.Lambda, 'f', 3, 64), map[string]float64{"D": p.Value, "D'": p.Slope, "reward": p.Reward, "safety": p.Safety, "KL": p.KL}})
	}
	return writeMeans(w, "λ", []string{"D", "D'", "reward", "safety", "KL"}, rows)
}

// writeOutcome prints what was predicted beside what was measured.
func (r *CANResult) writeOutcome(w io.Writer) error {
	var rows []meanRow
	for _, x := range []struct {
		name string
		*CANMeans
	}{{"predicted", r.Predicted}, {"measured", r.Measured}} {
		rows = append(rows, meanRow{x.name, map[string]float64{"reward": x.Reward.Mean, "safety": x.Safety.Mean, "from": x.Safety.Low, "to": x.Safety.High, "KL": x.KL}})
	}
	head := "aligned"
	if r.HeldOut {
		head = "held out"
	}
	return writeMeans(w, head, []string{"reward", "safety", "from", "to", "KL"}, rows)
}

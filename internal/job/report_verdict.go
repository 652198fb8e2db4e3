package job

// The verdict at the top of a report. Its words follow from the numbers by the rules below, whichever way they fall:
// a side is ahead if the paired interval over prompts leaves out 0 and every seed points the same way.

import (
	"fmt"
	"math"
	"strings"

	"salsa/internal/report"
)

// findings are the numbers of a report: what report.json holds.
type findings struct {
	Title       string         `json:"title"`
	Verdict     verdict        `json:"verdict"`
	Table       []tableRow     `json:"table"`                 // the final evaluation
	Differences []diffRow      `json:"differences,omitempty"` // SALSA − PPO
	Summits     []summit       `json:"summits,omitempty"`     // of the training curves
	EqualKL     []atEqualKL    `json:"equal_kl,omitempty"`
	RewardModel rewardAccuracy `json:"reward_model"`
	Stages      []stageTime    `json:"stages,omitempty"`

	diffs    []difference
	fromBase map[string]difference // PPO and SALSA minus the start policy, in the deciding measure
}

// verdict is the outcome in one word and the sentences of the page.
type verdict struct {
	Measure string   `json:"measure"` // that decides: gold, reward, or "" without an evaluation
	Outcome string   `json:"outcome"` // salsa, ppo, undecided, or unknown
	Title   string   `json:"title"`
	Text    []string `json:"text"`
}

// Outcomes of a verdict.
const (
	aheadSALSA = "salsa"
	aheadPPO   = "ppo"
	undecided  = "undecided"
	unknown    = "unknown"
)

// estimate is an interval in report.json.
type estimate struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// tableRow is a method in the final evaluation; measures by their keys.
type tableRow struct {
	Method   string              `json:"method"`
	Models   int                 `json:"models"` // seeds
	Measures map[string]estimate `json:"measures"`
	WinGold  *estimate           `json:"win_rate_gold,omitempty"` // against PPO
	WinScore *estimate           `json:"win_rate_reward,omitempty"`
}

// diffRow is SALSA minus PPO in one measure.
type diffRow struct {
	Measure string `json:"measure"`
	estimate
	Seeds   []string  `json:"seeds,omitempty"`
	PerSeed []float64 `json:"per_seed,omitempty"`
}

// decide writes the verdict.
func (m *material) decide(f *findings) {
	v := &f.Verdict
	v.Outcome = unknown
	if len(f.diffs) == 0 {
		v.Title = "No verdict: there is no final evaluation of both PPO and SALSA"
		v.Text = []string{"The curves below come from training batches; run `salsa eval` on both with held-out prompts and name its folder with `--eval`."}
		return
	}
	main := f.diffs[0]
	if v.Measure = main.measure.key; v.Measure != "gold" && v.Measure != "reward" {
		v.Measure = ""
		v.Title = "No verdict: the final evaluation has neither a gold reward nor a reward model's score"
		v.Text = []string{"Run `salsa eval` with `--reward-model`, and name its folder with `--eval`."}
		return
	}
	v.Outcome, v.Title = outcome(main)
	for _, d := range f.diffs {
		if k := d.measure.key; k == "gold" || k == "reward" || k == "kl" {
			v.Text = append(v.Text, m.sentence(d))
		}
	}
	v.Text = append(v.Text, m.caveats(f)...)
}

// outcome is the rule of this file's head.
func outcome(d difference) (word, title string) {
	what := d.measure.title
	switch ahead := d.interval.Mean > 0; {
	case !d.beyondChance():
		return undecided, fmt.Sprintf("No difference between SALSA and PPO beyond chance in the %s", what)
	case !d.agree() && ahead:
		return undecided, fmt.Sprintf("SALSA's mean %s is higher than PPO's, but not with every seed", what)
	case !d.agree():
		return undecided, fmt.Sprintf("SALSA's mean %s is lower than PPO's, but not with every seed", what)
	case ahead:
		return aheadSALSA, fmt.Sprintf("SALSA ends with a higher %s than PPO", what)
	}
	return aheadPPO, fmt.Sprintf("SALSA ends with a lower %s than PPO", what)
}

// sentence tells one difference with its interval and its seeds.
func (m *material) sentence(d difference) string {
	digits := d.measure.digits
	chance := "the interval leaves out 0"
	if !d.beyondChance() {
		chance = "no difference beyond chance: the interval holds 0"
	}
	out := fmt.Sprintf("**%s**: SALSA − PPO = **%s** [%s, %s]; %s.", capital(d.measure.title), signed(d.interval.Mean, digits),
		signed(d.interval.Low, digits), signed(d.interval.High, digits), chance)
	if len(d.perSeed) < 2 {
		return out + " One seed each says nothing about the luck of training."
	}
	var seeds []string
	for i, v := range d.perSeed {
		seeds = append(seeds, fmt.Sprintf("%s (seed %s)", signed(v, digits), d.seeds[i]))
	}
	return out + " By seed: " + strings.Join(seeds, ", ") + "."
}

// caveats are the sentences that keep a reader from concluding too much.
func (m *material) caveats(f *findings) []string {
	var out []string
	gold, score, kl := pick(f.diffs, "gold"), pick(f.diffs, "reward"), pick(f.diffs, "kl")
	if gold == nil && score != nil {
		out = append(out, "There is no gold reward here. The reward model's score is what both methods optimise: a higher score alone does not make a better model.")
	}
	if gold != nil && score != nil && gold.interval.Mean*score.interval.Mean < 0 && gold.beyondChance() && score.beyondChance() {
		out = append(out, "The reward model and the gold reward disagree about who is ahead: one method pleases the reward model without pleasing the judge it stands for.")
	}
	if kl != nil && kl.beyondChance() {
		further := nameSALSA
		if kl.interval.Mean < 0 {
			further = namePPO
		}
		out = append(out, fmt.Sprintf("%s moved further from %s. Where a method stops is a choice of steps and β; the frontier below compares both at equal KL.", further, m.display(m.base)))
	}
	out = append(out, fmt.Sprintf("Intervals are 95 %% paired bootstrap over %d held-out prompts, %d samples each, seeds averaged. They cover the chance in prompts and samples, not in training runs; for that look at the seeds.",
		len(m.eval.Prompts), m.eval.Samples))
	return out
}

func pick(list []difference, key string) *difference {
	for i := range list {
		if list[i].measure.key == key {
			return &list[i]
		}
	}
	return nil
}

// note is the verdict as a callout.
func (v verdict) note() report.Note {
	mark := map[string]report.Verdict{aheadSALSA: report.Good, aheadPPO: report.Bad, undecided: report.Mixed, unknown: report.Info}
	return report.Note{Verdict: mark[v.Outcome], Title: v.Title, Text: v.Text}
}

// tiles are the key figures under the verdict.
func (m *material) tiles(f *findings, list []contender) report.Tiles {
	var tiles report.Tiles
	for _, name := range []string{m.display(m.base), namePPO, nameSALSA} {
		if t, ok := m.tile(f, name); ok {
			tiles = append(tiles, t)
		}
	}
	if a := f.RewardModel; a.Held > 0 {
		tiles = append(tiles, report.Tile{Name: "Reward model, held-out pairs", Value: report.Number(100*a.Held, 1) + " %", Detail: "of the annotator's choices foreseen"})
	}
	if total := m.totalSeconds(); total > 0 {
		tiles = append(tiles, report.Tile{Name: "Wall time, all stages", Value: span(total), Detail: m.perMethodTime()})
	}
	return tiles
}

// tile shows a method's gold reward, or its score where there is no gold.
func (m *material) tile(f *findings, name string) (t report.Tile, ok bool) {
	for _, row := range f.Table {
		if row.Method != name {
			continue
		}
		if e, has := row.Measures["gold"]; has {
			return report.Tile{Name: "Gold, " + name, Value: report.Number(100*e.Mean, 1) + " %",
				Detail: fmt.Sprintf("of the optimum; %s to %s", report.Number(100*e.Low, 1), report.Number(100*e.High, 1))}, true
		}
		if e, has := row.Measures["reward"]; has {
			return report.Tile{Name: "Score, " + name, Value: report.Number(e.Mean, 2),
				Detail: fmt.Sprintf("%s to %s", report.Number(e.Low, 2), report.Number(e.High, 2))}, true
		}
	}
	return t, false
}

// perMethodTime tells how long a run of each method took on average.
func (m *material) perMethodTime() string {
	var parts []string
	for _, x := range m.methods() {
		total := 0.0
		for _, run := range x.runs {
			total += m.seconds(run.name)
		}
		if total > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", x.name, span(total/float64(len(x.runs)))))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + " per run"
}

func (m *material) totalSeconds() float64 {
	total := 0.0
	for _, s := range m.state.Stages {
		total += s.Seconds
	}
	return total
}

// signed prints a difference with its sign.
func signed(v float64, digits int) string {
	if v > 0 {
		return "+" + report.Number(v, digits)
	}
	return report.Number(v, digits)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// span prints a duration for people.
func span(seconds float64) string {
	switch {
	case seconds < 10:
		return report.Number(seconds, 1) + " s"
	case seconds < 100:
		return report.Number(seconds, 0) + " s"
	case seconds < 5400:
		return report.Number(seconds/60, 1) + " min"
	}
	return report.Number(math.Round(seconds/360)/10, 1) + " h"
}

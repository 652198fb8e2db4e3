package runreport

// salsa report: what a comparison of PPO and SALSA found, as one HTML file. Every sentence about the outcome is
// computed from the run folders; none of them knows beforehand who wins.

import (
	"context"
	"encoding/json"
	"path/filepath"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/report"
)

// Page is the file in a report's folder that people open.
const Page = "report.html"

const (
	numbersFile  = "report.json"
	frontierFile = "frontier.svg"
)

// Options are the options of `salsa report`.
type Options struct {
	Title    string   `yaml:"title" help:"headline of the report"`
	Lead     string   `yaml:"lead" help:"the task in a few words, printed under the headline"`
	SFT      []string `yaml:"sft" input:"path" arg:"DIRS" help:"run folders of supervised fine-tuning; the first is where PPO and SALSA start"`
	Reward   string   `yaml:"reward" input:"path" arg:"DIR" help:"run folder of the reward model"`
	Soup     string   `yaml:"soup" input:"path" arg:"DIR" help:"folder of the soup"`
	Sweep    string   `yaml:"sweep" input:"path" arg:"DIR" help:"folder with sweep.json; empty: the soup's, if it has one"`
	PPO      []string `yaml:"ppo" input:"path" arg:"DIRS" help:"run folders of PPO, one per seed"`
	SALSA    []string `yaml:"salsa" input:"path" arg:"DIRS" help:"run folders of SALSA, one per seed"`
	Eval     string   `yaml:"eval" input:"path" arg:"DIR" help:"folder with eval.json: the final models on held-out prompts"`
	BaseName string   `yaml:"base_name" arg:"NAME" help:"model to which eval.json's KL is shown; empty: the first of --sft"`
	Out      string   `yaml:"out" required:"true" arg:"DIR" help:"folder for report.html, report.json and frontier.svg" hash:"-"`
	JSON     bool     `yaml:"json" help:"end with one line of JSON on standard output: the main numbers" hash:"-"`
}

// Default returns the defaults.
func Default() Options { return Options{Title: "PPO and SALSA"} }

// Validate checks what the tags cannot.
func (o *Options) Validate() error {
	if len(o.PPO)+len(o.SALSA) == 0 && o.Eval == "" {
		return fault.Inputf("nothing to report: give --ppo and --salsa run folders, or --eval with an eval.json")
	}
	return nil
}

// Write runs the job. It writes OUT/report.html, OUT/report.json (the numbers behind the page) and, where PPO or
// SALSA ran, OUT/frontier.svg. Parts that are missing are named in the page, not guessed.
func Write(_ context.Context, o *Options) (map[string]float64, error) {
	m, err := o.read()
	if err != nil {
		return nil, err
	}
	if err := prepareOut(o.Out, Page, numbersFile, frontierFile); err != nil {
		return nil, err
	}
	list := m.contenders()
	f, err := m.findings(o.Title, list)
	if err != nil {
		return nil, err
	}
	page, err := m.page(o, f, list)
	if err != nil {
		return nil, err
	}
	if err := page.WriteFile(filepath.Join(o.Out, Page)); err != nil {
		return nil, err
	}
	if charts := m.frontierCharts(m.stride(frontierPoints)); len(charts) > 0 {
		if err := report.WriteSVGFile(filepath.Join(o.Out, frontierFile), charts[0], page.Series...); err != nil {
			return nil, err
		}
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, err
	}
	return f.scalars(), checkpoint.WriteFileAtomic(filepath.Join(o.Out, numbersFile), append(raw, '\n'))
}

// page puts the report together.
func (m *material) page(o *Options, f *findings, list []contender) (*report.Report, error) {
	ran, err := m.whatRan(f)
	if err != nil {
		return nil, err
	}
	page := &report.Report{Title: o.Title, Subtitle: o.Lead, Series: []string{namePPO, nameSALSA}, Footer: madeBy(numbersFile)}
	for _, run := range m.sft {
		page.Series = append(page.Series, m.display(run.name))
	}
	page.Series = append(page.Series, nameSoup, seriesAccuracy, seriesLoss)
	page.Lead = append(page.Lead, f.Verdict.note())
	if tiles := m.tiles(f); len(tiles) > 0 {
		page.Lead = append(page.Lead, tiles)
	}
	if len(f.diffs) > 0 {
		page.Lead = append(page.Lead, m.differenceTable(f))
	}
	page.Sections = []report.Section{ran, m.frontierSection(f, m.stride(frontierPoints)), m.learning(m.stride(curvePoints)), m.sweepSection(),
		m.finalSection(f, list), m.samplesSection(list), m.limits(o)}
	return page, nil
}

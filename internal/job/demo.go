package job

// The stages that only the embedded demo has: its data, and preference pairs from its annotator.

import (
	"context"
	"os"
	"path/filepath"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/demo"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/models"
)

// DemoDataOptions are the options of the stage that makes the demo's data.
type DemoDataOptions struct {
	Out  string `yaml:"out" required:"true" arg:"DIR" help:"folder for data and tokenizer" hash:"-"`
	Seed uint64 `yaml:"seed" help:"seed of the data"`
}

// DefaultDemoData returns the defaults.
func DefaultDemoData() DemoDataOptions { return DemoDataOptions{Seed: 1} }

// DemoData writes the task's files: text, demonstrations, prompts, tokenizer and config.
func DemoData(_ context.Context, o *DemoDataOptions) (map[string]float64, error) {
	if err := checkpoint.PrepareOut(o.Out, false); err != nil {
		return nil, err
	}
	return nil, demo.WriteAll(o.Out, o.Seed)
}

// PairsOptions are the options of the stage that makes preference pairs.
type PairsOptions struct {
	Models []string `yaml:"models" required:"true" input:"path" arg:"DIRS" help:"models whose samples are compared; two completions per prompt, from them in turn"`
	Data   []string `yaml:"data" required:"true" input:"path" arg:"FILES" help:"prompts"`
	Pairs  int      `yaml:"pairs" help:"pairs to train on" check:">=1"`
	Held   int      `yaml:"held" help:"further pairs for measuring" check:">=0"`
	Judge  string   `yaml:"judge" enum:"taste,safety" help:"what the annotator compares by: the taste of the recipes, or how safe they are to serve"`
	Out    string   `yaml:"out" required:"true" arg:"DIR" help:"folder for pairs.jsonl and held.jsonl" hash:"-"`
	Base
	Sampling
}

// DefaultPairs returns the defaults.
func DefaultPairs() PairsOptions {
	return PairsOptions{Pairs: 2000, Held: 500, Judge: "taste", Base: defaultBase(), Sampling: defaultSampling()}
}

// Pairs samples completions and has the demo's annotator compare them.
func Pairs(ctx context.Context, o *PairsOptions) (scalars map[string]float64, err error) {
	ev := EvalOptions{Models: o.Models, Data: o.Data, Base: o.Base, Sampling: o.Sampling, Overlong: "error", Gold: "salsa"}
	prompts, enc, err := ev.prompts()
	if err != nil {
		return nil, err
	}
	if err := checkpoint.PrepareOut(o.Out, false); err != nil {
		return nil, err
	}
	rounds := (o.Pairs + o.Held + len(prompts) - 1) / len(prompts)
	sides := [2][]string{}
	err = compute(&o.Base, func(opt models.Options) error {
		for side := range sides {
			dir := o.Models[side%len(o.Models)]
			s := o.Sampling
			s.Seed = o.Seed*2 + uint64(side)
			texts, err := sampleTexts(ctx, dir, opt, &s, prompts, rounds, enc, o.Quiet)
			if err != nil {
				return err
			}
			sides[side] = texts
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var asked []string
	for _, p := range repeatPrompts(prompts, rounds) {
		asked = append(asked, p.Row.Prompt)
	}
	return o.write(asked, sides, rounds)
}

// write labels the pairs; the held-out ones are those of the last prompts, so that no prompt is on both sides.
func (o *PairsOptions) write(asked []string, sides [2][]string, rounds int) (map[string]float64, error) {
	total := len(asked)
	cut := total - total*o.Held/(o.Pairs+o.Held)
	if cut -= cut % rounds; cut < 1 {
		return nil, fault.Inputf("pairs: %d prompts are too few for %d pairs; give more prompts", total, o.Pairs)
	}
	by, err := demo.CriterionNamed(o.Judge)
	if err != nil {
		return nil, err
	}
	stats, err := demo.WritePairs(filepath.Join(o.Out, "pairs.jsonl"), by, asked[:cut], sides[0][:cut], sides[1][:cut], o.Seed)
	if err != nil {
		return nil, err
	}
	if cut < total {
		if _, err := demo.WritePairs(filepath.Join(o.Out, "held.jsonl"), by, asked[cut:], sides[0][cut:], sides[1][cut:], o.Seed+1); err != nil {
			return nil, err
		}
	}
	return map[string]float64{"pairs": float64(stats.Pairs), "label_accuracy": stats.Accuracy}, nil
}

func sampleTexts(ctx context.Context, dir string, opt models.Options, s *Sampling, prompts []data.Prompt, n int, enc *data.Encoder, quiet bool) ([]string, error) {
	var texts []string
	return texts, withModel(dir, opt, func(m models.Model) error {
		var progress *metrics.Progress
		if !quiet {
			progress = metrics.NewProgress(os.Stderr, "sample "+filepath.Base(dir), 0, len(prompts)*n)
			defer progress.Done()
		}
		drawn, err := s.draw(ctx, m, promptIDs(prompts), n, enc.Stops, progress)
		for _, c := range drawn {
			texts = append(texts, completionText(enc, c.IDs))
		}
		return err
	})
}

package job

// The recipe kind select: which of several runs, tried with other settings, is best on prompts kept for that.

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"salsa/eval"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/options"
	"salsa/internal/recipe"
)

// SelectOptions are the options of the recipe kind select: an evaluation, and what of it decides. Its prompts should
// be neither those that the runs learnt from nor those that they will be reported on.
type SelectOptions struct {
	By          string   `yaml:"by" enum:"gold,reward" help:"the mean over all samples that decides; of equals the first wins"`
	Keys        []string `yaml:"keys" required:"true" help:"settings of the best run that later stages use as ${choice:STAGE.key}"`
	EvalOptions `group:"Evaluation"`
}

// DefaultSelect returns the defaults.
func DefaultSelect() SelectOptions { return SelectOptions{By: "reward", EvalOptions: DefaultEval()} }

// Validate checks what the tags cannot.
func (o *SelectOptions) Validate() error {
	switch {
	case o.By == "gold" && o.Gold == "none":
		return fault.Inputf("by gold needs an exact reward: set gold")
	case o.By == "reward" && o.RewardModel == "":
		return fault.Inputf("by reward needs a reward model: set reward_model")
	}
	return nil
}

// Select runs the job: it evaluates the runs and writes OUT/choice.json beside eval.json.
func Select(ctx context.Context, o *SelectOptions) (map[string]float64, error) {
	choice := recipe.Choice{By: o.By}
	for _, dir := range o.Models {
		values, err := settingsOf(dir, o.Keys)
		if err != nil {
			return nil, err
		}
		choice.Candidates = append(choice.Candidates, recipe.Candidate{Name: filepath.Base(filepath.Clean(dir)), Values: values})
	}
	scalars, err := Eval(ctx, &o.EvalOptions)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(o.Out, EvalFile))
	if err != nil {
		return nil, err
	}
	var measured Evaluation
	if err := json.Unmarshal(raw, &measured); err != nil {
		return nil, err
	}
	if err := choose(&choice, &measured); err != nil {
		return nil, err
	}
	if raw, err = json.MarshalIndent(choice, "", "  "); err != nil {
		return nil, err
	}
	return scalars, checkpoint.WriteFileAtomic(filepath.Join(o.Out, recipe.ChoiceFile), append(raw, '\n'))
}

// settingsOf reads settings of a finished run from its run.yaml.
func settingsOf(dir string, keys []string) (map[string]string, error) {
	path := filepath.Join(dir, checkpoint.RunFile)
	run, err := options.ReadYAML(path)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, key := range keys {
		value := run.Get(key)
		if value == nil || value.Kind != options.Scalar {
			return nil, fault.Inputf("%s: has no single value of %s; choose among keys that the runs' options have", path, key)
		}
		out[key] = value.Text
	}
	return out, nil
}

// choose fills in the candidates' means and names the best.
func choose(c *recipe.Choice, measured *Evaluation) error {
	best := math.Inf(-1)
	for i := range c.Candidates {
		values := measured.Models[i].Reward
		if c.By == "gold" {
			values = measured.Models[i].Gold
		}
		clusters := make([]string, len(values))
		for k := range clusters {
			clusters[k] = fmt.Sprint(k / measured.Samples)
		}
		interval, err := (eval.Bootstrap{}).Mean(values, clusters)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Candidates[i].Name, err)
		}
		x := &c.Candidates[i]
		if x.Mean, x.Low, x.High = interval.Mean, interval.Low, interval.High; x.Mean > best {
			best, c.Chosen, c.Values = x.Mean, x.Name, x.Values
		}
	}
	return nil
}

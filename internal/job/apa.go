package job

// salsa apa: advantage-induced policy alignment, with advantage-weighted regression as its baseline.

import (
	"context"

	"salsa/trainers"
)

// APAOptions are the options of `salsa apa`.
type APAOptions struct {
	Online
	Rewarded
	ValueModel          string `yaml:"value_model" input:"path" arg:"DIR" help:"value network to start from; empty: the reward model"`
	trainers.APAOptions `group:"APA"`
}

// DefaultAPA returns the defaults.
func DefaultAPA() APAOptions {
	return APAOptions{Online: defaultOnline(), APAOptions: trainers.DefaultAPA()}
}

// Validate checks what the tags cannot.
func (o *APAOptions) Validate() error { return o.checkInputs() }

// APA runs the job.
func APA(ctx context.Context, o *APAOptions) (map[string]float64, error) {
	j := &onlineJob{Online: &o.Online, set: &o.APAOptions.OnlineOptions, name: "apa", opts: o,
		reward: o.RewardModel, critic: true, value: o.ValueModel}
	return j.run(ctx, func(s stage) (onlineTrainer, error) {
		return trainers.NewAPA(s.cast, s.prompts, o.APAOptions, s.log, s.save)
	})
}

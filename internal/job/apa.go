package job

// salsa apa: advantage-induced policy alignment, with advantage-weighted regression as its baseline.

import (
	"context"

	"salsa/trainers"
)

// APAOptions are the options of `salsa apa`.
type APAOptions struct {
	Scored
	ValueModel          string `yaml:"value_model" input:"path" arg:"DIR" help:"value network to start from; empty: the reward model"`
	trainers.APAOptions `group:"APA"`
}

// DefaultAPA returns the defaults.
func DefaultAPA() APAOptions {
	return APAOptions{Scored: defaultScored(), APAOptions: trainers.DefaultAPA()}
}

// Validate checks what the tags cannot.
func (o *APAOptions) Validate() error {
	if err := o.checkInputs(); err != nil {
		return err
	}
	return o.APAOptions.Validate()
}

// job is the run that the options describe.
func (o *APAOptions) job() *onlineJob {
	return o.Scored.job("apa", &o.APAOptions.OnlineOptions, o).withCritic(o.ValueModel)
}

// APA runs the job.
func APA(ctx context.Context, o *APAOptions) (map[string]float64, error) {
	return o.job().run(ctx, func(s stage) (onlineTrainer, error) {
		return trainers.NewAPA(s.cast, s.prompts, o.APAOptions, s.log, s.save)
	})
}

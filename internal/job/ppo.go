package job

// salsa ppo: PPO against any reference; with a soup as reference, SALSA.

import (
	"context"

	"salsa/trainers"
)

// PPOOptions are the options of `salsa ppo`.
type PPOOptions struct {
	Scored
	ValueModel          string `yaml:"value_model" input:"path" arg:"DIR" help:"value network to start from; empty: the reward model"`
	trainers.PPOOptions `group:"PPO"`
}

// DefaultPPO returns the defaults.
func DefaultPPO() PPOOptions {
	return PPOOptions{Scored: defaultScored(), PPOOptions: trainers.DefaultPPO()}
}

// Validate checks what the tags cannot.
func (o *PPOOptions) Validate() error {
	if err := o.checkInputs(); err != nil {
		return err
	}
	return o.PPOOptions.Validate()
}

// job is the run that the options describe.
func (o *PPOOptions) job() *onlineJob {
	return o.Scored.job("ppo", &o.PPOOptions.OnlineOptions, o).withCritic(o.ValueModel)
}

// PPO runs the job.
func PPO(ctx context.Context, o *PPOOptions) (map[string]float64, error) {
	return o.job().run(ctx, func(s stage) (onlineTrainer, error) {
		return trainers.NewPPO(s.cast, s.prompts, o.PPOOptions, s.log, s.save)
	})
}

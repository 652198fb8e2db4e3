package job

// salsa rloo and salsa grpo: the online methods without a critic.

import (
	"context"

	"salsa/trainers"
)

// RLOOOptions are the options of `salsa rloo`.
type RLOOOptions struct {
	Scored
	trainers.RLOOOptions `group:"RLOO"`
}

// DefaultRLOO returns the defaults.
func DefaultRLOO() RLOOOptions {
	return RLOOOptions{Scored: defaultScored(), RLOOOptions: trainers.DefaultRLOO()}
}

// Validate checks what the tags cannot.
func (o *RLOOOptions) Validate() error {
	if err := o.checkInputs(); err != nil {
		return err
	}
	return o.RLOOOptions.Validate()
}

// job is the run that the options describe.
func (o *RLOOOptions) job() *onlineJob {
	j := o.Scored.job("rloo", &o.RLOOOptions.OnlineOptions, o)
	j.each = o.NumGenerations
	return j
}

// RLOO runs the job.
func RLOO(ctx context.Context, o *RLOOOptions) (map[string]float64, error) {
	return o.job().run(ctx, func(s stage) (onlineTrainer, error) {
		return trainers.NewRLOO(s.cast, s.prompts, o.RLOOOptions, s.log, s.save)
	})
}

// GRPOOptions are the options of `salsa grpo`.
type GRPOOptions struct {
	Scored
	trainers.GRPOOptions `group:"GRPO"`
}

// DefaultGRPO returns the defaults.
func DefaultGRPO() GRPOOptions {
	return GRPOOptions{Scored: defaultScored(), GRPOOptions: trainers.DefaultGRPO()}
}

// Validate checks what the tags cannot.
func (o *GRPOOptions) Validate() error {
	if err := o.checkInputs(); err != nil {
		return err
	}
	return o.GRPOOptions.Validate()
}

// job is the run that the options describe.
func (o *GRPOOptions) job() *onlineJob {
	j := o.Scored.job("grpo", &o.GRPOOptions.OnlineOptions, o)
	j.each = o.NumGenerations
	return j
}

// GRPO runs the job.
func GRPO(ctx context.Context, o *GRPOOptions) (map[string]float64, error) {
	return o.job().run(ctx, func(s stage) (onlineTrainer, error) {
		return trainers.NewGRPO(s.cast, s.prompts, o.GRPOOptions, s.log, s.save)
	})
}

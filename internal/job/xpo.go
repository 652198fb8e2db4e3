package job

// salsa xpo: exploratory preference optimisation, and online DPO.

import (
	"context"

	"salsa/trainers"
)

// XPOOptions are the options of `salsa xpo`.
type XPOOptions struct {
	Scored
	trainers.XPOOptions `group:"XPO"`
}

// DefaultXPO returns the defaults.
func DefaultXPO() XPOOptions {
	return XPOOptions{Scored: defaultScored(), XPOOptions: trainers.DefaultXPO()}
}

// Validate checks what the tags cannot.
func (o *XPOOptions) Validate() error {
	if err := o.checkInputs(); err != nil {
		return err
	}
	return o.XPOOptions.Validate()
}

// XPO runs the job.
func XPO(ctx context.Context, o *XPOOptions) (map[string]float64, error) {
	j := o.job("xpo", &o.XPOOptions.OnlineOptions, o)
	return j.run(ctx, func(s stage) (onlineTrainer, error) {
		return trainers.NewXPO(s.cast, s.prompts, o.XPOOptions, s.log, s.save)
	})
}

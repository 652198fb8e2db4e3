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

// job is the run that the options describe.
func (o *XPOOptions) job() *onlineJob {
	j := o.Scored.job("xpo", &o.XPOOptions.OnlineOptions, o)
	j.each, j.pairs = 2, true
	if o.PairWith == "reference" {
		j.drawn = max(1, o.BatchSize/2)
	}
	return j
}

// XPO runs the job.
func XPO(ctx context.Context, o *XPOOptions) (map[string]float64, error) {
	return o.job().run(ctx, func(s stage) (onlineTrainer, error) {
		return trainers.NewXPO(s.cast, s.prompts, o.XPOOptions, s.log, s.save)
	})
}

package optim

// Learning rates over a run.

import (
	"fmt"
	"math"
)

// Schedule gives the learning rate of step (from 0) of total.
type Schedule func(step, total int) float64

// NewSchedule makes a schedule by name: constant, linear or cosine decay to 0, each after a linear warm-up over
// the first warmup share of the steps, rounded up. As in transformers the warm-up begins at 0, so that its first
// step moves nothing, and the decay would reach 0 one step after the last. A run of one step has no warm-up: it would
// be finished without having learned anything.
func NewSchedule(kind string, peak, warmup float64) (Schedule, error) {
	var decay func(progress float64) float64
	switch kind {
	case "constant":
		decay = func(float64) float64 { return 1 }
	case "linear":
		decay = func(p float64) float64 { return 1 - p }
	case "cosine":
		decay = func(p float64) float64 { return 0.5 * (1 + math.Cos(math.Pi*p)) }
	default:
		return nil, fmt.Errorf("schedule %q is not one of constant, linear, cosine", kind)
	}
	return func(step, total int) float64 {
		ramp := int(math.Ceil(warmup * float64(total)))
		if total == 1 {
			ramp = 0
		}
		if step < ramp {
			return peak * float64(step) / float64(ramp)
		}
		return peak * decay(float64(step-ramp)/float64(max(1, total-ramp)))
	}, nil
}

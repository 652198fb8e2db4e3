package trainers

// From the losses of micro-batches to one optimizer step: the only place that accumulates, clips, checks and
// steps.

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"salsa/data"
	"salsa/internal/profile"
	"salsa/nn"
	"salsa/optim"
	"salsa/tensor"
)

// Stats are the scalars of one micro-batch, still on the device. The values of all micro-batches of a step
// add up, so a mean is given as the share that this micro-batch contributes.
type Stats map[string]tensor.Tensor

// add adds those of a part of the micro-batch, which come from a scope that ends before their use.
func (s Stats) add(part Stats) {
	for _, k := range slices.Sorted(maps.Keys(part)) {
		v := part[k].Detach()
		if sum, ok := s[k]; ok {
			v = sum.Add(v)
		}
		s[k] = v.Keep()
	}
}

// Update owns the optimizer of a run.
type Update struct {
	opt         *optim.AdamW
	params      []tensor.Tensor
	maxGradNorm float64
	maxSkipped  int
	noise       []*nn.Dropout // of the adapters among the parameters

	LR      float64 // learning rate of the steps to come, set by Loop
	skipped int     // steps skipped so far
	inRow   int     // of them, without a good step between
	updates int     // calls of Do so far: with the seed, the state of all noise

	rows func() []data.Example                                        // what the current step computes on; may be nil
	keep func(u *Update, loss, norm float64) (file string, err error) // writes a skipped step down; may be nil
}

// NewUpdate makes the optimizer for params; Close frees it.
func NewUpdate(params []nn.Param, c *Common) *Update {
	opt := optim.NewAdamW(params, c.hyper())
	u := &Update{opt: opt, params: opt.Tensors(), maxGradNorm: c.MaxGradNorm, maxSkipped: c.MaxSkipped, LR: c.LearningRate}
	for _, p := range params {
		if p.Dropout != nil && !slices.Contains(u.noise, p.Dropout) {
			u.noise = append(u.noise, p.Dropout)
		}
	}
	return u
}

// Close frees the optimizer's state.
func (u *Update) Close() { u.opt.Close() }

// Do runs n micro-batches and takes one optimizer step on the sum of their losses. A micro-batch's loss may come as
// several terms that share no activations: each is walked back through before the next is computed, so that one
// network's activations are in memory at a time. The returned scalars are the summed Stats with "loss" (the summed
// losses) and "grad_norm" (before clipping). A loss or gradient that is not finite never reaches the weights: the step
// is skipped and counted in "skipped_steps", and too many in a row are an error.
func (u *Update) Do(n int, terms ...func(i int) (tensor.Tensor, Stats)) (map[string]float64, error) {
	defer profile.Begin(profile.Update).End()
	sums, learns := map[string]float64{}, false
	for i := range n {
		for _, loss := range terms {
			graph, err := u.backward(sums, i, loss)
			if err != nil {
				tensor.ZeroGrads(u.params)
				return nil, fmt.Errorf("micro-batch %d of %d: %w", i+1, n, err)
			}
			learns = learns || graph
		}
	}
	if !learns {
		return nil, fmt.Errorf("the loss depends on no weight that is trained: the update would change nothing")
	}
	defer profile.Begin(profile.Optimizer).End()
	u.updates++
	defer tensor.ZeroGrads(u.params)
	var norm float64
	if err := tensor.Try(func() { norm = tensor.GradNorm(u.params) }); err != nil {
		return nil, err
	}
	sums["grad_norm"] = norm
	if err := u.step(sums["loss"], norm); err != nil {
		return nil, err
	}
	sums["skipped_steps"] = float64(u.skipped)
	return sums, nil
}

// backward adds the gradients of a micro-batch's loss to those that are there, and its scalars to sums. A term without a
// graph, such as the policy's while the critic warms up, is counted alone.
func (u *Update) backward(sums map[string]float64, micro int, loss func(i int) (tensor.Tensor, Stats)) (graph bool, err error) {
	err = tensor.Scope(func() error {
		defer u.withNoise(micro)()
		l, stats := loss(micro)
		graph = l.RequiresGrad()
		if value := accumulate(sums, l, stats); isFinite(value) && graph {
			tensor.Backward(l)
		}
		return nil
	})
	return graph, err
}

// withNoise switches dropout on for a micro-batch, and returns what switches it off.
func (u *Update) withNoise(micro int) (off func()) {
	for _, d := range u.noise {
		d.Begin(u.updates, micro)
	}
	return func() {
		for _, d := range u.noise {
			d.End()
		}
	}
}

// step moves the weights unless loss or norm is not finite.
func (u *Update) step(loss, norm float64) error {
	if isFinite(loss) && isFinite(norm) {
		u.inRow = 0
		return u.opt.Step(u.LR, optim.ClipFactor(norm, u.maxGradNorm))
	}
	u.skipped++
	u.inRow++
	where := ""
	if u.keep != nil {
		file, err := u.keep(u, loss, norm)
		if err != nil {
			return err
		}
		where = " in " + file
	}
	if u.inRow > u.maxSkipped {
		return fmt.Errorf("loss %g and gradient norm %g: %d steps in a row were not finite and have been skipped; lower --learning-rate, or look for a row that overflows%s", loss, norm, u.inRow, where)
	}
	return nil
}

// accumulate adds loss and stats into sums with a single transfer from the device, and returns the loss.
func accumulate(sums map[string]float64, loss tensor.Tensor, stats Stats) float64 {
	keys := make([]string, 0, len(stats)+1)
	for k := range stats {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	values := []tensor.Tensor{loss.Detach().To(tensor.Float64).Reshape(1)}
	for _, k := range keys {
		values = append(values, stats[k].Detach().To(tensor.Float64).Reshape(1))
	}
	host := tensor.Cat(0, values...).Float64s() // [1+len(keys)]
	sums["loss"] += host[0]
	for i, k := range keys {
		sums[k] += host[i+1]
	}
	return host[0]
}

func isFinite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

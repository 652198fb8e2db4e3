package trainers

// The reference of an online run: one frozen model, several of them (MKL), or one that follows the policy.
//
// MKL penalises Σ w_k KL(π‖π_k) instead of the KL to the average of the weights: per token its estimate is log π - Σ w_k
// log π_k, the KL to the normalised geometric mean up to a term that no policy changes (METHODS.md §1). A reference that
// follows is TR-DPO's soft update (arXiv 2404.09656), or with small weight at every step the moving average that WARP
// anchors to (arXiv 2406.16768).

import (
	"context"
	"fmt"
	"math"
	"path/filepath"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// ReferenceOptions say what becomes of the reference.
type ReferenceOptions struct {
	MKL       bool    `yaml:"mkl" help:"penalise the weighted mean of the KLs to the members of --reference, not the KL to their average"`
	RefEvery  int     `yaml:"ref_update_every" help:"steps between moves of the reference towards the policy; 0: it stays" check:">=0"`
	RefWeight float64 `yaml:"ref_update_weight" help:"share μ of the policy in a move: θ_ref ← (1-μ)θ_ref + μθ" check:">=0,<=1"`
}

func (o *ReferenceOptions) validate() error {
	if o.RefEvery > 0 && o.RefWeight == 0 {
		return fault.Inputf("ref_update_every %d: the reference is to follow the policy, and ref_update_weight 0 leaves it where it is; give a share above 0, 0.6 is TR-DPO's", o.RefEvery)
	}
	if o.RefEvery == 0 && o.RefWeight > 0 {
		return fault.Inputf("ref_update_weight %g has no effect without ref_update_every; say how often the reference moves", o.RefWeight)
	}
	if o.RefEvery > 0 && o.MKL {
		return fault.Inputf("mkl: several references cannot follow the policy; leave out mkl or ref_update_every")
	}
	return nil
}

// Member is one of several references.
type Member struct {
	Model  models.Model
	Weight float64 // the members' weights sum to 1
}

// ReferenceDir is the folder of a reference that follows the policy, inside a checkpoint.
const ReferenceDir = "reference"

// follows tells whether the reference moves.
func (r *Online) follows() bool { return r.set.RefEvery > 0 }

// checkReference refuses a cast that the options do not fit.
func (r *Online) checkReference() error {
	if r.set.MKL != (len(r.cast.Members) > 0) {
		return fault.Inputf("mkl needs a reference of several members, DIR,DIR@w,w")
	}
	return r.set.FitsAdapters(models.Adapted(r.cast.Policy))
}

// FitsAdapters refuses a reference that is to follow a policy of which only adapters learn.
func (o *ReferenceOptions) FitsAdapters(adapted bool) error {
	if o.RefEvery > 0 && adapted {
		return fault.Inputf("ref_update_every %d: with adapters the reference has the policy's own frozen weights and cannot move; train all weights, or leave it out", o.RefEvery)
	}
	return nil
}

// referenceLogProbs reads log π_ref of samples; of several references it is the weighted mean.
func (r *Online) referenceLogProbs(ctx context.Context, samples []Sample) ([][]float64, error) {
	micro := r.set.micro(r.set.BatchSize)
	if len(r.cast.Members) == 0 {
		return completionLogProbs(ctx, r.cast.Reference, samples, r.set.Temperature, micro)
	}
	mean := make([][]float64, len(samples))
	for i := range samples {
		mean[i] = make([]float64, len(samples[i].Completion))
	}
	for _, m := range r.cast.Members {
		logp, err := completionLogProbs(ctx, m.Model, samples, r.set.Temperature, micro)
		if err != nil {
			return nil, err
		}
		for i := range mean {
			for t := range mean[i] {
				mean[i][t] += m.Weight * logp[i][t]
			}
		}
	}
	return mean, nil
}

// follow moves the reference after a step, if it is time.
func (r *Online) follow(scalars map[string]float64) error {
	if !r.follows() || r.step%r.set.RefEvery != 0 {
		return nil
	}
	moved := 0.0
	policy := nn.Params(r.cast.Policy)
	at := map[string]tensor.Tensor{}
	for p := range policy {
		at[p.Name] = *p.Tensor
	}
	for p := range nn.Params(r.cast.Reference) {
		err := tensor.NoGrad(func() error {
			before := p.Tensor.Clone()
			mixed := tensor.Zeros(p.Tensor.DType(), p.Tensor.Device(), p.Tensor.Shape()...)
			tensor.Lincomb(mixed, []tensor.Tensor{*p.Tensor, at[p.Name].Detach()}, []float64{1 - r.set.RefWeight, r.set.RefWeight})
			p.Tensor.Copy(mixed)
			moved += mixed.Sub(before).To(tensor.Float32).Square().Sum().Item()
			return nil
		})
		if err != nil {
			return fmt.Errorf("moving the reference's %s: %w", p.Name, err)
		}
	}
	scalars["ref/moved"] = math.Sqrt(moved) // Euclidean distance over all weights
	return nil
}

// referenceParts keep a reference that moves.
func (r *Online) referenceParts() []checkpoint.Part {
	if !r.follows() {
		return nil
	}
	return checkpoint.In(ReferenceDir, models.Parts(r.cast.Reference, models.SaveOptions{}))
}

// loadReference brings it back.
func (r *Online) loadReference(dir string) error {
	if !r.follows() {
		return nil
	}
	return loadInto(filepath.Join(dir, ReferenceDir), r.cast.Reference)
}

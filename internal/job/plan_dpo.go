package job

// The memory of salsa dpo: the reference is asked once, before the policy has an optimizer, and freed.

import (
	"context"

	"salsa/models"
	"salsa/soup"
)

// PlanDPO predicts the memory of `salsa dpo`, for a first run: one that finds the reference's log-probabilities on disk
// loads no reference.
func PlanDPO(_ context.Context, o *DPOOptions) (*Plan, error) {
	p, cfg, enc, err := o.planFor("dpo", o.Model)
	if err != nil {
		return nil, err
	}
	b, err := o.pairBatches(p, &o.Data, enc, &o.Common, pairUnit)
	if err != nil {
		return nil, err
	}
	p.learner("policy", o.Model, cfg.Declared(), &o.LoRA, false)
	p.phase("load", p.weights(), p.loadWork()...)
	if err := o.planPairs(p, cfg, b); err != nil {
		return nil, err
	}
	return &p.Plan, nil
}

// planPairs adds the phases of a policy that learns from pairs, and from what may be computed beside them.
func (o *DPOOptions) planPairs(p *planner, cfg *models.Config, b batches) error {
	if o.NeedsReference() {
		if err := o.planReference(p, cfg, b.first); err != nil {
			return err
		}
	}
	p.learn(p.training(o.learns(p, "policy", cfg, false), b))
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return nil
}

// planReference adds the phase in which the reference lives beside the policy's weights.
func (o *DPOOptions) planReference(p *planner, cfg *models.Config, x line) error {
	if _, err := soup.ParseExpr(o.Reference, o.Extrapolate); err != nil {
		return err
	}
	weights := parameters(cfg.Declared()) * p.elem
	work := []PlanItem{{"reference", weights}, {"forward pass", p.forward(cfg, x)}, {"log-probabilities", p.head(cfg, x.read, false)}}
	p.phase("reference", p.weights(), work...)
	return nil
}

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
	rows, err := longestSide(p, &o.Data, enc)
	if err != nil {
		return nil, err
	}
	p.learner("policy", o.Model, cfg.Declared(), &o.LoRA, false)
	p.phase("load", p.weights(), p.loadWork()...)
	micro, _ := microBatch(&o.Common)
	if err := o.planPairs(p, cfg, rows.line(2*micro)); err != nil {
		return nil, err
	}
	return &p.Plan, nil
}

// planPairs adds the phases of a policy that learns from pairs, and from what is computed beside them in parts of their
// own; both are given as a micro-batch.
func (o *DPOOptions) planPairs(p *planner, cfg *models.Config, pairs line, beside ...line) error {
	if o.NeedsReference() {
		if err := o.planReference(p, cfg, pairs); err != nil {
			return err
		}
	}
	work, head := int64(0), int64(0)
	for _, x := range append(beside, pairs) {
		work, head = max(work, p.activations(cfg, x, o.GradientCheckpointing)), max(head, p.head(cfg, x.tokens, true))
	}
	_, parts := microBatch(&o.Common)
	p.learn(PlanItem{"activations", work}, PlanItem{"log-probabilities", head + o.spare(p, cfg, parts+int64(len(beside)))})
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return nil
}

// planReference adds the phase in which the reference lives beside the policy's weights.
func (o *DPOOptions) planReference(p *planner, cfg *models.Config, x line) error {
	if _, err := soup.ParseExpr(o.Reference, o.Extrapolate); err != nil {
		return err
	}
	weights := parameters(cfg.Declared()) * p.elem
	work := []PlanItem{{"reference", weights}, {"forward pass", p.forward(cfg, x)}, {"log-probabilities", p.head(cfg, x.tokens, false)}}
	p.phase("reference", p.weights(), work...)
	return nil
}

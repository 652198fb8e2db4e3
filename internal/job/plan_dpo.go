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
	t, err := longestSide(p, &o.Data, enc)
	if err != nil {
		return nil, err
	}
	p.learner("policy", o.Model, cfg.Declared(), &o.LoRA, false)
	p.phase("load", p.weights(), p.loadWork()...)
	if err := o.planPairs(p, cfg, int64(t)); err != nil {
		return nil, err
	}
	return &p.Plan, nil
}

// planPairs adds the phases of a policy that learns from pairs of up to t tokens a side, and from what is computed beside
// them in parts of their own.
func (o *DPOOptions) planPairs(p *planner, cfg *models.Config, t int64, beside ...microRows) error {
	micro, parts := microBatch(&o.Common)
	pairs := microRows{2 * micro, t} // both completions of a pair
	if o.NeedsReference() {
		if err := o.planReference(p, cfg, pairs); err != nil {
			return err
		}
	}
	work, head := int64(0), int64(0)
	for _, x := range append(beside, pairs) {
		work, head = max(work, p.activations(cfg, x.rows, x.t, o.GradientCheckpointing)), max(head, p.head(cfg, x.rows*x.t, true))
	}
	p.learn(PlanItem{"activations", work}, PlanItem{"log-probabilities", head + o.spare(p, cfg, parts+int64(len(beside)))})
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return nil
}

// microRows are rows of t tokens that are computed at once.
type microRows struct{ rows, t int64 }

// planReference adds the phase in which the reference lives beside the policy's weights.
func (o *DPOOptions) planReference(p *planner, cfg *models.Config, x microRows) error {
	if _, err := soup.ParseExpr(o.Reference, o.Extrapolate); err != nil {
		return err
	}
	weights := parameters(cfg.Declared()) * p.elem
	n := x.rows * x.t
	work := []PlanItem{{"reference", weights}, {"forward pass", p.forward(cfg, x.rows, x.t)}, {"log-probabilities", p.head(cfg, n, false)}}
	p.phase("reference", p.weights(), work...)
	return nil
}

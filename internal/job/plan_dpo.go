package job

// The memory of salsa dpo: the reference is asked once, before the policy has an optimizer, and freed.

import (
	"context"

	"salsa/data"
	"salsa/models"
	"salsa/soup"
)

// PlanDPO predicts the memory of `salsa dpo`, for a first run: one that finds the reference's log-probabilities on disk
// loads no reference.
func PlanDPO(_ context.Context, o *DPOOptions) (*Plan, error) {
	cfg, err := models.ReadConfig(o.Model)
	if err != nil {
		return nil, err
	}
	p, err := newPlanner("dpo", &o.Base)
	if err != nil {
		return nil, err
	}
	enc, err := o.encoder(o.Model, cfg)
	if err != nil {
		return nil, err
	}
	p.Rows = assumed("rows", enc.MaxLength)
	t, err := longest(p, &o.Data, enc.MaxLength, enc.Pair, func(x data.Pair) int { return max(len(x.Chosen.IDs), len(x.Rejected.IDs)) })
	if err != nil {
		return nil, err
	}
	p.learner("policy", o.Model, cfg.Declared(), &o.LoRA, false)
	micro, parts := microBatch(&o.Common)
	n := 2 * micro * int64(t) // both completions of a pair
	p.phase("load", p.weights(), p.loadWork(cfg)...)
	if o.NeedsReference() {
		if err := o.planReference(p, cfg, n, int64(t)); err != nil {
			return nil, err
		}
	}
	p.learn(PlanItem{"activations", p.activations(cfg, n, int64(t), o.GradientCheckpointing)},
		PlanItem{"log-probabilities", p.head(cfg, n, true) + o.spare(p, cfg, parts)})
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return &p.Plan, nil
}

// planReference adds the phase in which the reference lives beside the policy's weights.
func (o *DPOOptions) planReference(p *planner, cfg *models.Config, n, t int64) error {
	ref, err := soup.ParseExpr(o.Reference, o.Extrapolate)
	if err != nil {
		return err
	}
	weights := int64(0)
	for _, w := range cfg.Declared() {
		weights += w.Bytes / int64(w.DType.Size()) * p.elem
	}
	work := []PlanItem{{"reference", weights}, {"forward pass", p.forward(cfg, n, t)}, {"log-probabilities", p.head(cfg, n, false)}}
	if len(ref.Dirs) > 1 && p.cpu { // the members' pages are mapped while the soup is mixed
		work = append(work, PlanItem{"soup members", int64(len(ref.Dirs)) * weights})
	}
	p.phase("reference", p.weights(), work...)
	return nil
}

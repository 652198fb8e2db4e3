package job

// The memory of salsa aihf: the direct and the self-play form learn like salsa dpo with demonstrations beside the pairs, the
// alternation like salsa ppo or apa with a reward model that learns too.

import (
	"context"
	"fmt"

	"salsa/data"
	"salsa/models"
	"salsa/trainers"
)

// PlanAIHF predicts the memory of `salsa aihf`.
func PlanAIHF(_ context.Context, o *AIHFOptions) (*Plan, error) {
	if alternates(o) {
		return o.planAlternation()
	}
	p, cfg, enc, err := o.planFor("aihf", o.Model)
	if err != nil {
		return nil, err
	}
	if o.Form == "self-play" {
		if enc, err = o.answering(o.Model, cfg, o.MaxNewTokens); err != nil {
			return nil, err
		}
	}
	rows, err := o.longestRows(p, enc)
	if err != nil {
		return nil, err
	}
	p.learner("policy", o.Model, cfg.Declared(), &o.LoRA, false)
	p.phase("load", p.weights(), p.loadWork()...)
	var beside []microRows
	if o.WeightDemo > 0 {
		beside = append(beside, o.planDemos(p, cfg, rows))
	}
	if err := o.preference().planPairs(p, cfg, rows.pair, beside...); err != nil {
		return nil, err
	}
	return &p.Plan, nil
}

// planDemos returns what a micro-batch of demonstrations is. In self-play it has own answers too, and a phase in which
// they are drawn.
func (o *AIHFOptions) planDemos(p *planner, cfg *models.Config, rows aihfRows) microRows {
	micro, _ := microBatch(&trainers.Common{BatchSize: o.DemoBatchSize, MicroBatchSize: o.MicroBatchSize})
	if o.Form != "self-play" {
		return microRows{micro, rows.demo}
	}
	drawn := int64(o.RoundSteps * o.DemoBatchSize)
	if o.RolloutBatch > 0 {
		drawn = min(drawn, int64(o.RolloutBatch))
	}
	p.phase("own answers", p.resident(), p.drawing(cfg, drawn, rows.prompt, int64(o.MaxNewTokens))...)
	return microRows{2 * micro, max(rows.demo, rows.prompt+int64(o.MaxNewTokens))}
}

// aihfRows are the lengths of the longest rows.
type aihfRows struct{ pair, demo, prompt int64 }

// longestRows finds them: of the data, or what the options allow; enc leaves room for answers where there are any.
func (o *AIHFOptions) longestRows(p *planner, enc *data.Encoder) (rows aihfRows, err error) {
	whole := o.whole(enc)
	rows = aihfRows{int64(whole.MaxLength), int64(whole.MaxLength), int64(enc.MaxLength)}
	pair, err := longestSide(p, &o.Data, whole)
	rows.pair = int64(pair)
	defer func() { p.shorter, p.spread = 0, 0 }() // rows of three kinds have no one average
	if err != nil || len(o.Demos) == 0 {
		return rows, err
	}
	demos, err := o.demonstrations(enc)
	if err != nil {
		return rows, err
	}
	rows.demo, rows.prompt = 0, 0
	for i := range demos {
		from, _ := trainers.LastAnswer(&demos[i])
		rows.demo, rows.prompt = max(rows.demo, int64(len(demos[i].IDs))), max(rows.prompt, int64(from))
	}
	p.Rows = fmt.Sprintf("rows of up to %d tokens, the longest of --data and --demos", max(rows.pair, rows.demo))
	return rows, nil
}

// planAlternation is the plan of the alternation: an online run, and at the start of each round own answers and updates
// of the reward model.
func (o *AIHFOptions) planAlternation() (*Plan, error) {
	j := o.alternation()
	if o.WeightDemo > 0 {
		j.drawn = max(o.BatchSize, o.RewardUpdates*o.DemoBatchSize)
	}
	var rows aihfRows
	j.longestPrompt = func(p *planner, enc *data.Encoder) (prompt int, err error) {
		rows, err = o.longestRows(p, enc)
		return int(rows.prompt), err
	}
	p, err := j.planned()
	if err != nil {
		return nil, err
	}
	if err := p.ofData(); err != nil {
		return nil, err
	}
	p.rollout()
	pairs := 0
	if o.WeightDemo > 0 {
		pairs += o.DemoBatchSize
	}
	if o.WeightPreference > 0 {
		pairs += o.PreferenceBatch
	}
	micro, parts := microBatch(&trainers.Common{BatchSize: pairs, MicroBatchSize: o.MicroBatchSize})
	t := max(rows.pair, rows.demo, rows.prompt+int64(o.MaxNewTokens))
	p.update("reward model's updates", func(r PlanRole) bool { return r.Role == rewardRole },
		PlanItem{"activations", p.activations(p.trained, 2*micro, t, o.GradientCheckpointing) + o.spare(p.planner, untied(p.trained), parts)})
	p.learning()
	p.saving()
	return &p.Plan, nil
}

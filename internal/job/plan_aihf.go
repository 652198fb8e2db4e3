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
	var beside []line
	if o.WeightDemo > 0 {
		beside = append(beside, o.planDemos(p, cfg, rows))
	}
	micro, _ := microBatch(&o.Common)
	if err := o.preference().planPairs(p, cfg, rows.pair.line(2*micro), beside...); err != nil {
		return nil, err
	}
	return &p.Plan, nil
}

// planDemos returns what a micro-batch of demonstrations is. In self-play it has own answers too, and a phase in which
// they are drawn.
func (o *AIHFOptions) planDemos(p *planner, cfg *models.Config, rows aihfRows) line {
	micro, _ := microBatch(&trainers.Common{BatchSize: o.DemoBatchSize, MicroBatchSize: o.MicroBatchSize})
	if o.Form != "self-play" {
		return rows.demo.line(micro)
	}
	drawn := int64(o.RoundSteps * o.DemoBatchSize)
	if o.RolloutBatch > 0 {
		drawn = min(drawn, int64(o.RolloutBatch))
	}
	p.phase("own answers", p.resident(), p.drawing(cfg, answersOf(rows.prompt, drawn, 1, int64(o.MaxNewTokens)))...)
	return rows.shown(micro, int64(o.MaxNewTokens))
}

// aihfRows are the lengths of the rows: pairs' sides, demonstrations, and their prompts.
type aihfRows struct{ pair, demo, prompt lengths }

// shown are n demonstrations, each beside an own answer of fresh tokens to its prompt, with which it begins.
func (r aihfRows) shown(n, fresh int64) line {
	x, t := r.demo.line(n), r.prompt.most+fresh
	return x.plus(line{n * fresh, n * max(t, x.t), t})
}

// longestRows finds them: of the data, or what the options allow; enc leaves room for answers where there are any.
func (o *AIHFOptions) longestRows(p *planner, enc *data.Encoder) (rows aihfRows, err error) {
	whole := o.whole(enc)
	rows.demo.most, rows.prompt.most = int64(whole.MaxLength), int64(enc.MaxLength)
	if rows.pair, err = longestSide(p, &o.Data, whole); err != nil || len(o.Demos) == 0 {
		return rows, err
	}
	demos, err := o.demonstrations(enc)
	if err != nil {
		return rows, err
	}
	rows.demo = lengthsOf(demos, exampleSize)
	rows.prompt = lengthsOf(demos, func(x data.Example) (int, float64) {
		from, _ := trainers.LastAnswer(&x)
		return from, float64(from)
	})
	p.Rows = fmt.Sprintf("rows of up to %d tokens, the longest of --data and --demos", max(rows.pair.most, rows.demo.most))
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
	j.longestPrompt = func(p *planner, enc *data.Encoder) (lengths, error) {
		var err error
		rows, err = o.longestRows(p, enc)
		return rows.prompt, err
	}
	p, err := j.planned()
	if err != nil {
		return nil, err
	}
	if err := p.ofData(); err != nil {
		return nil, err
	}
	p.rollout()
	x, parts := o.rewardPairs(rows)
	p.update("reward model's updates", func(r PlanRole) bool { return r.Role == rewardRole },
		PlanItem{"activations", p.activations(p.trained, x, o.GradientCheckpointing) + o.spare(p.planner, untied(p.trained), parts)})
	p.learning()
	p.saving()
	return &p.Plan, nil
}

// rewardPairs is a micro-batch of the reward model's updates, and in how many of them an update is. The longest pairs are
// in the first: those of demonstrations and own answers, or the preferences.
func (o *AIHFOptions) rewardPairs(rows aihfRows) (x line, parts int64) {
	demos, preferences := int64(o.DemoBatchSize), int64(o.PreferenceBatch)
	if o.WeightDemo == 0 {
		demos = 0
	}
	if o.WeightPreference == 0 {
		preferences = 0
	}
	micro, parts := microBatch(&trainers.Common{BatchSize: int(demos + preferences), MicroBatchSize: o.MicroBatchSize})
	fresh := int64(o.MaxNewTokens)
	if max(rows.demo.most, rows.prompt.most+fresh) >= rows.pair.most {
		demos = min(demos, micro)
		preferences = micro - demos
	} else {
		preferences = min(preferences, micro)
		demos = micro - preferences
	}
	if demos > 0 {
		x = rows.shown(demos, fresh)
	}
	if preferences > 0 {
		x = x.plus(rows.pair.line(2 * preferences))
	}
	return x, parts
}

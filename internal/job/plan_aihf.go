package job

// The memory of salsa aihf: the direct and the self-play form learn like salsa dpo with demonstrations beside the pairs, the
// alternation like salsa ppo or apa with a reward model that learns too.

import (
	"context"
	"fmt"

	"salsa/data"
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
	rows, err := o.rowsOf(p, enc)
	if err != nil {
		return nil, err
	}
	b, err := o.sideBySide(rows)
	if err != nil {
		return nil, err
	}
	p.learner("policy", o.Model, cfg.Declared(), &o.LoRA, false)
	p.phase("load", p.weights(), p.loadWork()...)
	if o.WeightDemo > 0 && o.Form == "self-play" {
		drawn := int64(o.RoundSteps * o.DemoBatchSize)
		if o.RolloutBatch > 0 {
			drawn = min(drawn, int64(o.RolloutBatch))
		}
		p.phase("own answers", p.resident(), p.drawing(cfg, answersOf(rows.prompt, drawn, 1, int64(o.MaxNewTokens)))...)
	}
	if err := o.preference().planPairs(p, cfg, b); err != nil {
		return nil, err
	}
	return &p.Plan, nil
}

// aihfRows are the rows, where data is named, and how long they may be.
type aihfRows struct {
	pairs  []data.Pair
	demos  []data.Example
	most   int64   // tokens of a row
	prompt lengths // of the demonstrations
}

// named tells whether all rows are known.
func (r *aihfRows) named() bool { return len(r.pairs) > 0 && len(r.demos) > 0 }

// rowsOf reads them; enc leaves room for answers where there are any.
func (o *AIHFOptions) rowsOf(p *planner, enc *data.Encoder) (rows aihfRows, err error) {
	whole := o.whole(enc)
	rows.most, rows.prompt.most = int64(whole.MaxLength), int64(enc.MaxLength)
	p.Rows = assumed("rows", whole.MaxLength)
	if len(o.Data.Data) > 0 {
		if rows.pairs, err = namedRows(p, &o.Data, whole.MaxLength, whole.Pair, pairSize); err != nil {
			return rows, err
		}
	}
	if len(o.Demos) == 0 {
		return rows, nil
	}
	if rows.demos, err = o.demonstrations(enc); err != nil {
		return rows, err
	}
	rows.prompt = lengthsOf(rows.demos, func(x data.Example) (int, float64) {
		from, _ := trainers.LastAnswer(&x)
		return from, float64(from)
	})
	pair, demo := lengthsOf(rows.pairs, pairSize), lengthsOf(rows.demos, exampleSize)
	p.Rows = fmt.Sprintf("rows of up to %d tokens, the longest of --data and --demos", max(pair.most, demo.most))
	return rows, nil
}

// demos are the stream of the demonstrations; unit says what is computed of one.
func (o *AIHFOptions) demoStream(rows *aihfRows, unit func(x data.Example) unit) stream {
	c := o.Common.ForDemos()
	s := streamOf(&c, rows.demos, func(x data.Example) *data.Row { return x.Row }, unit)
	s.each = o.DemoBatchSize
	return s
}

// shown is a demonstration beside an own answer of fresh tokens to its prompt.
func shown(fresh int64) func(x data.Example) unit {
	return func(x data.Example) unit {
		from, to := trainers.LastAnswer(&x)
		return unit{[][]int{x.IDs[:to], answered(x.IDs[:from], fresh, 0)}, to - from + int(fresh)}
	}
}

// sideBySide are the micro-batches of the direct and the self-play form: a step's pairs, and then its demonstrations.
func (o *AIHFOptions) sideBySide(rows aihfRows) (batches, error) {
	fresh, unit := int64(o.MaxNewTokens), exampleUnit
	if o.Form == "self-play" {
		unit = shown(fresh)
	}
	pairs := streamOf(&o.Common, rows.pairs, pairRowOf, pairUnit)
	switch {
	case o.WeightDemo == 0 && len(rows.pairs) > 0:
		return largestOf(o.MicroBatchSize, 0, false, pairs)
	case o.WeightDemo > 0 && rows.named():
		return largestOf(o.MicroBatchSize, 0, false, pairs, o.demoStream(&rows, unit))
	}
	micro, parts := microBatch(&o.Common)
	b := alike(anyPairs(rows.most, micro, pairUnit), parts)
	if o.WeightDemo > 0 {
		micro, _ := microBatch(&trainers.Common{BatchSize: o.DemoBatchSize, MicroBatchSize: o.MicroBatchSize})
		if o.Form == "self-play" {
			b.of(rows.anyShown(micro, fresh), false)
		} else {
			x := lengths{most: rows.most}.line(micro)
			x.read = x.tokens
			b.of(x, false)
		}
	}
	return b, nil
}

// anyShown are n demonstrations as long as may be, each beside an own answer of fresh tokens.
func (r *aihfRows) anyShown(n, fresh int64) line {
	x, t := lengths{most: r.most}.line(n), r.prompt.most+fresh
	x.read = x.tokens
	return x.plus(line{tokens: n * fresh, places: n * max(t, x.t), t: t, read: n * fresh})
}

// planAlternation is the plan of the alternation: an online run, and at the start of each round own answers and updates
// of the reward model.
func (o *AIHFOptions) planAlternation() (*Plan, error) {
	j := o.alternation()
	if o.WeightDemo > 0 {
		j.drawn = max(o.BatchSize, o.RewardUpdates*o.DemoBatchSize)
	}
	var rows aihfRows
	j.named = func(p *planner, enc *data.Encoder) (prompts []data.Prompt, most lengths, err error) {
		if rows, err = o.rowsOf(p, enc); err != nil {
			return nil, most, err
		}
		for _, x := range rows.demos {
			prompts = append(prompts, data.Prompt{IDs: x.IDs[:x.PromptLen], Row: x.Row})
		}
		return prompts, rows.prompt, nil
	}
	p, err := j.planned()
	if err != nil {
		return nil, err
	}
	if err := p.ofData(); err != nil {
		return nil, err
	}
	p.rollout()
	b, err := o.rewardPairs(rows)
	if err != nil {
		return nil, err
	}
	p.update("reward model's updates", func(r PlanRole) bool { return r.Role == rewardRole },
		p.training(o.learns(p.planner, rewardRole, p.trained, true), b))
	p.learning()
	p.saving()
	return &p.Plan, nil
}

// rewardPairs are the micro-batches of the reward model's updates: demonstrations beside own answers and preferences, the
// longest of them first.
func (o *AIHFOptions) rewardPairs(rows aihfRows) (batches, error) {
	fresh := int64(o.MaxNewTokens)
	if !rows.named() {
		n := 0
		if o.WeightDemo > 0 {
			n += o.DemoBatchSize
		}
		if o.WeightPreference > 0 {
			n += o.PreferenceBatch
		}
		micro, parts := microBatch(&trainers.Common{BatchSize: n, MicroBatchSize: o.MicroBatchSize})
		rows.most = max(rows.most, rows.prompt.most+fresh)
		x := anyPairs(rows.most, micro, rewardUnit)
		return alike(o.windowed(x), parts), nil
	}
	var streams []stream
	if o.WeightDemo > 0 {
		own := shown(fresh)
		streams = append(streams, o.demoStream(&rows, func(x data.Example) unit {
			u := own(x)
			u.read = 2
			return u
		}))
	}
	if o.WeightPreference > 0 {
		s := streamOf(&o.Common, rows.pairs, pairRowOf, rewardUnit)
		s.each = o.PreferenceBatch
		streams = append(streams, s)
	}
	rounds := (o.StepCount(len(rows.demos), o.BatchSize) + o.RoundSteps - 1) / o.RoundSteps
	b, err := largestOf(o.MicroBatchSize, rounds*o.RewardUpdates, true, streams...)
	b.first, b.later = o.windowed(b.first), o.windowed(b.later)
	return b, err
}

// windowed is a line of which --reward-loss window reads every token.
func (o *AIHFOptions) windowed(x line) line {
	if o.RewardLoss != "end" {
		x.read = x.tokens
	}
	return x
}

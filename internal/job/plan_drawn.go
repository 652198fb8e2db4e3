package job

// The memory of rso and can, which draw and score completions before they train on pairs of them as salsa dpo does: the
// models of the drawing are loaded for it alone.

import (
	"context"
	"fmt"
	"slices"

	"salsa/data"
	"salsa/models"
	"salsa/soup"
)

// drawnPlan is the plan of such a run in the making.
type drawnPlan struct {
	*planner
	dpo    *DPOOptions
	policy *models.Config
	drawn  answers // those that are drawn and scored at once
	named  []data.Prompt
	brief  []PlanRole // networks that live while completions are drawn alone
}

// planDrawn starts a plan; inFlight completions of fresh tokens are drawn at once, each of them side by side of one prompt, and
// readers are the folders of all models whose context an answer must fit.
func planDrawn(command string, dpo *DPOOptions, d *Data, fresh, inFlight, each int, readers ...string) (*drawnPlan, error) {
	cfg, err := models.ReadConfig(dpo.Model)
	if err != nil {
		return nil, err
	}
	base, err := newPlanner(command, &dpo.Base)
	if err != nil {
		return nil, err
	}
	base.readsTexts(dpo.Model)
	enc, err := dpo.answering(dpo.Model, cfg, fresh)
	if err != nil {
		return nil, err
	}
	if err := leaveRoomIn(enc, fresh, readers...); err != nil {
		return nil, err
	}
	base.Rows = assumed("prompts", enc.MaxLength)
	p := &drawnPlan{planner: base, dpo: dpo, policy: cfg}
	prompt := lengths{most: int64(enc.MaxLength)}
	if len(d.Data) > 0 {
		if p.named, err = namedRows(base, d, enc.MaxLength, enc.Prompt, promptSize); err != nil {
			return nil, err
		}
		prompt = promptLengths(heaviest(slices.Chunk(p.named, max(1, (inFlight+each-1)/each))))
	}
	base.Rows += fmt.Sprintf(", and completions of %d", fresh)
	p.drawn = answersOf(prompt, int64(inFlight), int64(each), int64(fresh))
	return p, nil
}

// draw adds a phase in which completions are drawn and scored by models that add lists; logProbs tells whether
// log-probabilities are scores. It returns the models' roles.
func (p *drawnPlan) draw(phase string, logProbs bool, add func() ([]*models.Config, error)) ([]PlanRole, error) {
	var configs []*models.Config
	roles, err := p.aside(func() (err error) {
		configs, err = add()
		return err
	})
	if err != nil {
		return nil, err
	}
	resident := p.resident()
	for _, r := range roles {
		resident += r.Weights
	}
	drawing, read := p.drawing(p.policy, p.drawn), int64(0)
	for _, cfg := range configs {
		read = max(read, p.forward(cfg, p.drawn.line()))
	}
	scoring := []PlanItem{{"forward pass", read}, {"log-probabilities", 0}}
	if logProbs {
		scoring[1].Bytes = p.head(p.policy, p.drawn.rows*p.drawn.fresh, false)
	}
	if sumOf(scoring) > sumOf(drawing) { // the cache is gone by then
		drawing = scoring
	}
	p.phase(phase, resident, drawing...)
	return roles, nil
}

// train adds the phases of training on pairs, perPrompt of each prompt.
func (p *drawnPlan) train(perPrompt int) error {
	c, fresh := &p.dpo.Common, p.drawn.fresh
	micro, parts := microBatch(c)
	pairs := answers{p.drawn.prompt, micro, 2 * micro, fresh}
	b := alike(pairs.line(), parts)
	if len(p.named) > 0 {
		var err error
		b, err = largestOf(c.MicroBatchSize, 0, false, stream{*c, len(p.named) * perPrompt,
			func(i int) *data.Row { return p.named[i/perPrompt].Row },
			func(i int) unit {
				ids := p.named[i/perPrompt].IDs
				return unit{[][]int{answered(ids, fresh, 2*i), answered(ids, fresh, 2*i+1)}, 2 * int(fresh)}
			}, c.BatchSize})
		if err != nil {
			return err
		}
	}
	p.learner("policy", p.dpo.Model, p.policy.Declared(), &p.dpo.LoRA, false)
	p.phase("load", p.weights(), p.loadWork()...)
	return p.dpo.planPairs(p.planner, p.policy, b)
}

// done returns the plan with all networks, however short they live.
func (p *drawnPlan) done() *Plan {
	p.Roles = append(p.Roles, p.brief...)
	return &p.Plan
}

// frozenAs adds a frozen language model in a role of this name.
func (p *planner) frozenAs(role, dir string) (*models.Config, error) {
	return p.average(role, soup.Expr{Dirs: []string{dir}, Weights: []float64{1}})
}

// PlanRSO predicts the memory of `salsa rso`, for a first run: one that finds all candidates on disk draws none.
func PlanRSO(_ context.Context, o *RSOOptions) (*Plan, error) {
	scorer, err := o.expression()
	if err != nil {
		return nil, err
	}
	dpo := o.preference()
	p, err := planDrawn("rso", dpo, o.files(), o.MaxNewTokens, min(o.SampleBatchSize, o.ChunkSize*o.Candidates), o.Candidates, append(memberDirs(dpo.Reference), scorer.models.Dirs...)...)
	if err != nil {
		return nil, err
	}
	p.brief, err = p.draw("candidates", false, func() ([]*models.Config, error) {
		if _, err := p.frozenAs("sampled model", o.Model); err != nil {
			return nil, err
		}
		return p.rewarders(rewardRole, scorer)
	})
	if err == nil && o.trains() {
		err = p.train(o.pairsOfPrompt())
	}
	if err != nil {
		return nil, err
	}
	return p.done(), nil
}

// pairsOfPrompt is how many pairs the accepted candidates of a prompt give where no match is a tie.
func (o *RSOOptions) pairsOfPrompt() int {
	if o.Pairing == "tournament" {
		return o.Accept - 1
	}
	return o.Accept / 2
}

// PlanCAN predicts the memory of `salsa can`, for a first run: one that finds all completions on disk draws none.
func PlanCAN(_ context.Context, o *CANOptions) (*Plan, error) {
	settled := *o
	settled.Settle()
	c := &canJob{CANOptions: &settled, dpo: settled.preference()}
	if err := c.parse(); err != nil {
		return nil, err
	}
	p, err := planDrawn("can", c.dpo, &Data{Data: o.Data, EvalData: o.EvalData, Holdout: o.Holdout}, o.MaxNewTokens, min(o.SampleBatchSize, o.ChunkSize*o.Samples), o.Samples, append(c.scorerDirs(), c.ref.Dirs...)...)
	if err != nil {
		return nil, err
	}
	judges := func() ([]*models.Config, error) { return c.judges(p.planner) }
	if p.brief, err = p.draw("samples", o.Mode == "pecan", judges); err != nil {
		return nil, err
	}
	if !o.DualOnly {
		if err := p.alignment(&settled, judges); err != nil {
			return nil, err
		}
	}
	return p.done(), nil
}

// alignment adds the phases of training and, if that is wanted, of measuring what came out: the aligned model is drawn
// from in a copy of its own.
func (p *drawnPlan) alignment(o *CANOptions, judges func() ([]*models.Config, error)) error {
	if err := p.train(o.PairsPerPrompt); err != nil || o.MeasureSamples == 0 {
		return err
	}
	if len(o.EvalData) > 0 || o.Holdout > 0 {
		if _, err := p.draw("held-out samples", o.Mode == "pecan", judges); err != nil {
			return err
		}
	}
	p.drawn = answersOf(p.drawn.prompt, int64(min(o.SampleBatchSize, o.ChunkSize*o.MeasureSamples)), int64(o.MeasureSamples), p.drawn.fresh)
	roles, err := p.draw("measure", true, func() ([]*models.Config, error) {
		if _, err := p.frozenAs("aligned model", o.Model); err != nil {
			return nil, err
		}
		return judges()
	})
	if err != nil {
		return err
	}
	p.brief = append(p.brief, roles[0]) // the judges are listed already
	return nil
}

// judges adds the reference and what scores reward and safety.
func (c *canJob) judges(p *planner) (configs []*models.Config, err error) {
	cfg, err := p.average("reference", c.ref)
	if err != nil {
		return nil, err
	}
	configs = append(configs, cfg)
	if c.Mode != "pecan" {
		for _, x := range []struct {
			role string
			e    rewardExpr
		}{{rewardRole, c.reward}, {"safety model", c.safety}} {
			more, err := p.rewarders(x.role, x.e)
			if err != nil {
				return nil, err
			}
			configs = append(configs, more...)
		}
		return configs, nil
	}
	for _, x := range [][2]string{{"reward policy", c.RewardPolicy}, {"safety policy", c.SafetyPolicy}} {
		cfg, err := p.frozenAs(x[0], x[1])
		if err != nil {
			return nil, err
		}
		configs = append(configs, cfg)
	}
	return configs, nil
}

package job

// The memory of the online methods. The roles follow onlineJob.cast and onlineJob.watchList, and what a method loads
// beside them; a network that is added there belongs here too.

import (
	"cmp"
	"context"
	"fmt"

	"salsa/data"
	"salsa/models"
	"salsa/soup"
	"salsa/trainers"
)

// PlanPPO predicts the memory of `salsa ppo`.
func PlanPPO(_ context.Context, o *PPOOptions) (*Plan, error) { return o.job().plan() }

// PlanAPA predicts the memory of `salsa apa`.
func PlanAPA(_ context.Context, o *APAOptions) (*Plan, error) { return o.job().plan() }

// PlanRLOO predicts the memory of `salsa rloo`.
func PlanRLOO(_ context.Context, o *RLOOOptions) (*Plan, error) { return o.job().plan() }

// PlanGRPO predicts the memory of `salsa grpo`.
func PlanGRPO(_ context.Context, o *GRPOOptions) (*Plan, error) { return o.job().plan() }

// PlanXPO predicts the memory of `salsa xpo`. Where the reference gives the second answers, policy and reference draw
// half a batch each, one after the other.
func PlanXPO(_ context.Context, o *XPOOptions) (*Plan, error) { return o.job().plan() }

// PlanInverseQ predicts the memory of `salsa inverse-q`; the guide is a network of its own.
func PlanInverseQ(_ context.Context, o *InverseQOptions) (*Plan, error) {
	j, err := o.job()
	if err != nil {
		return nil, err
	}
	return j.plan()
}

// onlinePlan is the plan of an online run in the making.
type onlinePlan struct {
	*planner
	job     *onlineJob
	enc     *data.Encoder
	policy  *models.Config
	value   *models.Config   // nil: the method has no critic
	frozen  []*models.Config // of all that reads completions without learning
	guide   *models.Config   // nil: there is none
	trained *models.Config   // of a reward model that learns too; nil: it does not
	batch   answers          // of one step
}

// plan predicts the memory of the run.
func (o *onlineJob) plan() (*Plan, error) {
	p, err := o.planned()
	if err != nil {
		return nil, err
	}
	if err := p.ofData(); err != nil {
		return nil, err
	}
	p.rollout()
	p.learning()
	p.saving()
	return &p.Plan, nil
}

// planned reads the configs and lists the networks.
func (o *onlineJob) planned() (*onlinePlan, error) {
	if err := o.parse(); err != nil {
		return nil, err
	}
	cfg, err := models.ReadConfig(o.Model)
	if err != nil {
		return nil, err
	}
	base, err := newPlanner(o.name, &o.Base)
	if err != nil {
		return nil, err
	}
	base.readsTexts(o.Model)
	p := &onlinePlan{planner: base, job: o, policy: cfg}
	if p.enc, err = o.encoderFor(cfg); err != nil {
		return nil, err
	}
	p.learner("policy", o.Model, cfg.Declared(), &o.LoRA, false)
	for _, add := range []func() error{p.addReference, p.addValue, p.addRewarders, p.addGuide, p.addWatched} {
		if err := add(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// viewed tells whether a frozen model is the policy without its adapters, of which no second copy is loaded.
func (p *onlinePlan) viewed(dir string) bool {
	return p.job.LoRARank > 0 && !models.IsAdapter(dir) && p.job.overTrunk(dir)
}

// addReference adds the reference: its average, or under MKL every member.
func (p *onlinePlan) addReference() error {
	ref := p.job.ref
	parts := []soup.Expr{ref}
	if p.job.set.MKL {
		parts = nil
		for _, dir := range ref.Dirs {
			parts = append(parts, soup.Expr{Dirs: []string{dir}, Weights: []float64{1}})
		}
	}
	for _, e := range parts {
		if len(e.Dirs) == 1 && p.viewed(e.Dirs[0]) {
			p.network("reference, the policy's weights", e.String(), nil, false)
			continue
		}
		cfg, err := p.average("reference", e)
		if err != nil {
			return err
		}
		p.frozen = append(p.frozen, cfg)
	}
	return nil
}

// addValue adds the value network of a method with a critic.
func (p *onlinePlan) addValue() error {
	if !p.job.critic {
		return nil
	}
	start, err := p.job.valueStart()
	if err != nil {
		return err
	}
	if p.value, err = models.ReadConfig(start.Dirs[0]); err != nil {
		return err
	}
	p.learner("value network", start.Dirs[0], p.value.DeclaredScorer(), &p.job.LoRA, true)
	return nil
}

// rewardRole names a reward model that learns or does not.
const rewardRole = "reward model"

// addRewarders adds the reward model, or all of an ensemble.
func (p *onlinePlan) addRewarders() error {
	e := p.job.scorer
	if !p.job.learns {
		configs, err := p.rewarders(rewardRole, e)
		p.frozen = append(p.frozen, configs...)
		return err
	}
	cfg, err := models.ReadConfig(e.models.Dirs[0])
	if err != nil {
		return err
	}
	p.trained = cfg
	p.learner(rewardRole, e.models.Dirs[0], cfg.DeclaredScorer(), &p.job.LoRA, false)
	return nil
}

// addGuide adds the guide, which is always a copy of its own.
func (p *onlinePlan) addGuide() (err error) {
	if len(p.job.guide.Dirs) > 0 {
		p.guide, err = p.average("guide", p.job.guide)
	}
	return err
}

// addWatched adds the models of which the KL alone is logged.
func (p *onlinePlan) addWatched() error {
	seen := map[string]bool{}
	for _, dir := range p.job.referenceCopies() {
		seen[dir] = true
	}
	for _, w := range p.job.watchList() {
		if seen[w.dir] || p.viewed(w.dir) {
			continue
		}
		seen[w.dir] = true
		cfg, err := models.ReadConfig(w.dir)
		if err != nil {
			return err
		}
		p.network("watched "+w.name, w.dir, cfg.Declared(), false)
		p.frozen = append(p.frozen, cfg)
	}
	return nil
}

// ofData measures the prompts: of the data, or what the options allow.
func (p *onlinePlan) ofData() (err error) {
	o := p.job
	p.Rows = assumed("prompts", p.enc.MaxLength)
	prompt := lengths{most: int64(p.enc.MaxLength)}
	var named []data.Prompt
	switch {
	case o.named != nil:
		named, prompt, err = o.named(p.planner, p.enc)
	case len(o.Data.Data) > 0:
		named, err = namedRows(p.planner, &o.Data, p.enc.MaxLength, p.enc.Prompt, promptSize)
	}
	if err != nil {
		return err
	}
	if len(named) > 0 {
		if named, err = heaviestStep(&o.set.Common, named, max(1, o.set.BatchSize/cmp.Or(o.each, 1))); err != nil {
			return err
		}
		prompt = promptLengths(named)
	}
	p.Rows += fmt.Sprintf(", and completions of %d", o.set.MaxNewTokens)
	p.batch = answersOf(prompt, int64(o.set.BatchSize), int64(cmp.Or(o.each, 1)), int64(o.set.MaxNewTokens))
	return err
}

// rollout adds the phases up to the rewards: load, draw, score. Scoring takes in the log-probabilities of all that reads.
func (p *onlinePlan) rollout() {
	set, drawn := p.job.set, p.batch
	if n := int64(p.job.drawn); n > 0 {
		drawn = answersOf(p.batch.prompt, n, 1, p.batch.fresh)
	}
	if set.RolloutBatch > 0 {
		drawn = drawn.some(int64(set.RolloutBatch))
	}
	p.phase("load", p.weights(), p.loadWork()...)
	p.phase("rollout", p.resident(), p.drawing(p.policy, drawn)...)
	micro, _ := microBatch(&set.Common)
	scored := p.batch.some(micro)
	read := p.forward(p.policy, scored.line())
	for _, cfg := range append([]*models.Config{p.value, p.trained}, p.frozen...) {
		if cfg != nil {
			read = max(read, p.forward(cfg, scored.line()))
		}
	}
	if p.guide != nil {
		advised := scored
		advised.prompt.most += p.advice()
		read = max(read, p.forward(p.guide, advised.line()))
	}
	p.phase("score", p.resident(), PlanItem{"forward pass", read}, PlanItem{"log-probabilities", p.head(p.policy, scored.rows*scored.fresh, false)})
}

// advice is by how many tokens the guide's prompt is longer than the policy's.
func (p *onlinePlan) advice() int64 {
	if p.job.advice == "" || p.enc.Tok == nil {
		return 0
	}
	return int64(len(p.enc.Tok.Encode(p.job.advice, false)))
}

// mini is what a micro-batch of the updates computes at once, and in how many of them a mini-batch is.
func (p *onlinePlan) mini() (x answers, parts int64) {
	set := p.job.set
	c := trainers.Common{BatchSize: set.BatchSize / set.MiniBatches, MicroBatchSize: set.MicroBatchSize}
	if !p.job.pairs {
		micro, parts := microBatch(&c)
		return p.batch.shuffled(micro), parts
	}
	c.BatchSize = max(1, c.BatchSize/2)
	if c.MicroBatchSize > 0 {
		c.MicroBatchSize = max(1, c.MicroBatchSize/2) // it counts sequences
	}
	micro, parts := microBatch(&c)
	return p.batch.some(2 * micro), parts
}

// learning adds the updates of policy and value network. A micro-batch goes through one after the other, so activations of
// one network are alive at a time, and the other's gradients.
func (p *onlinePlan) learning() {
	batch, parts := p.mini()
	b := alike(batch.line(), parts)
	of := func(l learning, b batches, beside ...PlanItem) moment {
		most := p.training(l, b, beside...)
		for i := range most {
			if most[i].What == "activations" {
				most[i].What = l.role.Role + "'s activations"
			}
		}
		return most
	}
	gradients := func(l learning) PlanItem { return PlanItem{l.role.Role + "'s gradients", l.role.Gradients} }
	policy := p.job.Training.learns(p.planner, "policy", p.policy, false)
	if p.value == nil {
		p.updates(of(policy, b))
		return
	}
	value := p.job.Training.learns(p.planner, "value network", p.value, true)
	first := batches{first: b.first}
	most := worst(of(policy, first), of(value, first, gradients(policy)))
	if set := p.job.set; parts == 1 && set.MiniBatches == 1 && !p.job.GradientCheckpointing {
		// The value network learns from the pass that read the values, before the policy does.
		most = worst(most, of(policy, first, gradients(value)))
	}
	if parts > 1 {
		most = worst(most, of(policy, b, gradients(value)), of(value, b, gradients(policy)))
	}
	p.updates(most)
}

// updates adds their phase.
func (p *onlinePlan) updates(most moment) {
	p.update("learn", func(r PlanRole) bool { return r.Role != rewardRole }, most)
}

// saving adds the last phase.
func (p *onlinePlan) saving() {
	configs := []*models.Config{p.policy}
	for _, cfg := range []*models.Config{p.value, p.trained} {
		if cfg != nil {
			configs = append(configs, cfg)
		}
	}
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(configs...)})
}

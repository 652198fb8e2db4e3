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
	prompt  int64            // tokens of the longest
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

// ofData finds the longest prompt: of the data, or what the options allow.
func (p *onlinePlan) ofData() error {
	o := p.job
	p.Rows = assumed("prompts", p.enc.MaxLength)
	var prompt int
	var err error
	if o.longestPrompt != nil {
		prompt, err = o.longestPrompt(p.planner, p.enc)
	} else {
		prompt, err = longest(p.planner, &o.Data, p.enc.MaxLength, p.enc.Prompt, promptSize)
	}
	p.Rows += fmt.Sprintf(" and completions of %d", o.set.MaxNewTokens)
	p.prompt = int64(prompt)
	return err
}

// rollout adds the phases up to the rewards: load, draw, score. Scoring takes in the log-probabilities of all that reads.
func (p *onlinePlan) rollout() {
	set := p.job.set
	rows, fresh := int64(cmp.Or(p.job.drawn, set.BatchSize)), int64(set.MaxNewTokens)
	if set.RolloutBatch > 0 {
		rows = min(rows, int64(set.RolloutBatch))
	}
	t := p.prompt + fresh
	configs := []*models.Config{p.policy}
	for _, cfg := range append([]*models.Config{p.value, p.trained}, p.frozen...) {
		if cfg != nil {
			configs = append(configs, cfg)
		}
	}
	p.phase("load", p.weights(), p.loadWork()...)
	p.phase("rollout", p.resident(), p.drawing(p.policy, rows, p.prompt, fresh)...)
	scoring, _ := microBatch(&set.Common)
	read := int64(0)
	for _, cfg := range configs {
		read = max(read, p.forward(cfg, scoring, t))
	}
	if p.guide != nil {
		long := t + p.advice()
		read = max(read, p.forward(p.guide, scoring, long))
	}
	p.phase("score", p.resident(), PlanItem{"forward pass", read}, PlanItem{"log-probabilities", p.head(p.policy, scoring*fresh, false)})
}

// drawing is what rows completions of fresh tokens each take while they are drawn.
func (p *planner) drawing(cfg *models.Config, rows, prompt, fresh int64) []PlanItem {
	prefill := p.forward(cfg, rows, prompt)
	t := prompt + fresh
	return []PlanItem{{"key-value cache", p.cache(cfg, rows, t)}, {"forward pass", max(prefill, p.decode(cfg, rows, t))}}
}

// advice is by how many tokens the guide's prompt is longer than the policy's.
func (p *onlinePlan) advice() int64 {
	if p.job.advice == "" || p.enc.Tok == nil {
		return 0
	}
	return int64(len(p.enc.Tok.Encode(p.job.advice, false)))
}

// learning adds the updates of policy and value network.
func (p *onlinePlan) learning() {
	set, o := p.job.set, p.job
	fresh := int64(set.MaxNewTokens)
	t := p.prompt + fresh
	micro, parts := microBatch(&trainers.Common{BatchSize: set.BatchSize / set.MiniBatches, MicroBatchSize: set.MicroBatchSize})
	items := []PlanItem{{"policy's activations", p.activations(p.policy, micro, t, o.GradientCheckpointing)}}
	items = append(items, PlanItem{"log-probabilities", p.head(p.policy, micro*fresh, true) + o.spare(p.planner, p.policy, parts)})
	if p.value != nil { // its turn comes when the policy's activations are gone and its gradients are there
		value := p.activations(p.value, micro, t, o.GradientCheckpointing) + o.spare(p.planner, untied(p.value), parts)
		gradients := p.Roles[0].Gradients
		if value+gradients > items[0].Bytes+items[1].Bytes {
			items = []PlanItem{{"value network's activations", value}, {"policy's gradients", gradients}}
		}
	}
	p.update("learn", func(r PlanRole) bool { return r.Role != rewardRole }, items...)
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

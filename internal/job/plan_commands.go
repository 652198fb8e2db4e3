package job

// What each command keeps in memory, phase by phase. The roles follow PPO.cast, SFT.start and startScorer; a network
// that is added there belongs here too.

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/trainers"
)

// PlanSFT predicts the memory of `salsa sft`.
func PlanSFT(_ context.Context, o *SFTOptions) (*Plan, error) {
	dir := o.Model + o.FromConfig
	cfg, err := models.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	p, err := newPlanner("sft", &o.Base)
	if err != nil {
		return nil, err
	}
	enc, err := o.encoder(dir, cfg)
	if err != nil {
		return nil, err
	}
	t := enc.MaxLength
	p.Rows = assumed("rows", t)
	if o.Packing {
		p.Rows = fmt.Sprintf("packed rows of %d tokens", t)
	} else if t, err = longest(p, &o.Data, t, enc.SFT, func(x data.Example) int { return len(x.IDs) }); err != nil {
		return nil, err
	}
	p.learner("model", dir, cfg.Declared(), &o.LoRA, false)
	micro, parts := microBatch(&o.Common)
	p.phase("load", p.weights(), p.loadWork(cfg)...)
	n := micro * int64(t)
	p.learn(PlanItem{"activations", p.activations(cfg, n, int64(t), o.GradientCheckpointing)},
		PlanItem{"log-probabilities", p.head(cfg, n, true) + o.spare(p, cfg, parts)})
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return &p.Plan, nil
}

// PlanReward predicts the memory of `salsa reward`.
func PlanReward(_ context.Context, o *RewardOptions) (*Plan, error) {
	cfg, err := models.ReadConfig(o.Model)
	if err != nil {
		return nil, err
	}
	p, err := newPlanner("reward", &o.Base)
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
	p.learner("reward model", o.Model, cfg.DeclaredScorer(), &o.LoRA, false)
	micro, parts := microBatch(&o.Common)
	p.phase("load", p.weights(), p.loadWork(cfg)...)
	p.learn(PlanItem{"activations", p.activations(cfg, 2*micro*int64(t), int64(t), o.GradientCheckpointing) + o.spare(p, untied(cfg), parts)})
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(cfg)})
	return &p.Plan, nil
}

// untied is the config of a network whose head is no embedding: a scorer's.
func untied(c *models.Config) *models.Config {
	d := *c
	d.Tied = false
	return &d
}

// spare are the gradients of embeddings that exist beside their sum; adapters leave embeddings as they are.
func (t *Training) spare(p *planner, c *models.Config, parts int64) int64 {
	if t.LoRARank > 0 {
		return 0
	}
	return p.spareGradients(c, parts)
}

// PlanPPO predicts the memory of `salsa ppo`.
func PlanPPO(_ context.Context, o *PPOOptions) (*Plan, error) {
	ref, err := soup.ParseExpr(o.Reference, o.Extrapolate)
	if err != nil {
		return nil, err
	}
	policy, err := models.ReadConfig(o.Model)
	if err != nil {
		return nil, err
	}
	p, err := newPlanner("ppo", &o.Base)
	if err != nil {
		return nil, err
	}
	prompt, err := o.promptLength(p, policy)
	if err != nil {
		return nil, err
	}
	value, err := o.addNetworks(p, ref, policy)
	if err != nil {
		return nil, err
	}
	rows, fresh := int64(o.BatchSize), int64(o.MaxNewTokens)
	if o.RolloutBatch > 0 {
		rows = min(rows, int64(o.RolloutBatch))
	}
	t := int64(prompt) + fresh
	micro, parts := microBatch(&trainers.Common{BatchSize: o.BatchSize / o.MiniBatches, MicroBatchSize: o.MicroBatchSize})
	scoring, _ := microBatch(&o.Common)
	load := p.loadWork(policy, value)
	if len(ref.Dirs) > 1 && !o.MKL && p.cpu { // the members' pages are mapped while the soup is mixed
		load = append(load, PlanItem{"soup members", int64(len(ref.Dirs)) * p.Roles[1].Weights})
	}
	p.phase("load", p.weights(), load...)
	prefill := p.forward(policy, rows*int64(prompt), int64(prompt))
	p.phase("rollout", p.resident(), PlanItem{"key-value cache", p.cache(policy, rows, t)},
		PlanItem{"forward pass", max(prefill, p.decode(policy, rows, t))})
	p.phase("score", p.resident(), PlanItem{"forward pass", max(p.forward(policy, scoring*t, t), p.forward(value, scoring*t, t))},
		PlanItem{"log-probabilities", p.head(policy, scoring*fresh, false)})
	p.learn(PlanItem{"policy's activations", p.activations(policy, micro*t, t, o.GradientCheckpointing)},
		PlanItem{"value network's activations", p.activations(value, micro*t, t, o.GradientCheckpointing)},
		PlanItem{"log-probabilities", p.head(policy, micro*fresh, true) + o.spare(p, policy, parts) + o.spare(p, untied(value), parts)})
	p.phase("save", p.resident(), PlanItem{"buffers", 2 * p.largest(policy, value)})
	return &p.Plan, nil
}

// addNetworks lists the networks of a PPO run and returns the value network's config.
func (o *PPOOptions) addNetworks(p *planner, ref soup.Expr, policy *models.Config) (*models.Config, error) {
	p.learner("policy", o.Model, policy.Declared(), &o.LoRA, false)
	first, err := models.ReadConfig(ref.Dirs[0])
	if err != nil {
		return nil, err
	}
	for _, name := range references(ref, o.MKL) {
		if o.viewed(name) {
			p.network("reference, the policy's weights", name, nil, false)
			continue
		}
		p.network("reference", name, first.Declared(), false)
	}
	scorer, err := o.expression()
	if err != nil {
		return nil, err
	}
	valueDir := o.ValueModel
	if valueDir == "" && scorer.gold != "" {
		return nil, fault.Inputf("--reward-model %s has no weights that the value network could start from; give --value-model", o.RewardModel)
	}
	if valueDir == "" {
		valueDir = scorer.single().Dirs[0]
	}
	value, err := models.ReadConfig(valueDir)
	if err != nil {
		return nil, err
	}
	p.learner("value network", valueDir, value.DeclaredScorer(), &o.LoRA, true)
	if err := p.rewarders(scorer); err != nil {
		return nil, err
	}
	for _, dir := range o.watchedDirs(ref, o.MKL) {
		if o.viewed(dir) {
			continue
		}
		cfg, err := models.ReadConfig(dir)
		if err != nil {
			return nil, err
		}
		p.network("watched "+filepath.Base(filepath.Clean(dir)), dir, cfg.Declared(), false)
	}
	return value, nil
}

// references names the models that stand in memory for a reference: its average, or under MKL every member.
func references(ref soup.Expr, mkl bool) []string {
	if mkl {
		return ref.Dirs
	}
	return []string{ref.String()}
}

// viewed tells whether a folder is the model that the policy's adapters lie on, of which no second copy is loaded.
func (o *PPOOptions) viewed(dir string) bool {
	return o.LoRARank > 0 && filepath.Clean(dir) == filepath.Clean(o.Model)
}

// watchedDirs lists the folders that watched loads, each once, but for a reference that is in memory already.
func (o *Online) watchedDirs(ref soup.Expr, mkl bool) []string {
	var dirs []string
	if o.WatchKL {
		dirs = append(dirs, o.Model)
	}
	if o.WatchKL && len(ref.Dirs) > 1 {
		dirs = append(dirs, ref.Dirs...)
	}
	var list []string
	for _, dir := range slices.Concat(dirs, o.WatchModels) {
		loaded := len(ref.Dirs) == 1 && dir == ref.Dirs[0] || mkl && slices.Contains(ref.Dirs, dir)
		if !loaded && !slices.Contains(list, dir) {
			list = append(list, dir)
		}
	}
	return list
}

// promptLength is the longest prompt: of --data, or what the options allow.
func (o *PPOOptions) promptLength(p *planner, cfg *models.Config) (int, error) {
	enc, err := o.encoder(o.Model, cfg)
	if err != nil {
		return 0, err
	}
	if err := leaveRoom(enc, cfg, o.MaxNewTokens); err != nil {
		return 0, err
	}
	p.Rows = assumed("prompts", enc.MaxLength)
	prompt, err := longest(p, &o.Data, enc.MaxLength, enc.Prompt, func(x data.Prompt) int { return len(x.IDs) })
	p.Rows += fmt.Sprintf(" and completions of %d", o.MaxNewTokens)
	return prompt, err
}

func assumed(what string, n int) string {
	return fmt.Sprintf("%s of %d tokens, the most that --max-length and the context allow", what, n)
}

// longest is the length of the longest row of --data, or limit if no data is named.
func longest[T data.Example | data.Pair | data.Prompt](p *planner, d *Data, limit int, f func(*data.Row) (T, error), length func(T) int) (int, error) {
	if len(d.Data) == 0 {
		return limit, nil
	}
	rows, _, err := encoded(d, "rows", false, f)
	if err != nil {
		return 0, err
	}
	most := 0
	for _, row := range rows {
		most = max(most, length(row))
	}
	if most == 0 {
		return 0, fault.Inputf("%s: no row is left after encoding; check --max-length and --overlong", strings.Join(d.Data, ", "))
	}
	what, _, _ := strings.Cut(p.Rows, " ")
	p.Rows = fmt.Sprintf("%s of up to %d tokens, the longest of --data", what, most)
	return most, nil
}

// microBatch returns how many sequences are computed at once and in how many parts a batch is.
func microBatch(c *trainers.Common) (size, parts int64) {
	size = int64(c.BatchSize)
	if c.MicroBatchSize > 0 {
		size = min(size, int64(c.MicroBatchSize))
	}
	return size, (int64(c.BatchSize) + size - 1) / size
}

// loadWork is what loading takes beside the weights: the file's pages where it is stored in another type, else the
// check of the largest weight. With a GPU both are the host's, of which a plan for a GPU says nothing.
func (p *planner) loadWork(configs ...*models.Config) []PlanItem {
	if !p.cpu {
		return nil
	}
	return []PlanItem{{"files", p.stored}, {"checks", 2 * p.largest(configs...)}}
}

// learn adds the phase of backward pass and optimizer step; the two do not overlap.
func (p *planner) learn(working ...PlanItem) {
	gradients := p.sum(func(r PlanRole) int64 { return r.Gradients })
	backward := int64(0)
	for _, item := range working {
		backward += item.Bytes
	}
	if step := p.optimizerWork(); step > backward {
		working, backward = []PlanItem{{"widened gradients", step}}, step
	}
	working = append(working, PlanItem{"allocator's holes", backward / holes})
	p.phase("learn", p.resident(), append([]PlanItem{{"gradients", gradients}}, working...)...)
}

// rewarders adds the reward model; every member of an ensemble is one.
func (p *planner) rewarders(e rewardExpr) error {
	dirs := e.models.Dirs
	if !e.ensemble && len(dirs) > 1 {
		dirs = dirs[:1] // a soup in memory is one model
	}
	for _, dir := range dirs {
		cfg, err := models.ReadConfig(dir)
		if err != nil {
			return err
		}
		p.network("reward model", dir, cfg.DeclaredScorer(), false)
	}
	return nil
}

package job_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/fault"
	"salsa/internal/job"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// onlinePlanJobs adds two steps of methods that draw completions in other ways than PPO.
func onlinePlanJobs(dir string, jobs map[string]planJob, base func(b *job.Training, name string)) {
	ctx := context.Background()
	at := func(name string) string { return filepath.Join(dir, name) }
	x := job.DefaultXPO()
	x.Model, x.Reference, x.RewardModel, x.Data.Data = at("lm"), at("lm"), at("rm"), []string{at("prompts.jsonl")}
	x.MaxSteps, x.BatchSize, x.MaxNewTokens = 2, 16, 16
	base(&x.Training, "xpo")
	jobs["xpo"] = planJob{func() (*job.Plan, error) { return job.PlanXPO(ctx, &x) }, func() (map[string]float64, error) { return job.XPO(ctx, &x) }}

	r := job.DefaultRSO()
	r.Model, r.RewardModel, r.Data = at("lm"), at("rm"), []string{at("prompts.jsonl")}
	r.MaxSteps, r.BatchSize, r.MaxNewTokens, r.Candidates, r.Accept = 2, 8, 16, 8, 4
	base(&r.Training, "rso")
	jobs["rso"] = planJob{func() (*job.Plan, error) { return job.PlanRSO(ctx, &r) }, func() (map[string]float64, error) { return job.RSO(ctx, &r) }}

	adapted := r
	adapted.LoRARank = 8
	base(&adapted.Training, "rso-lora")
	jobs["rso-lora"] = planJob{func() (*job.Plan, error) { return job.PlanRSO(ctx, &adapted) }, func() (map[string]float64, error) { return job.RSO(ctx, &adapted) }}

	a := job.DefaultAIHF()
	a.Model, a.Reference, a.RewardModel, a.Demos, a.Data.Data = at("lm"), at("lm"), at("rm"), []string{at("rows.jsonl")}, []string{at("pairs.jsonl")}
	a.Form, a.MaxSteps, a.BatchSize, a.MaxNewTokens, a.RewardUpdates, a.DemoBatchSize, a.PreferenceBatch = "alternate", 1, 8, 16, 1, 4, 4
	base(&a.Training, "aihf")
	jobs["aihf"] = planJob{func() (*job.Plan, error) { return job.PlanAIHF(ctx, &a) }, func() (map[string]float64, error) { return job.AIHF(ctx, &a) }}

	l := job.DefaultRLOO()
	l.Model, l.Reference, l.RewardModel, l.Data.Data = at("lm"), at("lm"), at("rm"), []string{at("prompts.jsonl")}
	l.MaxSteps, l.BatchSize, l.MaxNewTokens, l.PPOEpochs, l.NumGenerations, l.MicroBatchSize = 2, 32, 16, 1, 4, 16
	base(&l.Training, "rloo")
	jobs["rloo"] = planJob{func() (*job.Plan, error) { return job.PlanRLOO(ctx, &l) }, func() (map[string]float64, error) { return job.RLOO(ctx, &l) }}

	g := job.DefaultGRPO()
	g.Model, g.Reference, g.RewardModel, g.Data.Data = at("lm"), at("lm"), at("rm"), []string{at("prompts.jsonl")}
	g.MaxSteps, g.BatchSize, g.MaxNewTokens, g.PPOEpochs, g.NumGenerations = 2, 32, 16, 1, 8
	base(&g.Training, "grpo")
	jobs["grpo"] = planJob{func() (*job.Plan, error) { return job.PlanGRPO(ctx, &g) }, func() (map[string]float64, error) { return job.GRPO(ctx, &g) }}

	c := job.DefaultCAN()
	c.Model, c.RewardModel, c.SafetyModel, c.Data = at("lm"), at("rm"), at("rm"), []string{at("prompts.jsonl")}
	c.SafetyBound, c.Samples, c.PairsPerPrompt, c.MeasureSamples, c.MaxSteps, c.BatchSize, c.MaxNewTokens = []float64{0}, 4, 2, 1, 2, 8, 16
	base(&c.Training, "can")
	jobs["can"] = planJob{func() (*job.Plan, error) { return job.PlanCAN(ctx, &c) }, func() (map[string]float64, error) { return job.CAN(ctx, &c) }}
}

// pairPlanJobs adds runs that learn from pairs: given ones, ones beside demonstrations, and several of a prompt.
func pairPlanJobs(dir string, jobs map[string]planJob, base func(b *job.Training, name string)) {
	ctx := context.Background()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, rank := range map[string]int{"dpo": 0, "dpo-lora": 8} {
		d := job.DefaultDPO()
		d.Model, d.Reference, d.Data.Data = at("lm"), at("lm"), []string{at("pairs.jsonl")}
		d.MaxSteps, d.BatchSize, d.LoRARank = 2, 16, rank
		base(&d.Training, name)
		jobs[name] = planJob{func() (*job.Plan, error) { return job.PlanDPO(ctx, &d) }, func() (map[string]float64, error) { return job.DPO(ctx, &d) }}
	}
	a := job.DefaultAIHF()
	a.Model, a.Reference, a.Demos, a.Data.Data = at("lm"), at("lm"), []string{at("rows.jsonl")}, []string{at("pairs.jsonl")}
	a.Form, a.MaxSteps, a.BatchSize, a.DemoBatchSize = "direct", 2, 12, 12
	base(&a.Training, "aihf-direct")
	jobs["aihf-direct"] = planJob{func() (*job.Plan, error) { return job.PlanAIHF(ctx, &a) }, func() (map[string]float64, error) { return job.AIHF(ctx, &a) }}

	c := job.DefaultCAN()
	c.Model, c.RewardModel, c.SafetyModel, c.Data = at("lm"), at("rm"), at("rm"), []string{at("prompts.jsonl")}
	c.SafetyBound, c.Samples, c.PairsPerPrompt, c.MeasureSamples, c.MaxSteps, c.BatchSize, c.MaxNewTokens = []float64{0}, 8, 4, 0, 1, 64, 8
	base(&c.Training, "can-pairs")
	jobs["can-pairs"] = planJob{func() (*job.Plan, error) { return job.PlanCAN(ctx, &c) }, func() (map[string]float64, error) { return job.CAN(ctx, &c) }}

	p := job.DefaultAPA()
	p.Model, p.Reference, p.RewardModel, p.Data.Data = at("lm"), at("lm"), at("rm"), []string{at("prompts.jsonl")}
	p.MaxSteps, p.BatchSize, p.MaxNewTokens, p.PPOEpochs = 2, 16, 16, 1
	base(&p.Training, "apa")
	jobs["apa"] = planJob{func() (*job.Plan, error) { return job.PlanAPA(ctx, &p) }, func() (map[string]float64, error) { return job.APA(ctx, &p) }}

	q := job.DefaultInverseQ()
	q.Model, q.Reference, q.Guide, q.Data.Data = at("lm"), at("lm"), at("lm"), []string{at("prompts.jsonl")}
	q.MaxSteps, q.BatchSize, q.MaxNewTokens, q.PPOEpochs = 2, 16, 16, 1
	base(&q.Training, "inverse-q")
	jobs["inverse-q"] = planJob{func() (*job.Plan, error) { return job.PlanInverseQ(ctx, &q) }, func() (map[string]float64, error) { return job.InverseQ(ctx, &q) }}
}

func phaseNames(p *job.Plan) (names []string) {
	for _, ph := range p.Phases {
		names = append(names, ph.Phase)
	}
	return names
}

func phaseOf(t *testing.T, p *job.Plan, name string) job.PlanPhase {
	t.Helper()
	for _, ph := range p.Phases {
		if ph.Phase == name {
			return ph
		}
	}
	t.Fatalf("no phase %q in %v", name, phaseNames(p))
	return job.PlanPhase{}
}

func roleNames(p *job.Plan) string {
	var names []string
	for _, r := range p.Roles {
		names = append(names, r.Role)
	}
	return strings.Join(names, ", ")
}

// TestPlanOnlineRoles: each method's networks, those that learn among them, and what is in memory once for two roles.
func TestPlanOnlineRoles(t *testing.T) {
	ctx := context.Background()
	dir, other := configFolder(t), configFolder(t)
	online := func(o *job.Online) { o.Model, o.Reference, o.Device = dir, dir, "cpu" }
	plan := func(p *job.Plan, err error) *job.Plan {
		t.Helper()
		require.NoError(t, err)
		return p
	}
	a := job.DefaultAPA()
	online(&a.Online)
	a.RewardModel = dir + "," + other + "@mean"
	assert.Equal(t, "policy, reference, value network, reward model, reward model", roleNames(plan(job.PlanAPA(ctx, &a))), "an ensemble")
	a.RewardModel = "gold:salsa"
	_, err := job.PlanAPA(ctx, &a)
	assert.ErrorContains(t, err, "--value-model")
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))

	r := job.DefaultRLOO()
	online(&r.Online)
	r.RewardModel, r.Reference, r.MKL = "gold:salsa", dir+","+other, true
	rloo := plan(job.PlanRLOO(ctx, &r))
	assert.Equal(t, "policy, reference, reference", roleNames(rloo), "no critic, an exact score, and under MKL the members are watched as they are")
	assert.Equal(t, []string{"load", "rollout", "score", "learn", "save"}, phaseNames(rloo))
	for _, item := range phaseOf(t, rloo, "learn").Working {
		assert.NotContains(t, item.What, "value network")
	}

	g := job.DefaultGRPO()
	online(&g.Online)
	g.RewardModel, g.RefEvery, g.RefWeight = dir, 4, .5
	grpo := plan(job.PlanGRPO(ctx, &g))
	assert.True(t, strings.HasPrefix(roleNames(grpo), "policy, reference, reward model, watched start"), "a reference that moves is not the start policy")
	g.LoRARank = 4
	g.RefEvery, g.RefWeight = 0, 0
	assert.Equal(t, "policy, reference, the policy's weights, reward model", roleNames(plan(job.PlanGRPO(ctx, &g))))

	q := job.DefaultInverseQ()
	online(&q.Online)
	q.Guide = dir + "," + other
	inverse := plan(job.PlanInverseQ(ctx, &q))
	assert.Equal(t, "policy, reference, guide", roleNames(inverse))
	assert.Equal(t, dir+","+other+"@0.5,0.5", role(t, inverse, "guide").Folder)
}

// TestPlanXPO: where the reference answers too, each draws half a batch at a time.
func TestPlanXPO(t *testing.T) {
	dir := configFolder(t)
	o := job.DefaultXPO()
	o.Model, o.Reference, o.RewardModel, o.Device = dir, dir, dir, "cpu"
	half, err := job.PlanXPO(context.Background(), &o)
	require.NoError(t, err)
	o.PairWith, o.Alpha = "policy", 0
	whole, err := job.PlanXPO(context.Background(), &o)
	require.NoError(t, err)
	cache := func(p *job.Plan) int64 { return phaseOf(t, p, "rollout").Working[0].Bytes }
	assert.Equal(t, 2*cache(half), cache(whole))
	assert.Equal(t, phaseOf(t, half, "learn"), phaseOf(t, whole, "learn"))
}

// TestPlanAIHF: the forms have other phases, and what learns in one of them has gradients there alone.
func TestPlanAIHF(t *testing.T) {
	dir := configFolder(t)
	o := job.DefaultAIHF()
	o.Model, o.Reference, o.RewardModel, o.Device = dir, dir, dir, "cpu"
	plan := func(form string) *job.Plan {
		o.Form = form
		p, err := job.PlanAIHF(context.Background(), &o)
		require.NoError(t, err)
		return p
	}
	assert.Equal(t, []string{"load", "reference", "learn", "save"}, phaseNames(plan("direct")))
	self := plan("self-play")
	assert.Equal(t, []string{"load", "own answers", "reference", "learn", "save"}, phaseNames(self))
	cache := func(rows int64) int64 { return rows * 256 * 2 * 128 * 4 * (6 + 1) }
	assert.Equal(t, cache(16*16), phaseOf(t, self, "own answers").Working[0].Bytes, "all answers of a round at once")
	o.RolloutBatch = 8
	assert.Equal(t, cache(8), phaseOf(t, plan("self-play"), "own answers").Working[0].Bytes)

	alt := plan("alternate")
	assert.Equal(t, []string{"load", "rollout", "score", "reward model's updates", "learn", "save"}, phaseNames(alt))
	whats := func(phase string) (names []string) {
		for _, item := range phaseOf(t, alt, phase).Working {
			names = append(names, item.What)
		}
		return names
	}
	assert.Positive(t, role(t, alt, "reward model").Moments)
	assert.Equal(t, []string{"activations", "gradients", "allocator's holes"}, whats("reward model's updates"))
	assert.Equal(t, []string{"policy's activations", "gradients", "value network's gradients", "allocator's holes"}, whats("learn"), "one network after the other")
	assert.Equal(t, role(t, alt, "value network").Gradients, phaseOf(t, alt, "learn").Working[2].Bytes)
	assert.Less(t, phaseOf(t, alt, "learn").Working[1].Bytes, role(t, alt, "policy").Gradients/3, "its own come as activations go")
}

// TestPlanDrawn: rso and can draw before they train, by models that are gone then.
func TestPlanDrawn(t *testing.T) {
	ctx := context.Background()
	dir := configFolder(t)
	r := job.DefaultRSO()
	r.Model, r.RewardModel, r.Device = dir, dir, "cpu"
	rso, err := job.PlanRSO(ctx, &r)
	require.NoError(t, err)
	assert.Equal(t, []string{"candidates", "load", "reference", "learn", "save"}, phaseNames(rso))
	assert.Equal(t, "policy, sampled model, reward model", roleNames(rso))
	weights := role(t, rso, "policy").Weights
	assert.Equal(t, weights+role(t, rso, "reward model").Weights, phaseOf(t, rso, "candidates").Resident)
	assert.Equal(t, 3*weights, phaseOf(t, rso, "learn").Resident)
	r.Select = "best"
	best, err := job.PlanRSO(ctx, &r)
	require.NoError(t, err)
	assert.Equal(t, []string{"candidates"}, phaseNames(best))

	c := job.DefaultCAN()
	c.Model, c.Mode, c.RewardPolicy, c.SafetyPolicy, c.SafetyBound, c.Device = dir, "pecan", dir, dir, []float64{0}, "cpu"
	can, err := job.PlanCAN(ctx, &c)
	require.NoError(t, err)
	assert.Equal(t, []string{"samples", "load", "reference", "learn", "save", "measure"}, phaseNames(can))
	assert.Equal(t, "policy, reference, reward policy, safety policy, aligned model", roleNames(can))
	assert.Equal(t, (3+4)*weights, phaseOf(t, can, "measure").Resident, "weights and moments, the aligned model and its judges")
	c.DualOnly = true
	dual, err := job.PlanCAN(ctx, &c)
	require.NoError(t, err)
	assert.Equal(t, []string{"samples"}, phaseNames(dual))
}

// TestPlanMeasuredOnline holds other methods to measurements as TestPlanAgainstMeasurement does: those whose rows share
// prompts, in pairs and groups, those that draw before they train, and what changes the memory of all. Most of them repeat
// one another, so they run on request.
func TestPlanMeasuredOnline(t *testing.T) {
	names := []string{"rso", "aihf", "ppo-lora"}
	if os.Getenv("SALSA_PLAN_ALL") != "" {
		names = append(names, "xpo", "can", "rloo", "grpo", "apa", "inverse-q", "dpo", "dpo-lora", "aihf-direct", "can-pairs",
			"sft-micro", "sft-checkpointed", "sft-bfloat16", "rso-lora")
	}
	measurePlans(t, planWorld(t, 2), names...)
}

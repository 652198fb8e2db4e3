package job_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/fault"
	"salsa/internal/job"
	"salsa/models"
	"salsa/tensor"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// planModel is large enough for its tensors to outweigh the program's own memory, and small enough to train in
// seconds: 8 million weights.
const planModel = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":4096,"hidden_size":256,"intermediate_size":1024,
"num_hidden_layers":6,"num_attention_heads":4,"num_key_value_heads":%d,"max_position_embeddings":256,"rms_norm_eps":1e-5,
"rope_theta":10000.0,"tie_word_embeddings":true,"eos_token_id":2,"torch_dtype":"float32"}`

// planWorld is a language model and a reward model with kv key-value heads, and rows of ids, in one folder.
func planWorld(t *testing.T, kv int) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, planModel, kv), 0o644))
	require.NoError(t, tensor.Run(func() error {
		cfg, err := models.ReadConfig(dir)
		if err != nil {
			return err
		}
		m, err := models.New(cfg, 1, models.Options{Device: tensor.CPU})
		if err != nil {
			return err
		}
		if err := models.Save(filepath.Join(dir, "lm"), m, models.SaveOptions{}); err != nil {
			return err
		}
		s, err := models.ScorerOf(m, 2, models.Options{Device: tensor.CPU})
		if err != nil {
			return err
		}
		return models.Save(filepath.Join(dir, "rm"), s, models.SaveOptions{})
	}))
	ids := func(n, from int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprint(3 + (from+i*7)%4000)
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	var rows, pairs, prompts strings.Builder
	for i := range 32 {
		fmt.Fprintf(&rows, `{"prompt_ids":%s,"completion_ids":%s}`+"\n", ids(28, i), ids(100, i+1))
		fmt.Fprintf(&pairs, `{"prompt_ids":%s,"chosen_ids":%s,"rejected_ids":%s}`+"\n", ids(28, i), ids(36, i+1), ids(36, i+2))
		fmt.Fprintf(&prompts, `{"prompt_ids":%s}`+"\n", ids(48, i))
	}
	for name, text := range map[string]string{"rows": rows.String(), "pairs": pairs.String(), "prompts": prompts.String()} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".jsonl"), []byte(text), 0o644))
	}
	return dir
}

// planJob is a run that can be planned and made.
type planJob struct {
	plan func() (*job.Plan, error)
	run  func() (map[string]float64, error)
}

// planJobs are two steps of each command in the world dir.
func planJobs(dir string) map[string]planJob {
	ctx := context.Background()
	at := func(name string) string { return filepath.Join(dir, name) }
	base := func(b *job.Training, name string) {
		b.Device, b.Threads, b.Quiet, b.Out = "cpu", 1, true, at("out-"+name)
	}
	jobs := map[string]planJob{}
	sft := func(name string, change func(o *job.SFTOptions)) {
		o := job.DefaultSFT()
		o.Model, o.Data.Data, o.MaxSteps, o.BatchSize = at("lm"), []string{at("rows.jsonl")}, 2, 16
		base(&o.Training, name)
		change(&o)
		jobs[name] = planJob{func() (*job.Plan, error) { return job.PlanSFT(ctx, &o) }, func() (scalars map[string]float64, err error) {
			err = job.Perform(ctx, &o, nil, func() (err error) {
				scalars, err = job.SFT(ctx, &o)
				return err
			})
			return scalars, err
		}}
	}
	sft("sft", func(*job.SFTOptions) {})
	sft("sft-micro", func(o *job.SFTOptions) { o.MicroBatchSize = 4 })
	sft("sft-checkpointed", func(o *job.SFTOptions) { o.GradientCheckpointing = true })
	sft("sft-bfloat16", func(o *job.SFTOptions) { o.DType = "bfloat16" })
	sft("sft-once", func(o *job.SFTOptions) { o.MaxSteps = 1 })
	sft("sft-budget", func(o *job.SFTOptions) { o.MaxSteps, o.MemoryBudget = 1, "320MiB" })

	r := job.DefaultReward()
	r.Model, r.Data.Data, r.MaxSteps, r.BatchSize = at("lm"), []string{at("pairs.jsonl")}, 2, 12
	base(&r.Training, "reward")
	jobs["reward"] = planJob{func() (*job.Plan, error) { return job.PlanReward(ctx, &r) }, func() (map[string]float64, error) { return job.Reward(ctx, &r) }}

	p := job.DefaultPPO()
	p.Model, p.Reference, p.RewardModel, p.Data.Data = at("lm"), at("lm"), at("rm"), []string{at("prompts.jsonl")}
	p.MaxSteps, p.BatchSize, p.MaxNewTokens, p.PPOEpochs = 2, 16, 16, 1
	base(&p.Training, "ppo")
	jobs["ppo"] = planJob{func() (*job.Plan, error) { return job.PlanPPO(ctx, &p) }, func() (map[string]float64, error) { return job.PPO(ctx, &p) }}
	adapted := p // draws from copies of the weights with the adapters in them, most of its memory at this batch size
	adapted.BatchSize, adapted.MaxNewTokens, adapted.LoRARank = 4, 40, 8
	base(&adapted.Training, "ppo-lora")
	jobs["ppo-lora"] = planJob{func() (*job.Plan, error) { return job.PlanPPO(ctx, &adapted) }, func() (map[string]float64, error) { return job.PPO(ctx, &adapted) }}
	onlinePlanJobs(dir, jobs, base)
	pairPlanJobs(dir, jobs, base)
	return jobs
}

// TestPlanChild is no test: it is the process that TestPlanAgainstMeasurement measures.
func TestPlanChild(t *testing.T) {
	name, dir := os.Getenv("SALSA_PLAN_JOB"), os.Getenv("SALSA_PLAN_DIR")
	if name == "" {
		t.Skip("runs as a child of TestPlanAgainstMeasurement")
	}
	scalars, err := planJobs(dir)[name].run()
	require.NoError(t, err)
	raw, err := json.Marshal(measurement{scalars["peak_rss_mb"], scalars["loss"]})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "measured"), raw, 0o644))
}

// measurement is what a run in a process of its own took, in MB, and its last loss.
type measurement struct{ Peak, Loss float64 }

// measure makes the named run of the world dir.
func measure(t *testing.T, dir, name string) (m measurement) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestPlanChild$")
	child.Env = append(os.Environ(), "SALSA_PLAN_JOB="+name, "SALSA_PLAN_DIR="+dir, "OMP_NUM_THREADS=1")
	out, err := child.CombinedOutput()
	require.NoError(t, err, string(out))
	raw, err := os.ReadFile(filepath.Join(dir, "measured"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &m))
	return m
}

// planFactor is by how much prediction and measurement may differ, either way.
const planFactor = 1.1

// TestPlanAgainstMeasurement runs each command in a process of its own and holds its peak resident size to the plan.
func TestPlanAgainstMeasurement(t *testing.T) {
	for _, c := range []struct {
		kv   int
		jobs []string
	}{{4, []string{"sft"}}, {2, []string{"reward", "ppo"}}} {
		measurePlans(t, planWorld(t, c.kv), c.jobs...)
	}
}

// measurePlans measures the named jobs in the world dir.
func measurePlans(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		plan, err := planJobs(dir)[name].plan()
		require.NoError(t, err)
		measured := measure(t, dir, name).Peak
		predicted := float64(plan.Peak) / (1 << 20)
		t.Logf("%-6s predicted %4.0f MiB (%s), measured %4.0f MiB", name, predicted, plan.PeakPhase, measured)
		assert.Less(t, predicted, measured*planFactor, name)
		assert.Greater(t, predicted, measured/planFactor, name)
	}
}

func configFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, planModel, 2), 0o644))
	return dir
}

func role(t *testing.T, p *job.Plan, name string) job.PlanRole {
	t.Helper()
	for _, r := range p.Roles {
		if r.Role == name {
			return r
		}
	}
	t.Fatalf("no role %q in %v", name, p.Roles)
	return job.PlanRole{}
}

// TestPlanSums holds the table to arithmetic by hand, from config.json alone: 4096·256 embeddings; per layer
// 2·256 norms, 256·(256+128+128+256) attention and 3·256·1024 MLP; 256 for the last norm.
func TestPlanSums(t *testing.T) {
	const weights = 4096*256 + 6*(2*256+256*768+3*256*1024) + 256
	dir := configFolder(t)
	o := job.DefaultSFT()
	o.FromConfig, o.Device, o.DType = dir, "cpu", "bfloat16"
	p, err := job.PlanSFT(context.Background(), &o)
	require.NoError(t, err)
	assert.Equal(t, job.PlanRole{Role: "model", Folder: dir, Parameters: weights, Weights: 2 * weights, Gradients: 2 * weights,
		Moments: 8 * weights, Masters: 2 * weights}, role(t, p, "model"))
	assert.Contains(t, p.Rows, "rows of 256 tokens, the most")
	most := int64(0)
	for _, ph := range p.Phases {
		sum := p.Process + ph.Resident
		for _, item := range ph.Working {
			sum += item.Bytes
		}
		assert.Equal(t, sum, ph.Total, ph.Phase)
		most = max(most, sum)
	}
	assert.Equal(t, most, p.Peak)
	assert.Equal(t, "learn", p.PeakPhase)
	assert.Equal(t, int64(12*weights), p.Phases[1].Resident, "weights, moments, masters")

	o.DType = "float32"
	full, err := job.PlanSFT(context.Background(), &o)
	require.NoError(t, err)
	assert.Zero(t, role(t, full, "model").Masters)
	o.MicroBatchSize = 1
	small, err := job.PlanSFT(context.Background(), &o)
	require.NoError(t, err)
	assert.Less(t, small.Peak, full.Peak)
	o.MicroBatchSize, o.GradientCheckpointing = 0, true
	lean, err := job.PlanSFT(context.Background(), &o)
	require.NoError(t, err)
	assert.Less(t, lean.Peak, full.Peak*4/5)
}

// TestPlanRoles: what PPO loads, and what it loads once for two roles.
func TestPlanRoles(t *testing.T) {
	dir, other := configFolder(t), configFolder(t)
	o := job.DefaultPPO()
	o.Model, o.Reference, o.RewardModel, o.Device, o.DType = dir, dir, dir, "cpu", "float32"
	p, err := job.PlanPPO(context.Background(), &o)
	require.NoError(t, err)
	require.Len(t, p.Roles, 4, "the watched start policy is the reference")
	assert.Zero(t, role(t, p, "reference").Moments)
	assert.Zero(t, role(t, p, "reward model").Gradients)
	assert.Equal(t, role(t, p, "policy").Parameters+256, role(t, p, "value network").Parameters, "a score head")
	assert.Positive(t, role(t, p, "value network").Moments)
	var names []string
	for _, ph := range p.Phases {
		names = append(names, ph.Phase)
	}
	assert.Equal(t, []string{"load", "rollout", "score", "learn", "save"}, names)
	cache := p.Phases[1].Working[0]
	assert.Equal(t, "key-value cache", cache.What)
	assert.Equal(t, int64(64*256*2*128*4*(6+1)), cache.Bytes, "rows, tokens, keys and values, bytes, layers and one more")

	o.Reference = dir + "," + other
	soup, err := job.PlanPPO(context.Background(), &o)
	require.NoError(t, err)
	assert.Len(t, soup.Roles, 6, "start policy and first member are one folder; the other member is watched too")
	o.WatchKL = false
	bare, err := job.PlanPPO(context.Background(), &o)
	require.NoError(t, err)
	assert.Len(t, bare.Roles, 4)
	var b strings.Builder
	require.NoError(t, soup.WriteText(&b))
	for _, want := range []string{"salsa ppo in float32, prompts of 203 tokens", "and completions of 53", "network ", "value network ", "watched ",
		"key-value cache ", "peak ", "in phase learn", "free"} {
		assert.Contains(t, b.String(), want)
	}
}

// TestPlanReadsData: the longest row counts, and data that the command would refuse is refused.
func TestPlanReadsData(t *testing.T) {
	dir := configFolder(t)
	o := job.DefaultReward()
	o.Model, o.Device = dir, "cpu"
	o.Data.Data = []string{writeLines(t, `{"prompt_ids":[3,4],"chosen_ids":[5],"rejected_ids":[6,7,8]}`)}
	p, err := job.PlanReward(context.Background(), &o)
	require.NoError(t, err)
	assert.Equal(t, "rows of up to 5 tokens, the longest of --data", p.Rows)
	o.Data.Data = []string{writeLines(t, `{"prompt_ids":[3,4],"chosen_ids":[5],"rejected_ids":[9999]}`)}
	_, err = job.PlanReward(context.Background(), &o)
	assert.ErrorContains(t, err, "9999")
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
}

package job_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"salsa/internal/fault"
	"salsa/internal/job"
	"salsa/internal/options"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMemoryBudget: a run that would not fit is made to, says so in run.yaml, stays within its budget and computes what it
// would have computed.
func TestMemoryBudget(t *testing.T) {
	dir := planWorld(t, 4)
	jobs := planJobs(dir)
	whole, err := jobs["sft-once"].plan()
	require.NoError(t, err)
	require.Greater(t, whole.Peak, int64(320<<20), "the budget asks for a change")
	straight, fitted := measure(t, dir, "sft-once"), measure(t, dir, "sft-budget")
	t.Logf("peak %4.0f MiB, %4.0f MiB within 320 MiB", straight.Peak, fitted.Peak)
	assert.Greater(t, straight.Peak, 320.0)
	assert.Less(t, fitted.Peak, 320*1.1)
	assert.InDelta(t, straight.Loss, fitted.Loss, 1e-5)
	node, err := options.ReadYAML(filepath.Join(dir, "out-sft-budget", "run.yaml"))
	require.NoError(t, err)
	assert.Equal(t, "true", node.Get("gradient_checkpointing").Text)
	assert.Equal(t, "320MiB", node.Get("memory_budget").Text)
}

// fitted fits reward-model training of the model in dir.
func fitted(dir, budget string, change func(o *job.RewardOptions), held ...string) (job.RewardOptions, error) {
	o := job.DefaultReward()
	o.Model, o.Device, o.BatchSize, o.MemoryBudget, o.Quiet = dir, "cpu", 24, budget, true
	change(&o)
	err := job.FitMemory(context.Background(), &o, func(key string) bool {
		for _, h := range held {
			if h == key {
				return true
			}
		}
		return false
	})
	return o, err
}

// TestFitMemory: checkpointing first, then halves of the batch; what was given stays.
func TestFitMemory(t *testing.T) {
	dir := configFolder(t)
	keep := func(*job.RewardOptions) {}
	for _, c := range []struct {
		budget     string
		checkpoint bool
		micro      int
		held       string
	}{
		{"", false, 0, ""}, {"100GB", false, 0, ""}, {"1G", true, 0, ""}, {"480MiB", true, 12, ""}, {"400 mib", true, 6, ""},
		{"1GB", false, 12, "gradient_checkpointing"},
	} {
		o, err := fitted(dir, c.budget, keep, c.held)
		require.NoError(t, err, c.budget)
		assert.Equal(t, c.checkpoint, o.GradientCheckpointing, c.budget)
		assert.Equal(t, c.micro, o.MicroBatchSize, c.budget)
		p, err := job.PlanReward(context.Background(), &o)
		require.NoError(t, err)
		if c.budget != "" {
			size, err := job.ParseSize(c.budget)
			require.NoError(t, err)
			assert.LessOrEqual(t, p.Peak, size)
		}
	}
	_, err := fitted(dir, "480MiB", func(o *job.RewardOptions) { o.MicroBatchSize = 24 })
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	assert.ErrorContains(t, err, "; --micro-batch-size 24 was given and is left as it is")
	_, err = fitted(dir, "100MB", keep)
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	assert.ErrorContains(t, err, "--memory-budget 100MB: the least that this run is predicted to take is ")
	assert.ErrorContains(t, err, "in phase learn, most of it the program itself, 150 MiB; give that much, or lower ")
	for _, bad := range []string{"2", "-1GB", "GB", "1PB", "0MB", "999999999TB"} {
		_, err = fitted(dir, bad, keep)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err), bad)
	}
}

// TestFitResumed: a run goes on as it began, whatever the plan says now.
func TestFitResumed(t *testing.T) {
	dir, out := configFolder(t), t.TempDir()
	began, err := fitted(dir, "480MiB", func(o *job.RewardOptions) { o.Out = out })
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(out, "run.yaml"), options.Dump(&began), 0o644))
	again := func(o *job.RewardOptions) { o.Out, o.Resume = out, true }
	o, err := fitted(dir, "100GB", again)
	require.NoError(t, err)
	assert.True(t, o.GradientCheckpointing)
	assert.Equal(t, 12, o.MicroBatchSize)
	assert.Equal(t, options.Hash(&began), options.Hash(&o))

	began.MemoryBudget, began.GradientCheckpointing, began.MicroBatchSize = "", false, 12 // one of a run without a budget
	require.NoError(t, os.WriteFile(filepath.Join(out, "run.yaml"), options.Dump(&began), 0o644))
	o, err = fitted(dir, "100GB", again)
	require.NoError(t, err)
	assert.Equal(t, options.Hash(&began), options.Hash(&o))
	_, err = fitted(dir, "480MiB", again)
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	assert.ErrorContains(t, err, "began without one and is predicted to take ")
}

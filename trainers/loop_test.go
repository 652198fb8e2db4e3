package trainers

// The run around a method: whatever interrupts it, the resumed run leaves the files of one that ran straight on.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/metrics"
)

// job makes a fresh trainer that logs into dir, with its options.
type job func(t *testing.T, dir string) (Trainer, *Common)

func sftJob(t *testing.T, _ string) (Trainer, *Common) {
	_, examples := readSFT(t)
	opts := DefaultSFT()
	opts.BatchSize, opts.MicroBatchSize, opts.Epochs, opts.LearningRate = 4, 3, 3, 1e-3 // 6 rows: 9 / 2 = 4.5, 5 steps
	opts.SaveEvery, opts.EvalEvery = 2, 2
	m := loadModel(t, llamaDir, trained)
	s, err := NewSFT(m, examples[:6], examples[6:], opts, 0, saveModel)
	require.NoError(t, err)
	return s, &s.opts.Common
}

func rewardJob(t *testing.T, _ string) (Trainer, *Common) {
	_, pairs := readReward(t, "reward")
	opts := DefaultReward()
	opts.BatchSize, opts.Epochs, opts.LearningRate, opts.SaveEvery = 2, 2, 1e-3, 2
	r, err := NewReward(loadScorer(t, scoreDir, trained), pairs[:4], pairs[4:], opts,
		saveScorer)
	require.NoError(t, err)
	return r, &r.opts.Common
}

// onlineJob is the job of an online method.
func onlineJob(name string) job {
	return func(t *testing.T, dir string) (Trainer, *Common) {
		r := onlineMethods[name](t, dir, unchanged)
		return r, &r.base().set.Common
	}
}

var ppoJob = onlineJob("ppo")

var jobs = func() map[string]job {
	all := map[string]job{"sft": sftJob, "reward": rewardJob, "aihf-direct": aihfPairsJob("direct"), "aihf-self-play": aihfPairsJob("self-play")}
	for name := range onlineMethods {
		all[name] = onlineJob(name)
	}
	return all
}()

// runLoop runs a job's loop in dir; wrap may change the trainer.
func runLoop(ctx context.Context, t *testing.T, make job, dir string, wrap func(Trainer) Trainer) (map[string]float64, error) {
	t.Helper()
	tr, opts := make(t, dir)
	if wrap != nil {
		tr = wrap(tr)
	}
	l := &Loop{Options: opts, Out: dir, Name: "test", Resume: true, Quiet: true}
	return l.Run(ctx, tr)
}

// results are the files of a run that must not depend on how often it was interrupted.
func results(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, content := range filesOf(t, dir) {
		if name == "done.json" || name == "samples.jsonl" || strings.HasSuffix(name, ".safetensors") && !strings.HasPrefix(name, "checkpoints") {
			out[name] = content
		}
	}
	require.Contains(t, out, "model.safetensors")
	rows, err := metrics.Read(filepath.Join(dir, "metrics.jsonl"))
	require.NoError(t, err)
	var kept strings.Builder
	for _, row := range rows {
		line, err := metrics.Row{Step: row.Step, Values: metrics.Reproducible(row.Values)}.MarshalJSON()
		require.NoError(t, err)
		fmt.Fprintln(&kept, string(line))
	}
	out["metrics"] = kept.String()
	return out
}

// requireSame compares results file by file; text is shown where it begins to differ.
func requireSame(t *testing.T, want, got map[string]string) {
	t.Helper()
	for name, w := range want {
		g, ok := got[name]
		require.True(t, ok, "%s is missing", name)
		if strings.HasSuffix(name, ".safetensors") {
			require.True(t, w == g, "%s differs", name)
			continue
		}
		wantLines, gotLines := strings.Split(w, "\n"), strings.Split(g, "\n")
		for i := range min(len(wantLines), len(gotLines)) {
			require.Equal(t, wantLines[i], gotLines[i], "%s:%d", name, i+1)
		}
		require.Equal(t, len(wantLines), len(gotLines), "lines of %s", name)
	}
	require.Len(t, got, len(want))
}

// straight runs a job without interruption.
func straight(t *testing.T, make job) (map[string]string, map[string]float64) {
	t.Helper()
	dir := t.TempDir()
	scalars, err := runLoop(context.Background(), t, make, dir, nil)
	require.NoError(t, err)
	return results(t, dir), metrics.Reproducible(scalars)
}

// watched calls before each step of a Trainer with how many it took, and after it.
type watched struct {
	Trainer
	taken         int
	before, after func(taken int)
}

func (w *watched) Step(ctx context.Context, u *Update) (Result, error) {
	if w.before != nil {
		w.before(w.taken)
	}
	res, err := w.Trainer.Step(ctx, u)
	w.taken++
	if w.after != nil {
		w.after(w.taken)
	}
	return res, err
}

func (w *watched) Finish(ctx context.Context) (map[string]float64, error) {
	if f, ok := w.Trainer.(Finisher); ok {
		return f.Finish(ctx)
	}
	return map[string]float64{}, nil
}

// interruptAt makes a wrapper that cancels before (during) or after the given step of a run.
func interruptAt(step int, during bool, cancel func()) func(Trainer) Trainer {
	return func(tr Trainer) Trainer {
		hook := func(taken int) {
			if taken == step {
				cancel()
			}
		}
		w := &watched{Trainer: tr}
		if during {
			w.before = hook
		} else {
			w.after = hook
		}
		return w
	}
}

func TestLoopResumedRunEqualsStraightRun(t *testing.T) {
	for name, make := range jobs {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				want, scalars := straight(t, make)
				for _, during := range []bool{true, false} {
					dir := t.TempDir()
					for _, step := range []int{3, 1} { // of what each run takes: steps 4 and, resumed, 5
						ctx, cancel := context.WithCancel(context.Background())
						if during {
							step--
						}
						_, err := runLoop(ctx, t, make, dir, interruptAt(step, during, cancel))
						cancel()
						if during && step == 0 { // the step before it has just been saved
							require.ErrorContains(t, err, "interrupted at step 2")
						}
						require.ErrorIs(t, err, fault.ErrInterrupted)
						require.Equal(t, fault.ExitInterrupted, fault.ExitCode(err))
					}
					got, err := runLoop(context.Background(), t, make, dir, nil)
					require.NoError(t, err)
					requireSame(t, want, results(t, dir))
					assert.Equal(t, scalars, metrics.Reproducible(got))
				}
			})
		})
	}
}

func TestLoopInterruptBeforeTheFirstStep(t *testing.T) {
	run(t, func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		dir := t.TempDir()
		_, err := runLoop(ctx, t, sftJob, dir, nil)
		require.ErrorIs(t, err, fault.ErrInterrupted)
		require.NoDirExists(t, filepath.Join(dir, "checkpoints"))
		want, _ := straight(t, sftJob)
		_, err = runLoop(context.Background(), t, sftJob, dir, nil)
		require.NoError(t, err)
		requireSame(t, want, results(t, dir))
	})
}

// An interrupt in the last measurements saves a checkpoint after the last step; the resumed run only measures.
func TestLoopInterruptWhileFinishing(t *testing.T) {
	run(t, func() {
		want, scalars := straight(t, sftJob)
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		_, err := runLoop(ctx, t, sftJob, dir, interruptAt(5, false, cancel))
		require.ErrorContains(t, err, "interrupted at step 5")
		none := func(tr Trainer) Trainer {
			return &watched{Trainer: tr, before: func(int) { t.Error("a step was taken again") }}
		}
		got, err := runLoop(context.Background(), t, sftJob, dir, none)
		require.NoError(t, err)
		requireSame(t, want, results(t, dir))
		assert.Equal(t, scalars, metrics.Reproducible(got))
	})
}

// An error in a step is reported with its number, and the run goes on from its last checkpoint.
func TestLoopErrorInAStep(t *testing.T) {
	run(t, func() {
		want, _ := straight(t, ppoJob)
		dir := t.TempDir()
		boom := errors.New("boom")
		_, err := runLoop(context.Background(), t, ppoJob, dir, func(tr Trainer) Trainer { return &failing{Trainer: tr, at: 4, err: boom} })
		require.ErrorIs(t, err, boom)
		require.ErrorContains(t, err, "step 4: boom")
		_, err = runLoop(context.Background(), t, ppoJob, dir, nil)
		require.NoError(t, err)
		requireSame(t, want, results(t, dir))
	})
}

// failing takes its step and then reports an error instead.
type failing struct {
	Trainer
	at  int
	err error
}

func (f *failing) Step(ctx context.Context, u *Update) (Result, error) {
	res, err := f.Trainer.Step(ctx, u)
	if f.at--; f.at == 0 {
		return Result{}, f.err
	}
	return res, err
}

func TestLoopFallsBackFromADamagedCheckpoint(t *testing.T) {
	run(t, func() {
		want, _ := straight(t, ppoJob)
		for _, file := range []string{"model.safetensors", "value/model.safetensors", "trainer/optimizer.safetensors", "trainer/state.json", "manifest.json"} {
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(context.Background())
			_, err := runLoop(ctx, t, ppoJob, dir, interruptAt(5, false, cancel))
			cancel()
			require.ErrorIs(t, err, fault.ErrInterrupted)
			bad := filepath.Join(checkpoint.StepDir(filepath.Join(dir, "checkpoints"), 5), file)
			raw, err := os.ReadFile(bad)
			require.NoError(t, err)
			raw[len(raw)/2] ^= 1
			require.NoError(t, os.WriteFile(bad, raw, 0o644))
			first := -1
			_, err = runLoop(context.Background(), t, ppoJob, dir, func(tr Trainer) Trainer {
				return &watched{Trainer: tr, before: func(taken int) {
					if taken == 0 {
						first = tr.(*PPO).step
					}
				}}
			})
			require.NoError(t, err)
			assert.Equal(t, 4, first, "goes on from step 4")
			requireSame(t, want, results(t, dir))
		}
	})
}

func TestLoopDoneRunIsNotRunAgain(t *testing.T) {
	run(t, func() {
		dir := t.TempDir()
		first, err := runLoop(context.Background(), t, sftJob, dir, nil)
		require.NoError(t, err)
		for _, key := range []string{"loss", "grad_norm", "learning_rate", "skipped_steps", "eval_loss", "eval_perplexity", "epoch", "num_tokens"} {
			assert.Contains(t, first, key)
		}
		for _, key := range []string{"s_per_step", "tokens_per_s", "peak_rss_mb"} {
			assert.Positive(t, first[key], key)
		}
		before := filesOf(t, dir)
		again, err := runLoop(context.Background(), t, sftJob, dir, func(tr Trainer) Trainer {
			return &watched{Trainer: tr, before: func(int) { t.Error("a step was taken again") }}
		})
		require.NoError(t, err)
		assert.Equal(t, metrics.Reproducible(first), again)
		assert.Equal(t, before, filesOf(t, dir))
	})
}

// A longer run of the same options goes on where the finished one has its last checkpoint.
func TestLoopFinishedRunCanBeMadeLonger(t *testing.T) {
	longer := func(t *testing.T, dir string) (Trainer, *Common) {
		tr, c := sftJob(t, dir)
		c.MaxSteps, c.LRSchedule = 8, "constant"
		return tr, c
	}
	shorter := func(t *testing.T, dir string) (Trainer, *Common) {
		tr, c := longer(t, dir)
		c.MaxSteps = 5
		return tr, c
	}
	run(t, func() {
		opts := func(make job) job {
			return func(t *testing.T, dir string) (Trainer, *Common) {
				tr, c := make(t, dir)
				c.WarmupRatio = 0
				return tr, c
			}
		}
		want, _ := straight(t, opts(longer))
		dir := t.TempDir()
		_, err := runLoop(context.Background(), t, opts(shorter), dir, nil)
		require.NoError(t, err)
		_, err = runLoop(context.Background(), t, opts(longer), dir, nil)
		require.NoError(t, err)
		requireSame(t, want, results(t, dir))
	})
}

package trainers

// The run around a method: whatever interrupts it, the resumed run leaves the files of one that ran straight on.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/tensor"
)

// job makes a fresh trainer that logs into dir, with its options.
type job func(t *testing.T, dir string) (Trainer, *Common)

func sftJob(t *testing.T, _ string) (Trainer, *Common) {
	_, examples := readSFT(t)
	opts := DefaultSFT()
	opts.BatchSize, opts.MicroBatchSize, opts.Epochs, opts.LearningRate = 4, 3, 3, 1e-3 // 6 rows: 9 / 2 = 4.5, 5 steps
	opts.SaveEvery, opts.EvalEvery = 2, 2
	m := loadModel(t, llamaDir, trained)
	s, err := NewSFT(m, examples[:6], examples[6:], opts, func(dir string, m models.Model) error { return models.Save(dir, m, models.SaveOptions{}) })
	require.NoError(t, err)
	return s, &s.opts.Common
}

func rewardJob(t *testing.T, _ string) (Trainer, *Common) {
	_, pairs := readReward(t, "reward")
	opts := DefaultReward()
	opts.BatchSize, opts.Epochs, opts.LearningRate, opts.SaveEvery = 2, 2, 1e-3, 2
	r, err := NewReward(loadScorer(t, scoreDir, trained), pairs[:4], pairs[4:], opts,
		func(dir string, s *models.Scorer) error { return models.Save(dir, s, models.SaveOptions{}) })
	require.NoError(t, err)
	return r, &r.opts.Common
}

func ppoJob(t *testing.T, dir string) (Trainer, *Common) {
	o := tinyPPO()
	o.MaxSteps, o.SaveEvery, o.KLTarget, o.KLHorizon, o.NormalizeScore, o.ScoreAt = 6, 2, 1, 50, true, "after_eos"
	cast := tinyCast(t)
	cast.Reference = other(t, .02)
	p := newPPO(t, cast, o, sampleLog(dir))
	return p, &p.opts.Common
}

var jobs = map[string]job{"sft": sftJob, "reward": rewardJob, "ppo": ppoJob}

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

func TestLoopRestoresSkippedCounters(t *testing.T) {
	run(t, func() {
		dir := t.TempDir()
		_, err := runLoop(context.Background(), t, rewardJob, dir, func(tr Trainer) Trainer {
			return &counting{Trainer: tr, set: func(u *Update) { u.skipped, u.inRow = 5, 2 }, stop: 3}
		})
		require.Error(t, err)
		var skipped, inRow int
		_, err = runLoop(context.Background(), t, rewardJob, dir, func(tr Trainer) Trainer {
			return &counting{Trainer: tr, set: func(u *Update) { skipped, inRow = u.skipped, u.inRow }, stop: 1}
		})
		require.Error(t, err)
		assert.Equal(t, 5, skipped)
		assert.Equal(t, 2, inRow)
	})
}

// counting looks into the Update after each step and gives up at a step.
type counting struct {
	Trainer
	set  func(u *Update)
	stop int
}

func (c *counting) Step(ctx context.Context, u *Update) (Result, error) {
	if c.stop--; c.stop == 0 {
		c.set(u)
		return Result{}, errors.New("stop")
	}
	res, err := c.Trainer.Step(ctx, u)
	c.set(u)
	return res, err
}

// A loss that is not finite in the last step reaches metrics.jsonl and done.json as what it is.
func TestLoopLastLossIsNotFinite(t *testing.T) {
	run(t, func() {
		dir := t.TempDir()
		got, err := runLoop(context.Background(), t, sftJob, dir, func(tr Trainer) Trainer { return nanLast{tr} })
		require.NoError(t, err)
		assert.True(t, got["loss"] != got["loss"])
		again, err := runLoop(context.Background(), t, sftJob, dir, nil)
		require.NoError(t, err)
		assert.True(t, again["loss"] != again["loss"])
	})
}

type nanLast struct{ Trainer }

func (n nanLast) Step(ctx context.Context, u *Update) (Result, error) {
	res, err := n.Trainer.Step(ctx, u)
	if err == nil {
		zero := 0.0
		res.Scalars["loss"] = zero / zero
	}
	return res, err
}

// Publishing replaces the files at the top of a run folder only when all are complete.
func TestPublish(t *testing.T) {
	out := t.TempDir()
	write := func(dir, name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write(out, "metrics.jsonl", "rows")
	write(out, "model.safetensors", "old")
	write(out, "value/old", "old")
	write(out, ".finished/rest", "of a killed run")
	before := filesOf(t, out)
	delete(before, ".finished/rest")
	err := publish(out, func(dir string) error {
		write(dir, "model.safetensors", "half")
		return errors.New("disk full")
	})
	require.ErrorContains(t, err, "disk full")
	assert.Equal(t, before, filesOf(t, out))

	require.NoError(t, publish(out, func(dir string) error {
		write(dir, "model.safetensors", "new")
		write(dir, "value/model.safetensors", "new value")
		return nil
	}))
	after := filesOf(t, out)
	assert.NotEmpty(t, after["manifest.json"])
	delete(after, "manifest.json")
	assert.Equal(t, map[string]string{"metrics.jsonl": "rows", "model.safetensors": "new", "value/model.safetensors": "new value"}, after)
	require.NoError(t, checkpoint.Verify(out))
}

// childDir tells the re-executed test binary where to run a PPO loop until it is killed.
const childDir = "SALSA_TEST_LOOP_DIR"

func TestLoopKilledRunResumes(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		require.NoError(t, tensor.Run(func() error {
			_, err := runLoop(context.Background(), t, ppoJob, dir, func(tr Trainer) Trainer {
				return &watched{Trainer: tr, after: func(taken int) {
					require.NoError(t, os.WriteFile(filepath.Join(dir, ".taken"), fmt.Append(nil, taken), 0o644))
					if taken == 4 { // step 4 has moved weights, samples and metrics beyond the checkpoint of step 2
						select {}
					}
				}}
			})
			return err
		}))
		return
	}
	run(t, func() {
		want, _ := straight(t, ppoJob)
		for _, at := range []string{"1", "4"} { // before the first checkpoint, and after it
			dir := t.TempDir()
			killAt(t, dir, at)
			_, err := runLoop(context.Background(), t, ppoJob, dir, nil)
			require.NoError(t, err)
			requireSame(t, want, results(t, dir))
		}
	})
}

// killAt runs the test above in a process of its own and kills it as soon as it has taken so many steps.
func killAt(t *testing.T, dir, taken string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLoopKilledRunResumes$")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, ".taken"))
		return err == nil && string(raw) >= taken
	}, time.Minute, time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
}

// A checkpoint of other data, seed or shuffling is refused.
func TestLoopRefusesAnotherDataOrder(t *testing.T) {
	run(t, func() {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		_, err := runLoop(ctx, t, sftJob, dir, interruptAt(2, false, cancel))
		require.ErrorIs(t, err, fault.ErrInterrupted)
		_, err = runLoop(context.Background(), t, func(t *testing.T, dir string) (Trainer, *Common) {
			tr, c := sftJob(t, dir)
			s := tr.(*SFT)
			again, err := NewSFT(s.model, s.examples[1:], nil, s.opts, s.save)
			require.NoError(t, err)
			return again, c
		}, dir, nil)
		require.ErrorContains(t, err, "resume with the same data")
	})
}

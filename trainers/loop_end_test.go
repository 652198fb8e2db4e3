package trainers

// The run around a method: counters, odd losses, the last files, and a process killed in the middle.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/tensor"
)

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
		_, unsaved := os.Stat(checkpoint.StepDir(filepath.Join(dir, "checkpoints"), 2)) // it is written behind the steps
		return err == nil && string(raw) >= taken && (taken < "2" || unsaved == nil)
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
			again, err := NewSFT(s.model, slices.Concat(s.rows[1:]...), nil, s.opts, 0, s.save)
			require.NoError(t, err)
			return again, c
		}, dir, nil)
		require.ErrorContains(t, err, "resume with the same data")
	})
}

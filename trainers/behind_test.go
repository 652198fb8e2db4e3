package trainers

// The compute goroutine does not wait for the disk: shown by the order of what happens, with a disk that finishes a write
// only once the steps have gone on as far as they may.

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/checkpoint"
	"salsa/internal/metrics"
	"salsa/internal/profile"
)

// slowDisk holds a write back until some step has begun, and counts.
type slowDisk struct {
	mu      sync.Mutex
	changed sync.Cond
	begun   int // steps
	rows    int // written
	saving  int // checkpoints on their way

	rowAfter, saveAfter func(step int) (begun int) // the step that must have begun before a row or checkpoint is written
	rowErr, saveErr     map[int]error
}

func newSlowDisk() *slowDisk {
	d := &slowDisk{rowAfter: func(int) int { return 0 }, saveAfter: func(int) int { return 0 }}
	d.changed.L = &d.mu
	return d
}

func (d *slowDisk) until(begun int) {
	for d.begun < begun {
		d.changed.Wait()
	}
}

func (d *slowDisk) Log(to metrics.Logger, step int, scalars map[string]float64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until(d.rowAfter(step))
	if err := d.rowErr[step]; err != nil {
		return err
	}
	d.rows++
	return to.Log(step, scalars)
}

func (d *slowDisk) Commit(dir string, write func(tmp string) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saving++
	if d.saving > 1 {
		return errors.New("two checkpoints at once")
	}
	var step int
	if err := json.Unmarshal([]byte(filepath.Base(dir)[len(checkpoint.StepPrefix):]), &step); err != nil {
		return err
	}
	d.until(d.saveAfter(step))
	d.saving--
	if err := d.saveErr[step]; err != nil {
		return err
	}
	return checkpoint.Commit(dir, write)
}

// step is told that a step begins.
func (d *slowDisk) step(begun int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun = begun
	d.changed.Broadcast()
}

// runOnDisk is runLoop on a disk; each step tells it when it begins.
func runOnDisk(t *testing.T, make job, dir string, d *slowDisk, change func(*Loop)) (map[string]float64, error) {
	t.Helper()
	tr, opts := make(t, dir)
	l := &Loop{Options: opts, Out: dir, Name: "test", Resume: true, Quiet: true, disk: d}
	if change != nil {
		change(l)
	}
	return l.Run(context.Background(), &watched{Trainer: tr, before: func(taken int) { d.step(taken + 1) }})
}

// Rows wait for the last step to begin, checkpoints for the step before the next checkpoint: with a goroutine that waited
// for any of them the run would never end. What it leaves is what a run on a quick disk leaves.
func TestLoopDoesNotWaitForTheDisk(t *testing.T) {
	run(t, func() {
		for name, make := range map[string]job{"sft": sftJob, "ppo": ppoJob} {
			want, scalars := straight(t, make)
			dir, d, prof := t.TempDir(), newSlowDisk(), t.TempDir()
			_, opts := make(t, t.TempDir())
			require.Equal(t, 2, opts.SaveEvery)
			steps := map[string]int{"sft": 5, "ppo": 6}[name]
			d.rowAfter = func(step int) int { return min(step+1, 2) } // a checkpoint waits for its rows
			d.saveAfter = func(step int) int { return min(step+2, steps) }
			r, err := profile.Start(prof)
			require.NoError(t, err)
			got, err := runOnDisk(t, make, dir, d, nil)
			require.NoError(t, errors.Join(err, r.Stop()))
			requireSame(t, want, results(t, dir))
			assert.Equal(t, scalars, metrics.Reproducible(got))

			var report profile.Report
			readJSON(t, filepath.Join(prof, profile.ReportFile), &report)
			assert.Equal(t, steps, report.Of(profile.Update).Count/max(1, updatesPerStep(name)))
			assert.Equal(t, (steps-1)/2+1, report.Of(profile.Checkpoint).Count, "copies, and the finished model")
		}
	})
}

func updatesPerStep(name string) int { return map[string]int{"sft": 1, "ppo": 2}[name] }

// No more rows than the bound are behind: the first row waits for the last step that may begin before it is written.
func TestLoopRowsAreBounded(t *testing.T) {
	run(t, func() {
		d := newSlowDisk()
		steps := maxBehind + 6
		d.rowAfter = func(step int) int {
			if step == 1 {
				return maxBehind + 1 // all these steps have begun while the first row was being written
			}
			return 0
		}
		many := func(t *testing.T, dir string) (Trainer, *Common) {
			tr, c := sftJob(t, dir)
			c.MaxSteps, c.SaveEvery = steps, 0
			return &idle{Trainer: tr}, c
		}
		_, err := runOnDisk(t, many, t.TempDir(), d, func(l *Loop) {
			l.disk = &bounded{slowDisk: d, t: t}
		})
		require.NoError(t, err)
		assert.Equal(t, steps, d.rows)
	})
}

// idle takes steps that do nothing.
type idle struct{ Trainer }

func (idle) Step(context.Context, *Update) (Result, error) {
	return Result{Scalars: map[string]float64{"loss": 1}, Tokens: 1}, nil
}

// bounded checks the distance between steps and rows.
type bounded struct {
	*slowDisk
	t *testing.T
}

func (b *bounded) Log(to metrics.Logger, step int, scalars map[string]float64) error {
	err := b.slowDisk.Log(to, step, scalars)
	b.mu.Lock()
	defer b.mu.Unlock()
	// Rows asked for are those written and at most maxBehind more; one more step runs and one more waits for room.
	assert.LessOrEqual(b.t, b.begun, b.rows+maxBehind+1)
	return err
}

// A row that cannot be written ends the run, and nothing is written after it; the run goes on from its last checkpoint.
func TestLoopRowFails(t *testing.T) {
	run(t, func() {
		want, _ := straight(t, ppoJob)
		dir, d := t.TempDir(), newSlowDisk()
		boom := errors.New("metrics.jsonl: no space")
		d.rowErr = map[int]error{4: boom}
		_, err := runOnDisk(t, ppoJob, dir, d, nil)
		require.EqualError(t, err, boom.Error(), "said once")
		rows, err := metrics.Read(filepath.Join(dir, "metrics.jsonl"))
		require.NoError(t, err)
		require.Len(t, rows, 3)
		saved, err := checkpoint.List(filepath.Join(dir, "checkpoints"))
		require.NoError(t, err)
		require.Len(t, saved, 1, "no checkpoint whose rows are not there")
		_, err = runLoop(context.Background(), t, ppoJob, dir, nil)
		require.NoError(t, err)
		requireSame(t, want, results(t, dir))
	})
}

// A checkpoint that fails behind the run ends it with its error, wherever the run is by then.
func TestLoopCheckpointFailsBehind(t *testing.T) {
	run(t, func() {
		for _, after := range []int{3, 4} { // in the next step, and in the one at whose end the next checkpoint would wait
			dir, d := t.TempDir(), newSlowDisk()
			boom := errors.New(filepath.Join(dir, "checkpoints", "step-2") + ": cannot be written: no space left on device")
			d.saveErr = map[int]error{2: boom}
			d.saveAfter = func(int) int { return after }
			_, err := runOnDisk(t, ppoJob, dir, d, nil)
			require.EqualError(t, err, boom.Error(), "said once")
			require.NoFileExists(t, filepath.Join(dir, "done.json"))
			require.NoDirExists(t, filepath.Join(dir, "checkpoints"))
		}
	})
}

// A copy that would take too much memory is not made: the checkpoint is on the disk when the next step begins.
func TestLoopSavesAtOnceWithoutMemory(t *testing.T) {
	run(t, func() {
		want, _ := straight(t, sftJob)
		for name, change := range map[string]func(l *Loop){
			"none free":    func(l *Loop) { l.FreeMemory = func() int64 { return 1000 } },
			"none allowed": func(l *Loop) { l.Options.SaveMemory = 0 },
		} {
			dir := t.TempDir()
			tr, opts := sftJob(t, dir)
			l := &Loop{Options: opts, Out: dir, Name: "test", Resume: true, Quiet: true}
			change(l)
			_, err := l.Run(context.Background(), &watched{Trainer: tr, before: func(taken int) {
				if taken >= 2 && taken%2 == 0 {
					_, err := os.Stat(checkpoint.StepDir(filepath.Join(dir, "checkpoints"), taken))
					assert.NoError(t, err, name)
				}
			}})
			require.NoError(t, err)
			requireSame(t, want, results(t, dir))
		}
	})
}

// Any number of MB is a bound: one whose bytes do not fit into 64 bits is more than any checkpoint, not less.
func TestSaveMemoryIsABound(t *testing.T) {
	for _, c := range []struct {
		mb   int
		want bool
	}{{0, false}, {1, false}, {2, true}, {1 << 43, true}, {1 << 44, true}, {math.MaxInt, true}} {
		l := &Loop{Options: &Common{SaveMemory: c.mb}, Quiet: true}
		assert.Equal(t, c.want, l.fits(2<<20), "%d MB", c.mb)
	}
}

package trainers

// Checkpoints of a run: copied while the weights stand still and written behind the next steps, or, at an interrupt and
// where the copy would take too much memory, written at once; and the way back from one.

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/internal/profile"
)

// disk is where a run's rows and checkpoints go.
type disk interface {
	// Log writes a row to where it belongs.
	Log(to metrics.Logger, step int, scalars map[string]float64) error
	// Commit makes a checkpoint's folder.
	Commit(dir string, write func(tmp string) error) error
}

// realDisk passes everything on.
type realDisk struct{}

func (realDisk) Log(to metrics.Logger, step int, scalars map[string]float64) error {
	return to.Log(step, scalars)
}

func (realDisk) Commit(dir string, write func(tmp string) error) error {
	return checkpoint.Commit(dir, write)
}

// runState is trainer/state.json of a checkpoint.
type runState struct {
	Step    int             `json:"step"`
	Skipped int             `json:"skipped"`
	InRow   int             `json:"skipped_in_row"`
	Updates int             `json:"updates"`
	Trainer json.RawMessage `json:"trainer"`

	Last *metrics.Row `json:"last,omitempty"` // what the last step reported, once all are taken
}

// When a checkpoint is written.
const (
	atOnce        = false
	whileTraining = true
)

// interrupt saves where the run stands and reports the interruption.
func (l *Loop) interrupt(state []byte) error {
	if l.step == 0 {
		return fmt.Errorf("%w before the first step ended: nothing to save", fault.ErrInterrupted)
	}
	if err := l.save(state, atOnce); err != nil {
		return fmt.Errorf("interrupted, and the checkpoint could not be saved: %w", err)
	}
	return fmt.Errorf("%w at step %d: saved; the same command with --resume goes on", fault.ErrInterrupted, l.step)
}

// checkpoints is the folder of a run's checkpoints.
func (l *Loop) checkpoints() string { return filepath.Join(l.Out, "checkpoints") }

// save makes checkpoints/step-N: the networks, the optimizer and state. While training it returns once they are copied,
// if the memory for that can be had; the error of an earlier checkpoint that was written so comes back here too.
func (l *Loop) save(state []byte, later bool) error {
	parts, err := l.snapshot(state)
	if err != nil {
		return err
	}
	if err := l.saves.Wait(); err != nil { // one copy at a time is in memory
		return err
	}
	defer profile.Begin(profile.Checkpoint).End()
	rows, dir := l.logs.lines.Mark(), checkpoint.StepDir(l.checkpoints(), l.step)
	bytes := checkpoint.LiveBytes(parts)
	settle()
	if !later || !l.fits(bytes) {
		return l.write(dir, parts, rows)
	}
	if parts, err = checkpoint.HoldParts(parts); err != nil {
		return err
	}
	return l.saves.Do(func() error {
		err := l.write(dir, parts, rows)
		clear(parts) // the copies
		giveBack(bytes)
		return err
	})
}

// snapshot lists all that a checkpoint holds.
func (l *Loop) snapshot(state []byte) ([]checkpoint.Part, error) {
	saved := runState{Step: l.step, Skipped: l.update.skipped, InRow: l.update.inRow, Updates: l.update.updates, Trainer: state}
	if l.step >= l.trainer.Steps() {
		saved.Last = &metrics.Row{Step: l.step, Values: metrics.Reproducible(l.last)}
	}
	raw, err := json.Marshal(saved)
	if err != nil {
		return nil, err
	}
	parts, err := l.trainer.Parts()
	if err != nil {
		return nil, err
	}
	side := []checkpoint.Part{l.update.opt.Part("optimizer.safetensors"), checkpoint.File("state.json", raw)}
	return append(append(parts, l.record()), checkpoint.In("trainer", side)...), nil
}

// write puts a checkpoint on the disk once the rows that led to it are there, and deletes those that are too many.
func (l *Loop) write(dir string, parts []checkpoint.Part, rows func() error) error {
	if err := rows(); err != nil {
		return err
	}
	if err := l.logs.sync(); err != nil {
		return err
	}
	if err := l.disk.Commit(dir, func(tmp string) error { return checkpoint.WriteParts(tmp, parts) }); err != nil {
		return err
	}
	_, err := checkpoint.Prune(l.checkpoints(), l.Options.KeepLast)
	return err
}

// fits tells whether a copy of so many bytes may be made, and the user, once, if not.
func (l *Loop) fits(bytes int64) bool {
	limit := int64(min(l.Options.SaveMemory, math.MaxInt64>>20)) << 20
	if l.Options.SaveMemory < 0 && l.FreeMemory == nil {
		return true
	}
	if l.Options.SaveMemory < 0 {
		limit = l.FreeMemory() / 4
	}
	if bytes > limit && l.Options.SaveMemory != 0 && !l.waited && !l.Quiet {
		l.waited = true
		fmt.Fprintf(os.Stderr, "salsa: a checkpoint's %d MB are more than the %d MB that it may be copied into, so training waits while it is written; --save-memory allows more\n",
			bytes>>20, limit>>20)
	}
	return bytes <= limit
}

// restore goes back to the newest intact checkpoint if the run is to be resumed and has one.
func (l *Loop) restore() error {
	if !l.Resume {
		return nil
	}
	defer profile.Begin(profile.Load).End()
	for _, dir := range []string{l.Out, l.checkpoints()} {
		if _, err := checkpoint.CleanStale(dir); err != nil {
			return err
		}
	}
	dir, step, skipped := checkpoint.LatestValid(l.checkpoints())
	for _, s := range skipped {
		fmt.Fprintf(os.Stderr, "salsa: passing over %s: %s\n", s.Dir, s.Reason)
	}
	if dir == "" {
		return nil
	}
	raw, err := os.ReadFile(filepath.Join(dir, "trainer", "state.json"))
	if err != nil {
		return err
	}
	var state runState
	if err := json.Unmarshal(raw, &state); err != nil {
		return fmt.Errorf("%s/trainer/state.json: %w", dir, err)
	}
	if err := l.trainer.Load(dir); err != nil {
		return err
	}
	if err := l.update.opt.Load(filepath.Join(dir, "trainer", "optimizer.safetensors")); err != nil {
		return err
	}
	l.step = step
	if state.Last != nil {
		l.last = state.Last.Values
	}
	l.update.skipped, l.update.inRow, l.update.updates = state.Skipped, state.InRow, state.Updates
	if err := l.trainer.Restore(state.Trainer); err != nil {
		return fmt.Errorf("%s/trainer/state.json: %w", dir, err)
	}
	fmt.Fprintf(os.Stderr, "salsa: resuming after step %d from %s\n", step, dir)
	return nil
}

// giveBack returns a copy's memory to the system: the next copy comes long before a collection would by itself.
func giveBack(bytes int64) {
	if bytes > 64<<20 { // below that the collection costs more than it is worth
		debug.FreeOSMemory()
	}
}

// alsoFailed adds what failed at the end of a run to why it ended, unless that is the same.
func alsoFailed(err, last error) error {
	if last == nil || errors.Is(err, last) {
		return err
	}
	return errors.Join(err, last)
}

package recipe

// Running a plan. A stage whose key stands in state.json as done is skipped; one that was cut off with the same key
// goes on in its folder; results of another key are moved aside, never mixed with and never deleted.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/runlock"
)

// Runner executes a Plan.
type Runner struct {
	Plan *Plan
	// Exec does one stage's work; its results belong in dir, which Exec makes. With s.Resume dir holds the run folder
	// of an unfinished run of the very same stage.
	Exec func(ctx context.Context, s *Stage, dir string) error
	// Check, if set, looks over a stage before anything runs, for example at the headers of its input files.
	Check func(s *Stage) error
	// Version, if set, names the program's version of a kind; a change makes its stages run again.
	Version func(kind string) string
	// Digest hashes the content of an input file or folder; checkpoint.HashTree when nil.
	Digest func(path string) (string, error)
	// Console receives a line per event; nil means silence.
	Console io.Writer
	// Sets are the --set overrides, kept in state.json for the reader.
	Sets []string

	state   *State
	aside   map[string]Record // what state.json said of each stage before this run
	open    map[string]bool   // stages without a key: they wait for a choice, or need one that does
	skipped int
}

// check fills defaults and looks over the run folder and all stages; it writes nothing.
func (r *Runner) check() error {
	if r.Digest == nil {
		r.Digest = checkpoint.HashTree
	}
	if r.Console == nil {
		r.Console = io.Discard
	}
	old, err := ReadState(r.Plan.Out)
	if err != nil {
		return err
	}
	if old.Recipe != "" && old.Recipe != r.Plan.Name {
		return fault.Inputf("--out %s: holds a run of the recipe %s, not %s; choose another folder", r.Plan.Out, old.Recipe, r.Plan.Name)
	}
	for _, s := range r.Plan.Stages {
		for _, path := range r.external(s) {
			if _, err := os.Stat(path); err != nil {
				return fault.Inputf("%s: stage %s reads %s: no such file or folder", s.Where, s.Name, path)
			}
		}
		if r.Check == nil {
			continue
		}
		if err := r.Check(s); err != nil {
			return fault.Inputf("%s: stage %s: %w", s.Where, s.Name, err)
		}
	}
	return nil
}

// compare holds the stages' keys against the run folder's state: each stage is Done, Interrupted (to be resumed) or
// Waiting.
func (r *Runner) compare() error {
	old, err := ReadState(r.Plan.Out)
	if err != nil {
		return err
	}
	r.state = &State{Recipe: r.Plan.Name, Vars: r.Plan.Vars, Sets: r.Sets}
	r.aside, r.open = map[string]Record{}, map[string]bool{}
	for i, s := range r.Plan.Stages {
		rec := Record{Name: s.Name, Kind: s.Kind, Status: Waiting}
		if was := old.find(s.Name); was != nil {
			r.aside[s.Name] = *was
		}
		r.state.Stages = append(r.state.Stages, rec)
		if err := r.place(i, s); err != nil {
			return err
		}
	}
	for _, was := range old.Stages {
		if r.state.find(was.Name) == nil {
			r.state.Stages = append(r.state.Stages, was)
		}
	}
	return nil
}

// place gives a stage its key and holds it against the record of an earlier run; a stage that waits for a choice is
// left open and keeps its old record until its turn comes.
func (r *Runner) place(i int, s *Stage) error {
	rec := &r.state.Stages[i]
	was, known := r.aside[s.Name]
	settled, err := r.settle(s)
	if err != nil {
		return err
	}
	if r.open[s.Name] = !settled; !settled {
		if known {
			*rec = was
		}
		return nil
	}
	key, err := r.key(s)
	if err != nil {
		return err
	}
	*rec = Record{Name: s.Name, Kind: s.Kind, Status: Waiting, Key: key}
	if known {
		*rec = carry(*rec, was, s)
	}
	return nil
}

// settle gives a stage its last options; false while it, or a stage it needs, waits for a choice.
func (r *Runner) settle(s *Stage) (bool, error) {
	for _, need := range s.Needs {
		if r.open[need] {
			return false, nil
		}
	}
	return r.Plan.settle(s, func(stage string) bool { return r.state.find(stage).Status == Done })
}

// carry takes over the old record's outcome where its key still holds and its folder is still there.
func carry(rec, was Record, s *Stage) Record {
	s.Resume = false
	if was.Key != rec.Key || !isDir(s.Dir) {
		return rec
	}
	switch {
	case was.Status == Done:
		rec.Status, rec.Seconds = Done, was.Seconds
	case was.Status != Waiting && exists(filepath.Join(s.Dir, checkpoint.RunFile)):
		rec.Status, rec.Seconds = Interrupted, was.Seconds
		s.Resume = true
	}
	return rec
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Preview checks everything as Run does and prints the plan, changing nothing.
func (r *Runner) Preview() error {
	if err := r.check(); err != nil {
		return err
	}
	if err := r.compare(); err != nil {
		return err
	}
	r.printPlan()
	return nil
}

// Run executes the plan's stages in order and stops at the first failure. Cancelling ctx stops the current stage,
// records it, and returns an error that wraps fault.ErrInterrupted; the same call later goes on from there.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	if err := os.MkdirAll(r.Plan.Out, 0o755); err != nil {
		return fault.Inputf("--out %s: %w", r.Plan.Out, err)
	}
	lock, err := runlock.Acquire(r.Plan.Out)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }() // the kernel frees it at exit in any case
	if err := r.compare(); err != nil {   // only now: another process may have finished stages before the lock was ours
		return err
	}
	// state.json comes first: with it the folder is a run folder, whatever happens next.
	if err := r.state.write(r.Plan.Out); err != nil {
		return err
	}
	if err := checkpoint.WriteFileAtomic(filepath.Join(r.Plan.Out, recipeFile), r.Plan.Source); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(r.Plan.Out, "stages"), 0o755); err != nil {
		return err
	}
	start := time.Now()
	for i, s := range r.Plan.Stages {
		if err := r.step(ctx, i, s); err != nil {
			return err
		}
	}
	r.printSummary(time.Since(start))
	return nil
}

// step runs or skips one stage and records the outcome.
func (r *Runner) step(ctx context.Context, i int, s *Stage) error {
	rec := &r.state.Stages[i]
	if r.open[s.Name] {
		if err := r.place(i, s); err != nil {
			return fmt.Errorf("stage %s: %w", s.Name, err)
		}
	}
	if rec.Status == Done {
		r.skipped++
		r.printStage(i, s, fmt.Sprintf("skipped (done before in %s)", seconds(rec.Seconds)))
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("before stage %s: %w; the same command goes on from there", s.Name, fault.ErrInterrupted)
	}
	if err := r.clear(s); err != nil {
		return err
	}
	note := "running"
	if s.Resume {
		note = "running (resumed)"
	}
	r.printStage(i, s, note)
	rec.Status = Running
	if err := r.state.write(r.Plan.Out); err != nil {
		return err
	}
	start := time.Now()
	execErr := r.Exec(ctx, s, s.Dir)
	spent := time.Since(start).Seconds()
	rec.Seconds += spent
	return r.finish(ctx, i, s, rec, spent, execErr)
}

// finish writes down how the stage ended and turns its error into one that names the stage.
func (r *Runner) finish(ctx context.Context, i int, s *Stage, rec *Record, spent float64, execErr error) error {
	if execErr == nil && !isDir(s.Dir) {
		execErr = fmt.Errorf("it reported success but made no folder %s", s.Dir)
	}
	var result error
	switch {
	case execErr == nil:
		rec.Status = Done
	case ctx.Err() != nil || errors.Is(execErr, fault.ErrInterrupted):
		rec.Status = Interrupted
		result = fmt.Errorf("stage %s: %w; the same command goes on from there", s.Name, fault.ErrInterrupted)
	default:
		rec.Status, rec.Error = Failed, execErr.Error()
		result = fmt.Errorf("stage %s: %w", s.Name, execErr)
	}
	r.printStage(i, s, fmt.Sprintf("%s in %s", rec.Status, seconds(spent)))
	return errors.Join(result, r.state.write(r.Plan.Out))
}

// clear makes way for a stage that does not resume: a finished result of another key is kept under OUT/stale, the
// remains of a start that never became a run are removed.
func (r *Runner) clear(s *Stage) error {
	if s.Resume || !exists(s.Dir) {
		return nil
	}
	was, known := r.aside[s.Name]
	if known && was.Status != Done && !exists(filepath.Join(s.Dir, checkpoint.RunFile)) {
		return os.RemoveAll(s.Dir)
	}
	name := s.Name + "-unknown"
	if len(was.Key) >= 8 {
		name = s.Name + "-" + was.Key[:8]
	}
	stale := filepath.Join(r.Plan.Out, "stale", name)
	if err := os.MkdirAll(filepath.Dir(stale), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(stale); err != nil { // an older result of the same key
		return err
	}
	fmt.Fprintf(r.Console, "        %s: earlier result (other settings, inputs or version) moved to %s\n", s.Name, stale)
	return os.Rename(s.Dir, stale)
}

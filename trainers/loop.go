package trainers

// The run around a method: steps, learning rate, logs, checkpoints, resume, signals.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/nn"
	"salsa/optim"
)

// Result is what one step reports: scalars under TRL's names, and the tokens it computed on.
type Result struct {
	Scalars map[string]float64
	Tokens  int
}

// Trainer is a method: it knows how to take one step and what of it must be saved.
type Trainer interface {
	// Params returns everything that is optimised, in a fixed order.
	Params() []nn.Param
	// Steps returns how many steps the whole run has.
	Steps() int
	// Step takes the next step. If ctx ends before weights have moved, it returns ctx's error and the state
	// that State gave before the step is still the right one.
	Step(ctx context.Context, u *Update) (Result, error)
	// State returns all that is neither weights nor optimizer: data cursor, random streams, controllers.
	State() ([]byte, error)
	// Restore brings State's result back.
	Restore(state []byte) error
	// Save writes all trained networks into dir, the main one as a Hugging Face folder at its top.
	Save(dir string) error
	// Load brings Save's weights back into the live networks.
	Load(dir string) error
}

// Finisher is a Trainer with something to measure after the last step (held-out loss, accuracy).
type Finisher interface {
	Finish(ctx context.Context) (map[string]float64, error)
}

// Loop runs a Trainer in a run folder.
type Loop struct {
	Options *Common
	Out     string // run folder; it exists
	Name    string // what progress calls the job
	Resume  bool   // go on from the newest intact checkpoint, if there is one
	Quiet   bool   // no progress on standard error

	Record models.Record // what the folders of trained networks say about the training

	logs     *logs
	trainer  Trainer
	update   *Update
	schedule optim.Schedule
	step     int
	last     map[string]float64
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

// Run takes all remaining steps and publishes the finished model at the top of Out. It returns the scalars of
// the last step together with Finish's. When ctx ends it saves a checkpoint and returns fault.ErrInterrupted.
func (l *Loop) Run(ctx context.Context, t Trainer) (scalars map[string]float64, err error) {
	l.trainer = t
	if l.schedule, err = l.Options.schedule(); err != nil {
		return nil, err
	}
	if prior, ok := l.finished(); ok {
		fmt.Fprintf(os.Stderr, "salsa: %s: finished at step %d already; nothing is left to do\n", l.Out, prior.Step)
		return prior.Values, nil
	}
	l.update = NewUpdate(t.Params(), l.Options)
	l.update.keep = l.keepSkipped
	defer l.update.Close()
	if err := l.restore(); err != nil {
		return nil, err
	}
	if l.logs, err = openLogs(l, t.Steps()); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.logs.close()) }()
	l.tellOfData()
	for l.step < t.Steps() {
		if err := l.takeStep(ctx); err != nil {
			return nil, err
		}
	}
	l.tellOfMixture()
	return l.finish(ctx)
}

// finished tells whether an earlier run with these options came to its end, and what it reported: done.json is
// a row of metrics.
func (l *Loop) finished() (metrics.Row, bool) {
	var row metrics.Row
	raw, err := os.ReadFile(filepath.Join(l.Out, "done.json"))
	if !l.Resume || err != nil || json.Unmarshal(raw, &row) != nil {
		return metrics.Row{}, false
	}
	return row, row.Step >= l.trainer.Steps()
}

// Phase tells the progress display what goes on inside the current step.
func (l *Loop) Phase(text string) {
	if l.logs != nil {
		l.logs.progress.Phase(text)
	}
}

func (l *Loop) takeStep(ctx context.Context) error {
	before, err := l.trainer.State()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return l.interrupt(before)
	}
	start := time.Now()
	l.update.LR = l.schedule(l.step, l.trainer.Steps())
	res, err := l.trainer.Step(ctx, l.update)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return l.interrupt(before)
	}
	if err != nil {
		return fmt.Errorf("step %d: %w", l.step+1, err)
	}
	l.step++
	l.last = res.Scalars
	l.last["learning_rate"] = l.update.LR
	addTimings(l.last, time.Since(start), res.Tokens)
	if err := l.logs.log(l.step, l.last, res.Tokens); err != nil {
		return err
	}
	if every := l.Options.SaveEvery; every > 0 && l.step%every == 0 && l.step < l.trainer.Steps() {
		state, err := l.trainer.State()
		if err != nil {
			return err
		}
		return l.save(state)
	}
	return nil
}

// interrupt saves where the run stands and reports the interruption.
func (l *Loop) interrupt(state []byte) error {
	if l.step == 0 {
		return fmt.Errorf("%w before the first step ended: nothing to save", fault.ErrInterrupted)
	}
	if err := l.save(state); err != nil {
		return fmt.Errorf("interrupted, and the checkpoint could not be saved: %w", err)
	}
	return fmt.Errorf("%w at step %d: saved; the same command with --resume goes on", fault.ErrInterrupted, l.step)
}

// checkpoints is the folder of a run's checkpoints.
func (l *Loop) checkpoints() string { return filepath.Join(l.Out, "checkpoints") }

// save writes checkpoints/step-N: the networks, the optimizer and state.
func (l *Loop) save(state []byte) error {
	if err := l.logs.sync(); err != nil {
		return err
	}
	saved := runState{Step: l.step, Skipped: l.update.skipped, InRow: l.update.inRow, Updates: l.update.updates, Trainer: state}
	if l.step >= l.trainer.Steps() {
		saved.Last = &metrics.Row{Step: l.step, Values: metrics.Reproducible(l.last)}
	}
	raw, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	err = checkpoint.Commit(checkpoint.StepDir(l.checkpoints(), l.step), func(tmp string) error {
		if err := l.recorded(l.trainer.Save)(tmp); err != nil {
			return err
		}
		side := filepath.Join(tmp, "trainer")
		if err := os.MkdirAll(side, 0o755); err != nil {
			return err
		}
		if err := l.update.opt.Save(filepath.Join(side, "optimizer.safetensors")); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(side, "state.json"), raw, 0o644)
	})
	if err != nil {
		return err
	}
	_, err = checkpoint.Prune(l.checkpoints(), l.Options.KeepLast)
	return err
}

// restore goes back to the newest intact checkpoint if the run is to be resumed and has one.
func (l *Loop) restore() error {
	if !l.Resume {
		return nil
	}
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

// finish measures what is left to measure, publishes the model and marks the run as done.
func (l *Loop) finish(ctx context.Context) (map[string]float64, error) {
	final, err := l.measure(ctx)
	if err != nil {
		return nil, err
	}
	scalars := map[string]float64{}
	for _, part := range []map[string]float64{l.last, final} {
		for k, v := range part {
			scalars[k] = v
		}
	}
	perStep, perSecond := l.logs.progress.Rates()
	scalars["s_per_step"], scalars["tokens_per_s"] = perStep, perSecond
	scalars["peak_rss_mb"] = peakRSS()
	save := l.trainer.Save
	if p, ok := l.trainer.(Publisher); ok {
		save = p.Publish
	}
	if err := publish(l.Out, l.recorded(save)); err != nil {
		return nil, err
	}
	raw, err := json.MarshalIndent(metrics.Row{Step: l.step, Values: metrics.Reproducible(scalars)}, "", "  ")
	if err != nil {
		return nil, err
	}
	return scalars, checkpoint.WriteFileAtomic(filepath.Join(l.Out, "done.json"), append(raw, '\n'))
}

// measure runs and logs the trainer's Finish, if it has one. An interrupt saves a checkpoint: all steps are taken
// and must not be lost.
func (l *Loop) measure(ctx context.Context) (map[string]float64, error) {
	f, ok := l.trainer.(Finisher)
	if !ok {
		return nil, nil
	}
	final, err := f.Finish(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		state, err := l.trainer.State()
		if err != nil {
			return nil, err
		}
		return nil, l.interrupt(state)
	}
	if err != nil || len(final) == 0 {
		return nil, err
	}
	return final, l.logs.log(l.step, final, 0)
}

// publish writes the finished networks beside the run's logs: complete in a hidden folder first, then renamed
// file by file.
func publish(out string, save func(dir string) error) error {
	tmp := filepath.Join(out, ".finished")
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := checkpoint.Commit(tmp, save); err != nil {
		return err
	}
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dst := filepath.Join(out, e.Name())
		if e.IsDir() {
			if err := os.RemoveAll(dst); err != nil {
				return err
			}
		}
		if err := os.Rename(filepath.Join(tmp, e.Name()), dst); err != nil {
			return err
		}
	}
	return os.Remove(tmp)
}

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

	"salsa/internal/behind"
	"salsa/internal/checkpoint"
	"salsa/internal/metrics"
	"salsa/internal/profile"
	"salsa/models"
	"salsa/nn"
	"salsa/optim"
)

// Result is what one step reports: scalars under TRL's names, and the tokens it computed on.
type Result struct {
	Scalars map[string]float64
	Tokens  int
	Write   func() error // writes the step's samples; called before its scalars are written, while a later step runs; may be nil
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
	// Parts returns all trained networks as a folder, the main one as a Hugging Face folder at its top.
	Parts() ([]checkpoint.Part, error)
	// Load brings the weights of Parts back into the live networks.
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

	// FreeMemory tells how many bytes of memory can still be had, of which a checkpoint's copy takes a share; nil: enough.
	FreeMemory func() int64

	disk     disk // nil is the disk; tests put a slow one in its place
	logs     *logs
	saves    *behind.Queue // of checkpoints: one at most
	waited   bool          // it was said that training waits for checkpoints
	trainer  Trainer
	update   *Update
	schedule optim.Schedule
	step     int
	last     map[string]float64
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
	if l.disk == nil {
		l.disk = realDisk{}
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
	defer func() { err = alsoFailed(alsoFailed(err, l.logs.lines.Close()), l.logs.close()) }()
	l.saves = behind.New(profile.Checkpoint, 1)
	defer func() { err = alsoFailed(err, l.saves.Close()) }() // before the logs close: a checkpoint waits for its rows
	l.tellOfData()
	settle()
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
	if err := l.saves.Err(); err != nil {
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
	profile.Trained(res.Tokens)
	if err := l.logs.log(l.step, l.last, res); err != nil {
		return err
	}
	if every := l.Options.SaveEvery; every > 0 && l.step%every == 0 && l.step < l.trainer.Steps() {
		state, err := l.trainer.State()
		if err != nil {
			return err
		}
		return l.save(state, whileTraining)
	}
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
	scalars["peak_rss_mb"] = PeakRSS()
	if err := l.saves.Wait(); err != nil {
		return nil, err
	}
	if err := l.logs.lines.Wait(); err != nil {
		return nil, err
	}
	defer profile.Begin(profile.Checkpoint).End()
	settle()
	if err := publish(l.Out, l.writeFinished); err != nil {
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
	span := profile.Begin(profile.Evaluate)
	final, err := f.Finish(ctx)
	span.End()
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
	return final, l.logs.log(l.step, final, Result{})
}

// writeFinished writes the finished networks into dir.
func (l *Loop) writeFinished(dir string) error {
	if p, ok := l.trainer.(Publisher); ok {
		if err := p.Publish(dir); err != nil {
			return err
		}
		return l.record().Write(dir)
	}
	parts, err := l.trainer.Parts()
	if err != nil {
		return err
	}
	return checkpoint.WriteParts(dir, append(parts, l.record()))
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

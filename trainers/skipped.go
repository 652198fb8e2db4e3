package trainers

// What is kept of a step whose loss or gradient was not finite: enough to compute it again and find the row that overflows.

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"salsa/data"
	"salsa/internal/checkpoint"
)

// SkippedDir, in a run folder, holds a file of JSON for each skipped step.
const SkippedDir = "skipped"

// skippedStep is such a file.
type skippedStep struct {
	Step     int          `json:"step"`   // of the run, from 1
	Update   int          `json:"update"` // of the run, from 1: a step may have several
	Seed     uint64       `json:"seed"`
	LR       float64      `json:"learning_rate"`
	Loss     string       `json:"loss"` // as text: JSON has no NaN
	GradNorm string       `json:"grad_norm"`
	Rows     []skippedRow `json:"rows"` // in the order they were computed; of pairs chosen and rejected in turn
}

type skippedRow struct {
	At      string `json:"at,omitempty"` // file and line
	IDs     []int  `json:"ids"`
	Targets []int  `json:"targets"` // places in ids that the loss is about
}

// holds tells the update what the coming call of Do computes on; rows is only called if the step is skipped.
func (u *Update) holds(rows func() []data.Example) { u.rows = rows }

// sidesOf lists the completions of pairs, chosen and rejected in turn.
func sidesOf[T any](pairs []T, pair func(T) data.Pair) func() []data.Example {
	return func() []data.Example {
		var out []data.Example
		for _, p := range pairs {
			out = append(out, pair(p).Chosen, pair(p).Rejected)
		}
		return out
	}
}

func skippedRowOf(x data.Example) skippedRow {
	row := skippedRow{IDs: x.IDs, Targets: []int{}}
	if x.Row != nil {
		row.At = x.Row.At()
	}
	for i, target := range x.Mask {
		if target {
			row.Targets = append(row.Targets, i)
		}
	}
	return row
}

// keepSkipped has a skipped step written into the run folder, says so, and returns the file's name.
func (l *Loop) keepSkipped(u *Update, loss, norm float64) (string, error) {
	s := skippedStep{Step: l.step + 1, Update: u.updates, Seed: l.Options.Seed, LR: u.LR, Loss: fmt.Sprint(loss), GradNorm: fmt.Sprint(norm)}
	if u.rows != nil {
		for _, x := range u.rows() {
			s.Rows = append(s.Rows, skippedRowOf(x))
		}
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	path := filepath.Join(l.Out, SkippedDir, fmt.Sprintf("step-%d-update-%d.json", s.Step, s.Update))
	if !l.Quiet {
		fmt.Fprintf(os.Stderr, "\nsalsa: step %d: loss %g, gradient norm %g: skipped; its batch is in %s\n", s.Step, loss, norm, path)
	}
	return path, l.logs.lines.Do(func() error {
		return withRemedy(checkpoint.WriteParts(filepath.Dir(path), []checkpoint.Part{checkpoint.File(filepath.Base(path), append(raw, '\n'))}))
	})
}

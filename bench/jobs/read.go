package main

// What each side says about its own steps: salsa's metrics.jsonl and summary line, the rivals' line of JSON.

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// reading is one run of a job: seconds per unit of work by measure ("step" and the phases), besides "wall" in seconds
// and "rss" in bytes. Less is better everywhere.
type reading map[string]float64

// step is one optimizer step or batch: seconds by phase and in total, and the units of work in it.
type step struct {
	seconds map[string]float64
	work    float64
}

// perUnit sums the steps behind the first, the warm-up, and divides by their work.
func perUnit(steps []step) (reading, error) {
	if len(steps) > 1 {
		steps = steps[1:]
	}
	out, work := reading{}, 0.0
	for _, st := range steps {
		for phase, seconds := range st.seconds {
			out[phase] += seconds
		}
		work += st.work
	}
	if work <= 0 {
		return nil, fmt.Errorf("no work in %d steps", len(steps))
	}
	for phase := range out {
		out[phase] /= work
	}
	return out, nil
}

// fromMetrics reads a trainer's steps.
func fromMetrics(s *settings, r *row, _ process) (reading, error) {
	raw, err := os.ReadFile(filepath.Join(s.scratch, "out", "metrics.jsonl"))
	if err != nil {
		return nil, err
	}
	var steps []step
	seen := 0.0
	for line := range strings.Lines(string(raw)) {
		var scalars map[string]float64
		if err := json.Unmarshal([]byte(line), &scalars); err != nil {
			return nil, fmt.Errorf("metrics.jsonl: %w", err)
		}
		st := step{seconds: map[string]float64{"step": scalars["s_per_step"]}, work: r.work}
		if r.work == 0 {
			st.work, seen = scalars["num_tokens"]-seen, scalars["num_tokens"]
		}
		for phase, names := range r.phasesAlike {
			for _, name := range names {
				st.seconds[phase] += scalars[name]
			}
		}
		steps = append(steps, st)
	}
	return perUnit(steps)
}

// fromSummary reads the speed of salsa generate from its last line.
func fromSummary(_ *settings, _ *row, p process) (reading, error) {
	var scalars map[string]float64
	if err := json.Unmarshal([]byte(lastLines(p.stdout, 1)), &scalars); err != nil {
		return nil, fmt.Errorf("salsa's summary: %w", err)
	}
	if scalars["tokens_per_s"] <= 0 {
		return nil, fmt.Errorf("salsa's summary has no tokens_per_s")
	}
	return reading{"step": 1 / scalars["tokens_per_s"]}, nil
}

// nothing is for jobs of which only the whole process counts.
func nothing(*settings, *row, process) (reading, error) { return reading{}, nil }

// fromRival reads the last line of a script of bench/rivals.
func fromRival(r *row, p process) (reading, error) {
	if r.unit == "" {
		return reading{}, nil
	}
	var said struct{ Steps []map[string]float64 }
	if err := json.Unmarshal([]byte(lastLines(p.stdout, 1)), &said); err != nil {
		return nil, fmt.Errorf("%s: %w", r.rival.script, err)
	}
	var steps []step
	for _, seconds := range said.Steps {
		st := step{seconds: map[string]float64{"step": seconds["total"]}, work: r.work}
		if r.work == 0 {
			st.work = seconds["work"]
		}
		for phase := range r.phasesAlike {
			st.seconds[phase] = seconds[phase]
		}
		steps = append(steps, st)
	}
	// salsa generate's own speed has no warm-up left out, so the rival's has none either.
	if r.rival.script == "decode.py" {
		steps = slices.Insert(steps, 0, step{})
	}
	return perUnit(steps)
}

package recipe

// state.json: what the run folder holds. It is the only record of which stage is done with which key, and it is
// replaced whole, so a killed run never leaves half a record.

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
)

// Status is where a stage stands.
type Status string

// The statuses that state.json and the console use.
const (
	Waiting     Status = "waiting"
	Running     Status = "running"
	Done        Status = "done"
	Failed      Status = "failed"
	Interrupted Status = "interrupted"
)

// Record is one stage in state.json.
type Record struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind"`
	Status  Status  `json:"status"`
	Key     string  `json:"key"`             // hash of everything the result depends on
	Seconds float64 `json:"seconds"`         // wall time, summed over resumed attempts
	Error   string  `json:"error,omitempty"` // of a failed stage
}

// State is the content of state.json. Stages are in the plan's order; those of an earlier version of the recipe
// follow, so that going back to it finds its results again.
type State struct {
	Recipe string   `json:"recipe"`
	Vars   []Var    `json:"vars"`
	Sets   []string `json:"sets,omitempty"`
	Stages []Record `json:"stages"`
}

const (
	stateFile  = "state.json"
	recipeFile = "recipe.yaml"
)

// ReadState reads OUT/state.json; a run folder that does not exist yet gives an empty State.
func ReadState(out string) (*State, error) {
	path := filepath.Join(out, stateFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return &State{}, emptyEnough(out)
	}
	if err != nil {
		return nil, fault.Inputf("%s: cannot read: %w", path, err)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fault.Inputf("%s: not a state file (%v); delete it to start the run over", path, err)
	}
	return &s, nil
}

// emptyEnough refuses to start a run among files that are not a run's.
func emptyEnough(out string) error {
	entries, err := os.ReadDir(out)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Inputf("--out %s: cannot use it as a run folder: %w", out, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			return fault.Inputf("--out %s: holds %s but no %s, so it is not a run folder; choose an empty one", out, e.Name(), stateFile)
		}
	}
	return nil
}

func (s *State) write(out string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return checkpoint.WriteFileAtomic(filepath.Join(out, stateFile), append(data, '\n'))
}

// find returns the record of a stage, or nil.
func (s *State) find(name string) *Record {
	for i := range s.Stages {
		if s.Stages[i].Name == name {
			return &s.Stages[i]
		}
	}
	return nil
}

// inside reports whether path lies in folder dir. Both may be relative to the working folder.
func inside(dir, path string) bool {
	a, errA := filepath.Abs(dir)
	b, errB := filepath.Abs(path)
	if errA != nil || errB != nil {
		return false
	}
	rel, err := filepath.Rel(a, b)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

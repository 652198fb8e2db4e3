package runreport

// What a report reads from disk. A folder that is not named is left out; one that is named must be whole.

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/job"
	"salsa/internal/metrics"
	"salsa/internal/options"
	"salsa/internal/recipe"
	"salsa/internal/safetensors"
)

// ranRun is a run folder of a trainer.
type ranRun struct {
	name     string // of the folder: "ppo-seed1"
	dir      string
	seed     string // "1"
	rows     []metrics.Row
	settings *options.Node // run.yaml
	params   int64         // parameters of the model at its top; 0 if it is not finished
}

// material is everything a report is made of.
type material struct {
	sft, ppo, salsa []*ranRun
	reward          *ranRun         // nil: none
	sweep           *job.Sweep      // nil: none
	eval            *job.Evaluation // nil: none
	state           *recipe.State
	gold            bool   // an exact reward was measured
	base            string // name of the common KL reference in eval.json
	soup            string // name of the soup in eval.json
}

// seedSuffix is how a recipe names the stages of one kind that differ in their seed.
var seedSuffix = regexp.MustCompile(`-seed(\d+)$`)

func (o *Options) read() (*material, error) {
	m := &material{soup: "soup", base: o.BaseName, state: &recipe.State{}}
	if o.Soup != "" {
		m.soup = lastName(o.Soup)
	}
	for _, part := range []struct {
		dirs []string
		into *[]*ranRun
	}{{o.SFT, &m.sft}, {o.PPO, &m.ppo}, {o.SALSA, &m.salsa}} {
		for _, dir := range part.dirs {
			run, err := readRun(dir)
			if err != nil {
				return nil, err
			}
			*part.into = append(*part.into, run)
		}
	}
	var err error
	if o.Reward != "" {
		if m.reward, err = readRun(o.Reward); err != nil {
			return nil, err
		}
	}
	if m.sweep, err = o.readSweep(); err != nil {
		return nil, err
	}
	if o.Eval != "" {
		m.eval = &job.Evaluation{}
		if err := readJSON(filepath.Join(o.Eval, job.EvalFile), m.eval); err != nil {
			return nil, err
		}
		if err := check(m.eval, o.Eval); err != nil {
			return nil, err
		}
	}
	if m.base == "" && len(m.sft) > 0 {
		m.base = m.sft[0].name
	}
	m.gold = m.hasGold()
	m.state, err = m.readState(o)
	return m, err
}

// lastName is the last element of a folder's path, the name by which results refer to it.
func lastName(dir string) string { return filepath.Base(filepath.Clean(dir)) }

// readRun reads a run folder: its settings, its metrics and, from the headers alone, its model's size.
func readRun(dir string) (*ranRun, error) {
	r := &ranRun{dir: dir, name: lastName(dir)}
	var err error
	if r.settings, err = options.ReadYAML(filepath.Join(dir, checkpoint.RunFile)); err != nil {
		return nil, err
	}
	if r.rows, err = metrics.Read(filepath.Join(dir, "metrics.jsonl")); err != nil {
		return nil, err
	}
	if r.seed = r.setting("seed"); seedSuffix.MatchString(r.name) {
		r.seed = seedSuffix.FindStringSubmatch(r.name)[1]
	}
	if found, err := filepath.Glob(filepath.Join(dir, "*.safetensors")); err != nil || len(found) == 0 {
		return r, err
	}
	weights, err := safetensors.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range weights.Names() {
		size := int64(1)
		_, info, _ := weights.Lookup(name)
		for _, n := range info.Shape {
			size *= int64(n)
		}
		r.params += size
	}
	return r, nil
}

// setting is a value of run.yaml as text, lists joined; "" if it is not there.
func (r *ranRun) setting(key string) string {
	node := r.settings.Get(key)
	switch {
	case node == nil:
		return ""
	case node.Kind == options.List:
		var items []string
		for _, item := range node.Items {
			items = append(items, item.Text)
		}
		return strings.Join(items, ", ")
	}
	return node.Text
}

// lastOf is the last value of a metric; ok is false where it was never logged.
func (r *ranRun) lastOf(key string) (v float64, ok bool) {
	for i := len(r.rows) - 1; i >= 0; i-- {
		if v, ok = r.rows[i].Values[key]; ok {
			return v, true
		}
	}
	return 0, false
}

// steps is the last step of the run.
func (r *ranRun) steps() int {
	last := 0
	for _, row := range r.rows {
		last = max(last, row.Step)
	}
	return last
}

func (r *ranRun) has(key string) bool { _, ok := r.lastOf(key); return ok }

// readSweep reads sweep.json: of --sweep, where it must be, or of --soup, where it may be.
func (o *Options) readSweep() (*job.Sweep, error) {
	dir := o.Sweep
	if dir == "" {
		dir = o.Soup
	}
	if dir == "" {
		return nil, nil
	}
	s := &job.Sweep{}
	err := readJSON(filepath.Join(dir, job.SweepFile), s)
	if o.Sweep == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return s, err
}

// readJSON reads a result file of another job.
func readJSON(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fault.Inputf("%w; give a folder that holds a %s", err, filepath.Base(path))
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fault.Inputf("%s: %w; make it anew", path, err)
	}
	return nil
}

// check holds the arrays of an eval.json against its number of prompts, so that no later step need ask.
func check(e *job.Evaluation, dir string) error {
	path := filepath.Join(dir, job.EvalFile)
	n := len(e.Prompts) * e.Samples
	for _, m := range e.Models {
		lengths := map[string]int{"length": len(m.Length), "ended": len(m.Ended)}
		for name, have := range map[string]int{"reward": len(m.Reward), "gold": len(m.Gold), "safety": len(m.Safety), "text": len(m.Text)} {
			if have > 0 {
				lengths[name] = have
			}
		}
		for name, kl := range m.KL {
			lengths["kl."+name] = len(kl)
		}
		for _, key := range slices.Sorted(maps.Keys(lengths)) {
			if lengths[key] != n {
				return fault.Inputf("%s: model %s has %d values of %s for %d prompts with %d samples each; make the file anew", path, m.Name, lengths[key], key, len(e.Prompts), e.Samples)
			}
		}
	}
	if len(e.Models) == 0 || n < 2 {
		return fault.Inputf("%s: %d models and %d samples; evaluate at least one model on two prompts", path, len(e.Models), n)
	}
	return nil
}

func (m *material) hasGold() bool {
	for _, run := range append(append([]*ranRun{}, m.ppo...), m.salsa...) {
		if run.has(keyGold) {
			return true
		}
	}
	if m.eval == nil {
		return false
	}
	for i := range m.eval.Models {
		if len(m.eval.Models[i].Gold) > 0 {
			return true
		}
	}
	return false
}

// readState reads the state.json of the pipeline whose stages the folders are; an empty one if they are none.
func (m *material) readState(o *Options) (*recipe.State, error) {
	dirs := append(append(append([]string{}, o.PPO...), o.SALSA...), o.SFT...)
	if o.Eval != "" {
		dirs = append(dirs, o.Eval)
	}
	for _, dir := range dirs {
		out := filepath.Dir(filepath.Dir(filepath.Clean(dir)))
		if _, err := os.Stat(filepath.Join(out, "state.json")); err == nil {
			return recipe.ReadState(out)
		}
	}
	return &recipe.State{}, nil
}

// seconds is the wall time of a stage; 0 if the pipeline does not say.
func (m *material) seconds(stage string) float64 {
	for _, s := range m.state.Stages {
		if s.Name == stage {
			return s.Seconds
		}
	}
	return 0
}

package main

// The memory that a recipe's training stages will take, printed by salsa run --dry-run: before the first stage has
// made a model, its place is taken by the model that it starts from, which has the same shape.

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"salsa/internal/job"
	"salsa/internal/options"
	"salsa/internal/recipe"
)

// planners maps the kinds whose memory can be foretold to what foretells it.
func planners() map[string]func(options any) (*job.Plan, error) {
	known := map[string]func(options any) (*job.Plan, error){}
	for _, k := range plannedKinds() {
		known[k.name] = k.plan
	}
	return known
}

// printMemory writes a line per training stage, and one for all whose memory is not known yet. Rows are taken to be as
// long as --max-length and the context allow.
func printMemory(w io.Writer, plan *recipe.Plan) error {
	known, shapes, width, unknown := planners(), map[string]string{}, 0, 0
	var rows [][2]string
	for _, s := range plan.Stages {
		o, shape := standIn(s, shapes)
		shapes[s.Dir] = shape
		if known[s.Kind] == nil {
			continue
		}
		p, err := known[s.Kind](o)
		switch {
		case err == nil:
			rows, width = append(rows, [2]string{s.Name, p.Summary()}), max(width, len(s.Name))
		case exists(shape):
			return fmt.Errorf("stage %s: %w", s.Name, err)
		default:
			unknown++
		}
	}
	var text strings.Builder
	if len(rows)+unknown > 0 {
		text.WriteString("memory, at most:\n")
	}
	for _, row := range rows {
		fmt.Fprintf(&text, "  %-*s  %s\n", width, row[0], row[1])
	}
	if unknown > 0 {
		fmt.Fprintf(&text, "  of %d training stages not known before the stages that they need have run\n", unknown)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// exists tells whether a folder holds a model's config.
func exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "config.json"))
	return err == nil
}

// standIn returns a copy of a stage's options in which models that do not exist yet are replaced by those of their
// shape, without its data, and the folder whose model has the shape of the stage's own.
func standIn(s *recipe.Stage, shapes map[string]string) (any, string) {
	fresh := reflect.New(reflect.TypeOf(s.Options).Elem())
	fresh.Elem().Set(reflect.ValueOf(s.Options).Elem())
	c := options.Of(fresh.Interface())
	dirs := slices.SortedFunc(maps.Keys(shapes), func(a, b string) int { // the longest first: sft-seed10 before sft-seed1
		return cmp.Or(len(b)-len(a), strings.Compare(a, b))
	})
	own := ""
	for _, key := range []string{"from_config", "model", "members", "reference", "reward_model", "value_model", "watch_models", "guide",
		"safety_model", "reward_policy", "safety_policy"} {
		text, ok := c.Get(key)
		if !ok || text == "" {
			continue
		}
		for _, dir := range dirs {
			text = strings.ReplaceAll(text, dir, shapes[dir])
		}
		if err := c.Set(key, text, s.Where); err != nil {
			continue // a value that a choice has yet to give
		}
		if own == "" {
			own, _, _ = strings.Cut(text, ",")
		}
	}
	for _, key := range []string{"data", "eval_data", "data_weights", "demos"} {
		if c.Has(key) {
			_ = c.Set(key, "", s.Where) // an empty list is a list
		}
	}
	if own == "" || exists(s.Dir) {
		own = s.Dir
	}
	return fresh.Interface(), own
}

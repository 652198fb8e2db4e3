package main

// The memory that a recipe's training stages will take, printed by salsa run --dry-run: before the first stage has
// made a model, its place is taken by the model that it starts from, which has the same shape.

import (
	"cmp"
	"context"
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
	return map[string]func(options any) (*job.Plan, error){
		"sft": plannerOf(job.PlanSFT), "reward": plannerOf(job.PlanReward), "ppo": plannerOf(job.PlanPPO), "dpo": plannerOf(job.PlanDPO),
	}
}

func plannerOf[T any](plan func(context.Context, *T) (*job.Plan, error)) func(any) (*job.Plan, error) {
	return func(o any) (*job.Plan, error) { return plan(context.Background(), o.(*T)) }
}

// printMemory writes a line per training stage. Rows are taken to be as long as --max-length and the context allow.
func printMemory(w io.Writer, plan *recipe.Plan) error {
	known, shapes, width := planners(), map[string]string{}, 0
	for _, s := range plan.Stages {
		if known[s.Kind] != nil {
			width = max(width, len(s.Name))
		}
	}
	if width > 0 {
		fmt.Fprintln(w, "memory, at most:")
	}
	for _, s := range plan.Stages {
		o, shape := standIn(s, shapes)
		shapes[s.Dir] = shape
		if known[s.Kind] == nil {
			continue
		}
		line := "not known before the stages that it needs have run"
		if p, err := known[s.Kind](o); err == nil {
			line = p.Summary()
		} else if exists(shape) {
			return fmt.Errorf("stage %s: %w", s.Name, err)
		}
		if _, err := fmt.Fprintf(w, "  %-*s  %s\n", width, s.Name, line); err != nil {
			return err
		}
	}
	return nil
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
	for _, key := range []string{"from_config", "model", "members", "reference", "reward_model", "value_model", "watch_models"} {
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
	for _, key := range []string{"data", "eval_data", "data_weights"} {
		if c.Has(key) {
			_ = c.Set(key, "", s.Where) // an empty list is a list
		}
	}
	if own == "" || exists(s.Dir) {
		own = s.Dir
	}
	return fresh.Interface(), own
}

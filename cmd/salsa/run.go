package main

// salsa run: a recipe from the first stage to the report.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"salsa/internal/fault"
	"salsa/internal/recipe"
	"salsa/internal/runreport"
	"salsa/recipes"

	"github.com/spf13/cobra"
)

// runFlags are the flags of `salsa run`. They are no options struct: --set addresses stages here.
type runFlags struct {
	out        string
	vars, sets []string
	dryRun     bool
}

func newRunCmd() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run RECIPE.yaml|demo",
		Short: "Run a recipe: the whole pipeline, resumed stage by stage",
		Long: "Run reads a recipe, checks all its stages before the first one starts, and runs them in order.\n" +
			"Stages that are done with the same settings and inputs are skipped; one that was interrupted goes on.",
		Example: "  salsa run demo\n" +
			"  salsa run recipes/tinystories.yaml --var data=DIR --dry-run\n" +
			"  salsa run recipes/tinystories.yaml --var data=DIR --var steps=100 --set sft.max_steps=500 --set '*.threads=1'",
		Args: oneRecipe,
		RunE: func(cmd *cobra.Command, args []string) error { return runRecipe(cmd, args[0], f, stageKinds()) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.out, "out", "", "run folder `DIR` (default runs/ and the recipe's name)")
	fs.StringArrayVar(&f.vars, "var", nil, "value of a recipe variable, `NAME=VALUE`; may be repeated")
	fs.StringArrayVar(&f.sets, "set", nil, "value of a stage's option, `STAGE.KEY=VALUE`, STAGE a name or *; may be repeated")
	fs.BoolVar(&f.dryRun, "dry-run", false, "check everything, print the plan and the memory of its stages, and change nothing")
	return cmd
}

// oneRecipe asks for the recipe by what it is, not by a count.
func oneRecipe(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 1:
		return nil
	case 0:
		return errors.New("no recipe is given: name a YAML file, or demo")
	default:
		return fmt.Errorf("one recipe at a time, and %d are given", len(args))
	}
}

func runRecipe(cmd *cobra.Command, path string, f runFlags, kinds map[string]stageKind) error {
	data, err := readRecipe(path)
	if err != nil {
		return err
	}
	plan, err := recipe.Load(path, data, recipe.Params{Out: f.out, Vars: f.vars, Sets: f.sets, Kinds: defaultsOf(kinds)})
	if err != nil {
		return err
	}
	if err := errors.Join(checkProfiles(plan), checkBudgets(plan)); err != nil {
		return err
	}
	runner := &recipe.Runner{
		Plan: plan, Sets: f.sets, Console: cmd.ErrOrStderr(), Exec: execStage(kinds),
		Version: func(kind string) string { return kinds[kind].version },
	}
	if f.dryRun {
		runner.Console = cmd.OutOrStdout()
		if err := runner.Preview(); err != nil {
			return err
		}
		return printMemory(cmd.OutOrStdout(), plan)
	}
	if err := runner.Run(cmd.Context()); err != nil {
		return err
	}
	for _, s := range plan.Stages {
		if s.Kind == "report" || s.Kind == "compare" {
			fmt.Fprintf(cmd.ErrOrStderr(), "report: %s\n", filepath.Join(s.Dir, runreport.Page))
		}
	}
	return nil
}

// readRecipe returns the text of a recipe: an embedded one by its name, or a file.
func readRecipe(path string) ([]byte, error) {
	if path == "demo" {
		return recipes.Demo, nil
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fault.Inputf("%s: no such recipe; give the path of a YAML file, or demo", path)
	case err != nil:
		return nil, fault.Inputf("%s: cannot be read: %w; give the path of a YAML file, or demo", path, errors.Unwrap(err))
	}
	return data, nil
}

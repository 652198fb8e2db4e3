package main

// What the commands that only look have in common: their result is the output.

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"salsa/internal/job"
	"salsa/internal/options"

	"github.com/spf13/cobra"
)

// newShowCmd makes a command whose flags are the fields of a job's options and that prints the job's result: as
// text, or with --json as one JSON object on one line. A result that comes with an error is printed before it. The
// options in waived need not be given.
func newShowCmd[T any, R job.Shown](cmd *cobra.Command, defaults func() T, run func(ctx context.Context, o *T) (R, error), waived ...string) *cobra.Command {
	o := defaults()
	if cmd.Args == nil {
		cmd.Args = noArguments
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		result, err := run(cmd.Context(), &o)
		if reflect.ValueOf(&result).Elem().IsNil() {
			return err
		}
		asJSON, _ := options.Of(&o).Get("json")
		if printErr := show(cmd, result, asJSON == "true"); printErr != nil {
			return printErr
		}
		return err
	}
	options.Bind(cmd.Flags(), &o, waived...)
	return cmd
}

func show(cmd *cobra.Command, result job.Shown, asJSON bool) error {
	if !asJSON {
		return result.WriteText(cmd.OutOrStdout())
	}
	line, err := json.Marshal(result)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", line)
	return err
}

// oneArgument makes a command's single argument the value of its flag name, so that both spellings work.
func oneArgument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && !cmd.Flags().Changed(name) {
			return cmd.Flags().Set(name, args[0])
		}
		if len(args) > 0 {
			return fmt.Errorf("one --%s, and %d are given", name, max(2, len(args)))
		}
		return nil
	}
}

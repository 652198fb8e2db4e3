package main

// What all commands that run a job have in common.

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"salsa/internal/job"
	"salsa/internal/options"

	"github.com/spf13/cobra"
)

// newJobCmd makes a command whose flags are the fields of a job's options and whose action is the job. With --json
// the last line on standard output is one JSON object with the job's final scalars.
func newJobCmd[T any](cmd *cobra.Command, defaults func() T, run func(ctx context.Context, o *T) (map[string]float64, error)) *cobra.Command {
	o := defaults()
	if cmd.Args == nil {
		cmd.Args = noArguments
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var scalars map[string]float64
		err := job.Perform(cmd.Context(), &o, givenTo(cmd), func() (err error) {
			scalars, err = run(cmd.Context(), &o)
			return err
		})
		if err != nil {
			return err
		}
		if asJSON, _ := options.Of(&o).Get("json"); asJSON == "true" {
			return printJSON(cmd, scalars)
		}
		return nil
	}
	options.Bind(cmd.Flags(), &o)
	return cmd
}

// givenTo tells of a key whether its flag was given.
func givenTo(cmd *cobra.Command) func(key string) bool {
	return func(key string) bool { return cmd.Flags().Changed(strings.ReplaceAll(key, "_", "-")) }
}

// noArguments refuses arguments of a command whose inputs are all flags.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q: every input has a flag", args[0])
	}
	return nil
}

// printJSON writes scalars as one object with sorted keys; numbers that JSON lacks become null.
func printJSON(cmd *cobra.Command, scalars map[string]float64) error {
	out := make(map[string]any, len(scalars))
	for k, v := range scalars {
		out[k] = v
		if math.IsNaN(v) || math.IsInf(v, 0) {
			out[k] = nil
		}
	}
	line, err := json.Marshal(out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", line)
	return err
}

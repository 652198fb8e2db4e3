package main

// salsa compare: many methods against one baseline.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"salsa/internal/runreport"

	"github.com/spf13/cobra"
)

func newCompareCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "compare",
		Short: "Compare many methods with a baseline: a page and a table in Markdown",
		Long: "Compare reads one or more eval.json, made on the same prompts, and the run folders that they name. It writes for each\n" +
			"method rewards, KL and win rate against the baseline with intervals over prompts and spread over seeds, length, samples\n" +
			"drawn and time; and reward over KL with every method as a point.",
		Example: "  salsa compare --eval runs/eval --out runs/compare\n" +
			"  salsa compare --eval runs/eval1,runs/eval2 --baseline ppo --methods salsa=runs/a,runs/b --methods ppo=runs/c,runs/d --out runs/compare",
	}, runreport.DefaultCompare, func(ctx context.Context, o *runreport.CompareOptions) (map[string]float64, error) {
		numbers, err := runreport.Compare(ctx, o)
		if err == nil {
			fmt.Fprintf(os.Stderr, "report: %s\ntable: %s\n", filepath.Join(o.Out, runreport.Page), filepath.Join(o.Out, runreport.CompareTable))
		}
		return numbers, err
	})
}

package main

// salsa report: the page that says what a comparison found.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"salsa/internal/runreport"

	"github.com/spf13/cobra"
)

func newReportCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "report",
		Short: "Write the report of a comparison of PPO and SALSA",
		Long: "Report reads run folders and writes one self-contained page: verdict with intervals, reward against KL, learning\n" +
			"curves, the sweep over mixes, the final evaluation and samples. Parts that are missing are named, not guessed.",
		Example: "  salsa report --ppo runs/ppo1,runs/ppo2 --salsa runs/salsa1,runs/salsa2 --eval runs/eval --sft runs/sft1,runs/sft2 --out runs/report",
	}, runreport.Default, func(ctx context.Context, o *runreport.Options) (map[string]float64, error) {
		numbers, err := runreport.Write(ctx, o)
		if err == nil {
			fmt.Fprintf(os.Stderr, "report: %s\n", filepath.Join(o.Out, runreport.Page))
		}
		return numbers, err
	})
}

package main

// salsa inspect: what a folder holds.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newInspectCmd() *cobra.Command {
	return newShowCmd(&cobra.Command{
		Use:   "inspect DIR",
		Short: "Show what a model, run or checkpoint folder holds",
		Long: "Inspect reads configs, headers and manifests: architecture, sizes, parameters by part, every tensor, tokenizer and chat\n" +
			"template with their hashes, and which checkpoints of a run are intact. No weight is loaded; config.json alone is enough.",
		Example: "  salsa inspect llama-3.2-1b\n" +
			"  salsa inspect runs/ppo --digest --json",
		Args: oneArgument("dir"),
	}, job.DefaultInspect, job.Inspect)
}

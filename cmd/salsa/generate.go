package main

// salsa generate: completions for a file of prompts.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newGenerateCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:     "generate",
		Short:   "Complete a file of prompts",
		Long:    "Generate writes completions for the prompts of --data. The result of a row depends on its prompt and seed alone, not on the batch.",
		Example: "  salsa generate --model runs/salsa --data prompts.jsonl --out out.jsonl --max-new-tokens 64 --temperature 0",
	}, job.DefaultGenerate, job.Generate)
}

package main

// salsa eval: models side by side on the same prompts.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newEvalCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:     "eval",
		Short:   "Compare models on the same held-out prompts",
		Long:    "Eval samples completions of every model and measures reward, exact reward where there is one, KL to common references and length.",
		Example: "  salsa eval --models runs/ppo,runs/salsa --reward-model runs/rm --kl-to runs/sft1 --data prompts.jsonl --out runs/eval",
	}, job.DefaultEval, job.Eval)
}

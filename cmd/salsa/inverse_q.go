package main

// salsa inverse-q: credit for tokens from a better model, or from the same model that is told how to answer.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newInverseQCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "inverse-q",
		Short: "Inverse-Q*: token-level credit from a guide, no reward model",
		Long: "Inverse-q samples completions and gives each token the log-ratio of a guide to the reference as its advantage. The guide\n" +
			"is another model (a DPO run, a soup), or the reference itself with advice before its prompt. The method's paper states\n" +
			"its objective in outline only; this is a reconstruction from the token-level identities of \"From r to Q*\".",
		Example: "  salsa inverse-q --model runs/sft1 --reference runs/sft1 --guide runs/dpo --data prompts.jsonl --out runs/iq\n" +
			"  salsa inverse-q --model runs/sft1 --reference runs/sft1 --strategy 'Answer briefly and kindly. ' --data prompts.jsonl --out runs/iq",
	}, job.DefaultInverseQ, job.InverseQ)
}

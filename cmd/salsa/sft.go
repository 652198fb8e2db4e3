package main

// salsa sft: supervised fine-tuning and pretraining.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newSFTCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "sft",
		Short: "Fine-tune a model on demonstrations, or pretrain one from a config",
		Long: "Sft trains on the completions of --data: the loss is the mean over all target tokens of a batch. Rows are prompts\n" +
			"with completions, chat messages, preference pairs (the chosen side) or plain text.",
		Example: "  salsa sft --model llama-3.2-1b --data demos.jsonl --out runs/sft1 --seed 1\n" +
			"  salsa sft --from-config tiny --data corpus.txt --out runs/base --max-steps 500",
	}, job.DefaultSFT, job.SFT)
}

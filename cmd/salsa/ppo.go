package main

// salsa ppo: the policy against a reward model and a reference; with a soup as reference, SALSA.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newPPOCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "ppo",
		Short: "PPO against a reference model; with a soup as reference, SALSA",
		Long: "Ppo samples completions, scores them with a reward model, penalises the KL to a frozen reference and takes clipped\n" +
			"policy steps. The reference is any model; several folders separated by commas are averaged into a soup on the fly.",
		Example: "  salsa ppo --model runs/sft1 --reference runs/sft1 --reward-model runs/rm --data prompts.jsonl --out runs/ppo\n" +
			"  salsa ppo --model runs/sft1 --reference runs/sft1,runs/sft2@0.5,0.5 --reward-model runs/rm --data prompts.jsonl --out runs/salsa",
	}, job.DefaultPPO, job.PPO)
}

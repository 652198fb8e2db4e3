package main

// salsa rloo and salsa grpo: online methods that compare the completions of a prompt with one another.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newRLOOCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "rloo",
		Short: "RLOO: REINFORCE with a leave-one-out baseline, no critic",
		Long: "Rloo samples several completions of each prompt, scores them with a reward model less the KL to a frozen reference, and\n" +
			"reinforces a completion as far as it beats the mean of its prompt's others. The reference may be a soup.",
		Example: "  salsa rloo --model runs/sft1 --reference runs/sft1 --reward-model runs/rm --data prompts.jsonl --num-generations 4 --out runs/rloo",
	}, job.DefaultRLOO, job.RLOO)
}

func newGRPOCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "grpo",
		Short: "GRPO, DAPO, Dr. GRPO: advantages relative to a group, no critic",
		Long: "Grpo samples several completions of each prompt and reinforces the tokens of a completion by its score relative to its\n" +
			"prompt's others. The KL to the reference, if --kl-coef is above 0, is a term of the loss. The reference may be a soup.",
		Example: "  salsa grpo --model runs/sft1 --reference runs/sft1 --reward-model runs/rm --data prompts.jsonl --num-generations 8 --out runs/grpo\n" +
			"  salsa grpo --loss-type dr_grpo --scale-rewards=false --model runs/sft1 --reference runs/sft1 --reward-model runs/rm --data prompts.jsonl --out runs/dr",
	}, job.DefaultGRPO, job.GRPO)
}

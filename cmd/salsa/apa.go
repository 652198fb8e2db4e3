package main

// salsa apa: regression of the policy on advantages.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newAPACmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "apa",
		Short: "APA: regress log-ratios on advantages; --loss awr is its baseline",
		Long: "Apa samples and scores completions as PPO does and moves the policy's log-ratio to the reference towards advantage/λ by\n" +
			"least squares: no ratio to clip and no KL in the reward. --loss awr weighs the likelihood by exp(advantage/λ) instead.\n" +
			"Advantages are whitened, so --temperature-lambda alone sets how far the policy is asked to move.",
		Example: "  salsa apa --model runs/sft1 --reference runs/sft1 --reward-model runs/rm --data prompts.jsonl --out runs/apa\n" +
			"  salsa apa --loss awr --temperature-lambda 1 --model runs/sft1 --reference runs/sft1 --reward-model runs/rm --data prompts.jsonl --out runs/awr",
	}, job.DefaultAPA, job.APA)
}

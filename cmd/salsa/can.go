package main

// salsa can: constrained alignment in one shot.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newCANCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "can",
		Short: "One-shot safety alignment (MoCAN, PeCAN): the most reward under a bound on safety",
		Long: "Can maximises reward under the constraint that mean safety rises by --safety-bound over the reference's, or reaches\n" +
			"--safety-target. It draws completions of the reference, scores them for both, finds the one number λ* at which reward +\n" +
			"λ*·safety keeps the bound with the least loss of reward, labels pairs of the completions by it, and aligns once as\n" +
			"salsa dpo does. What the aligned model reaches is measured beside what was predicted: can.json.\n\n" +
			"With --dual-only it ends before the alignment, so that bounds can be tried; --samples-dir keeps the scored completions\n" +
			"for all of them.",
		Example: "  salsa can --model runs/sft1 --reward-model runs/rm --safety-model runs/safety --safety-bound 0.5 --data prompts.jsonl --out runs/can\n" +
			"  salsa can --dual-only --safety-bound 0,0.5,1 --samples-dir runs/scored --model runs/sft1 --reward-model runs/rm --safety-model runs/safety \\\n" +
			"            --data prompts.jsonl --out runs/bounds\n" +
			"  salsa can --mode pecan --reward-policy runs/helpful --safety-policy runs/safe --safety-bound 0.05 --model runs/sft1 --data prompts.jsonl --out runs/pecan",
	}, job.DefaultCAN, job.CAN)
}

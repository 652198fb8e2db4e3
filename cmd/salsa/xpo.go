package main

// salsa xpo: pairs of fresh answers, ranked by a reward model.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newXPOCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "xpo",
		Short: "XPO: online preference optimisation with exploration; --alpha 0 is online DPO",
		Long: "Xpo answers every prompt twice, by the policy and by the reference, lets a reward model rank the answers and takes a\n" +
			"DPO step on the pair. --alpha weighs the exploration bonus, which makes the reference's own answers less likely; it is\n" +
			"logged apart as loss/xpo. With --alpha 0 --pair-with policy both answers are the policy's: online DPO.",
		Example: "  salsa xpo --model runs/sft1 --reference runs/sft1 --reward-model runs/rm --data prompts.jsonl --out runs/xpo\n" +
			"  salsa xpo --alpha 0 --pair-with policy --model runs/sft1 --reference runs/sft1 --reward-model runs/rm --data prompts.jsonl --out runs/odpo",
	}, job.DefaultXPO, job.XPO)
}

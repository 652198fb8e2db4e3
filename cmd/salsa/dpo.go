package main

// salsa dpo, with the losses that the trainer knows.

import (
	"strings"

	"salsa/internal/job"
	"salsa/trainers"

	"github.com/spf13/cobra"
)

func newDPOCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "dpo",
		Short: "Preference optimisation on pairs: DPO, IPO, SimPO and more",
		Long: "Dpo trains on pairs of a chosen and a rejected completion, with no reward model and no sampling. --loss picks the\n" +
			"objective. The reference is any model; several folders separated by commas are averaged into a soup on the fly. Its\n" +
			"log-probabilities are computed once, before training, and kept on disk.\n\nLosses: " + strings.Join(trainers.PairLossNames(), ", ") + ".",
		Example: "  salsa dpo --model runs/sft1 --reference runs/sft1 --data pairs.jsonl --holdout 0.1 --out runs/dpo\n" +
			"  salsa dpo --model runs/sft1 --reference runs/sft1,runs/sft2 --loss ipo --data pairs.jsonl --out runs/ipo\n" +
			"  salsa dpo --model runs/sft1 --loss simpo --beta 2 --gamma 0.5 --data pairs.jsonl --out runs/simpo",
	}, job.DefaultDPO, job.DPO)
}

package main

// salsa reward: a reward model from preference pairs.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newRewardCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "reward",
		Short: "Train a Bradley-Terry reward model on preference pairs",
		Long: "Reward puts a scalar head on a language model and trains both on pairs of a chosen and a rejected completion.\n" +
			"The result is a …ForSequenceClassification folder that salsa and transformers load.",
		Example: "  salsa reward --model runs/sft1 --data pairs.jsonl --holdout 0.1 --out runs/rm",
	}, job.DefaultReward, job.Reward)
}

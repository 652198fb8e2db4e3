package main

// salsa aihf: demonstrations and preferences learned from together.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newAIHFCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "aihf",
		Short: "AIHF: learn from demonstrations and preferences together, in three forms",
		Long: "Aihf learns from --demos, rows as for salsa sft, and --data, pairs as for salsa dpo, at once (arXiv 2406.06874). --form direct\n" +
			"adds -log π of the demonstrations to DPO's loss; self-play prefers them to the policy's own answers, drawn anew every\n" +
			"--round-steps, beside DPO; alternate teaches --reward-model from both every round and the policy from it, by PPO or APA.\n" +
			"The forms are a reconstruction: the paper's full text was not at hand. An option that the form does not read is refused.",
		Example: "  salsa aihf --model runs/sft1 --reference runs/sft1 --demos sft.jsonl --data pairs.jsonl --out runs/aihf\n" +
			"  salsa aihf --form alternate --model runs/sft1 --reference runs/sft1 --reward-model runs/rm --demos sft.jsonl --data pairs.jsonl --out runs/aihf-alt",
	}, job.DefaultAIHF, job.AIHF)
}

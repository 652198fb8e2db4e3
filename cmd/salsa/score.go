package main

// salsa score: what a model thinks of given completions.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newScoreCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "score",
		Short: "Log-probabilities of completions, or rewards",
		Long: "Score writes a row for each row of --data: the log-probability of every completion token under a language model, or the reward" +
			" of a reward model at the last token. No eos is added.",
		Example: "  salsa score --model runs/sft1 --reference runs/soup --data held.jsonl --out scores.jsonl",
	}, job.DefaultScore, job.Score)
}

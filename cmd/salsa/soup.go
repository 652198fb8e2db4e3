package main

// salsa soup: averages of checkpoints. Its arguments are its members.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newSoupCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "soup --out DIR MEMBER MEMBER...",
		Short: "Average checkpoints weight by weight; sweep the mix between two",
		Long: "Soup mixes fine-tunes of one base model. Everything that does not fit is found in the headers, before a weight is read.\n" +
			"With --sweep it also measures held-out loss, reward and KL at each mix of two members.",
		Example: "  salsa soup --out runs/soup runs/sft1 runs/sft2\n" +
			"  salsa soup --out runs/soup --weights .3,.7 --sweep 0:1:0.1 --eval-data held.jsonl --reward-model runs/rm runs/sft1 runs/sft2",
		Args: func(cmd *cobra.Command, args []string) error {
			for _, dir := range args { // an argument is a --members
				if err := cmd.Flags().Set("members", dir); err != nil {
					return err
				}
			}
			return nil
		},
	}, job.DefaultSoup, job.Soup)
}

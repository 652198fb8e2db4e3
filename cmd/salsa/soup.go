package main

// salsa soup: averages of checkpoints. Its arguments are its members.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newSoupCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "soup --out DIR MEMBER MEMBER...",
		Short: "Mix checkpoints weight by weight; measure what lies between and around two",
		Long: "Soup mixes fine-tunes of one base model, language or reward models, streamed in blocks of a few MB. Everything that does\n" +
			"not fit is found in the headers, before a weight is read; an option that the method does not read is refused.\n\n" +
			"  linear           Σ w·θ, the soup of SALSA and WARM\n" +
			"  slerp            along the arc between two members; of task vectors if --base is given (WARP)\n" +
			"  task_arithmetic  base + λ·Σ w·(θ - base)\n" +
			"  ties             the largest entries of each task vector, where signs agree\n" +
			"  dare_linear      task vectors with entries dropped at random; dare_ties where signs agree\n" +
			"  model_stock      from the base towards the mean, as far as the task vectors' angles say\n" +
			"  greedy           members join in the order of a held-out metric unless it gets worse\n" +
			"  ema              moving average over checkpoints in their order\n\n" +
			"With --sweep it also measures held-out loss, reward and KL at each mix of two members; with --probe the line beyond both\n" +
			"ends and random directions around the soup and the first member.",
		Example: "  salsa soup --out runs/soup runs/sft1 runs/sft2\n" +
			"  salsa soup --out runs/soup --weights .3,.7 --sweep 0:1:0.1 --eval-data held.jsonl --reward-model runs/rm runs/sft1 runs/sft2\n" +
			"  salsa soup --out runs/ties --method ties --density 0.2 --base runs/base runs/sft1 runs/sft2 runs/sft3\n" +
			"  salsa soup --out runs/warp --method slerp --liti 0.3 --base runs/base runs/ppo1 runs/ppo2\n" +
			"  salsa soup --out runs/layers --layer-weights layers.0-15=0.7,0.3 --layer-weights lm_head=0,1 runs/sft1 runs/sft2\n" +
			"  salsa soup --out runs/probe --probe --eval-data held.jsonl --reward-model runs/rm runs/sft1 runs/sft2",
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

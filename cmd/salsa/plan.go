package main

// salsa plan: the memory of a run, before it is started.

import (
	"context"

	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newPlanCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Predict the memory of a run before anything is loaded",
		Long: "Plan takes a command's own flags and prints the bytes of every network, its gradients and its optimizer, and what each\n" +
			"phase of the run has on top: key-value cache, activations, buffers. It reads configs and data, no weights.",
		Example: "  salsa plan ppo --model llama-2-7b --reference llama-2-7b --reward-model llama-2-7b --dtype bfloat16 --max-length 512\n" +
			"  salsa plan sft --model llama-3.2-1b --data demos.jsonl --micro-batch-size 4 --json",
		Args: cobra.ArbitraryArgs,
		RunE: needCommand,
	}
	cmd.AddCommand(planCmd("sft", job.DefaultSFT, job.PlanSFT), planCmd("reward", job.DefaultReward, job.PlanReward),
		planCmd("ppo", job.DefaultPPO, job.PlanPPO), planCmd("dpo", job.DefaultDPO, job.PlanDPO))
	return cmd
}

// planCmd plans the command called name. It writes nothing, so --out need not be given; without --data rows are
// taken to be as long as they may be.
func planCmd[T any](name string, defaults func() T, plan func(context.Context, *T) (*job.Plan, error)) *cobra.Command {
	return newShowCmd(&cobra.Command{
		Use:   name,
		Short: "Predict the memory of salsa " + name,
		Long:  "Takes the flags of salsa " + name + ". Without --data all rows are taken to be as long as --max-length and the context allow.",
	}, defaults, plan, "out", "data")
}

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
			"phase of the run has on top: key-value cache, activations, buffers. It reads configs and data, no weights. Every command\n" +
			"that trains can be planned; salsa run --dry-run does it for all stages of a recipe.",
		Example: "  salsa plan ppo --model llama-2-7b --reference llama-2-7b --reward-model llama-2-7b --dtype bfloat16 --max-length 512\n" +
			"  salsa plan sft --model llama-3.2-1b --data demos.jsonl --micro-batch-size 4 --json",
		Args: cobra.ArbitraryArgs,
		RunE: needCommand,
	}
	for _, k := range plannedKinds() {
		cmd.AddCommand(k.cmd)
	}
	return cmd
}

// planned annotates the commands that only foretell a run: --device names where it would compute, which need not be here.
const planned = "salsa_planned"

// plannedKind is a command whose memory can be foretold, and a recipe's stage of the same name.
type plannedKind struct {
	name string
	cmd  *cobra.Command
	plan func(options any) (*job.Plan, error)
}

// plannedKinds are all of them, in the order of the help.
func plannedKinds() []plannedKind {
	return []plannedKind{
		planOf("sft", job.DefaultSFT, job.PlanSFT), planOf("reward", job.DefaultReward, job.PlanReward),
		planOf("ppo", job.DefaultPPO, job.PlanPPO), planOf("apa", job.DefaultAPA, job.PlanAPA),
		planOf("rloo", job.DefaultRLOO, job.PlanRLOO), planOf("grpo", job.DefaultGRPO, job.PlanGRPO),
		planOf("xpo", job.DefaultXPO, job.PlanXPO), planOf("inverse-q", job.DefaultInverseQ, job.PlanInverseQ),
		planOf("dpo", job.DefaultDPO, job.PlanDPO), planOf("aihf", job.DefaultAIHF, job.PlanAIHF),
		planOf("rso", job.DefaultRSO, job.PlanRSO), planOf("can", job.DefaultCAN, job.PlanCAN),
	}
}

func planOf[T any](name string, defaults func() T, plan func(context.Context, *T) (*job.Plan, error)) plannedKind {
	return plannedKind{name, planCmd(name, defaults, plan), func(o any) (*job.Plan, error) {
		if err := job.FitMemory(context.Background(), o, nil); err != nil {
			return nil, err
		}
		return plan(context.Background(), o.(*T))
	}}
}

// planCmd plans the command called name. It writes nothing, so --out need not be given; without --data rows are
// taken to be as long as they may be.
func planCmd[T any](name string, defaults func() T, plan func(context.Context, *T) (*job.Plan, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:         name,
		Annotations: map[string]string{planned: "yes"},
		Short:       "Predict the memory of salsa " + name,
		Long: "Takes the flags of salsa " + name + ". Without --data all rows are taken to be as long as --max-length and the context allow.\n" +
			"With --memory-budget it is the plan of the run that fits.",
	}
	return newShowCmd(cmd, defaults, func(ctx context.Context, o *T) (*job.Plan, error) {
		if err := job.FitMemory(ctx, o, givenTo(cmd)); err != nil {
			return nil, err
		}
		return plan(ctx, o)
	}, "out", "data")
}

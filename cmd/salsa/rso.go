package main

// salsa rso: pairs from the SFT model itself, sifted by rejection sampling; also best-of-N.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newRSOCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:   "rso",
		Short: "Rejection sampling optimisation: pairs from the SFT model and a reward model; best-of-N",
		Long: "Rso draws candidates from an SFT model, scores them with a reward model and accepts a few of every prompt by statistical\n" +
			"rejection sampling (RSO, arXiv 2309.06657), as if they came from model·exp(reward/beta). The accepted ones are paired by\n" +
			"reward, and the policy learns from the pairs against a reference, which may be a soup. The paper's ranker compares two\n" +
			"completions, r(x,y) = logit ρ(x,y,y_b) with a fixed completion y_b; salsa's reward model scores one, r(x,y) itself.\n\n" +
			"The run folder has candidates.jsonl (every unique candidate with its score), pairs.jsonl (for salsa dpo or another\n" +
			"trainer) and rso.json (counts, acceptance, mean rewards). --select best writes best.jsonl for salsa sft instead.\n" +
			"Best-of-N is the limit of --beta 0.",
		Example: "  salsa rso --model runs/sft1 --reward-model runs/rm --data prompts.jsonl --out runs/rso\n" +
			"  salsa rso --model runs/sft1 --reward-model runs/rm --data prompts.jsonl --pairs-only --out runs/pairs\n" +
			"  salsa dpo --model runs/sft1 --reference runs/sft1 --data runs/pairs/pairs.jsonl --loss ipo --out runs/ipo\n" +
			"  salsa rso --model runs/sft1 --reward-model runs/rm --data prompts.jsonl --select best --out runs/best\n" +
			"  salsa sft --model runs/sft1 --data runs/best/best.jsonl --out runs/raft",
	}, job.DefaultRSO, job.RSO)
}

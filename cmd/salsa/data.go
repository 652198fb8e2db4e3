package main

// salsa data check: what is in a data set, before it is trained on.

import (
	"context"
	"os"

	"salsa/internal/job"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newDataCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data",
		Short: "Look at data before training on it",
		Args:  cobra.ArbitraryArgs,
		RunE:  needCommand,
	}
	var check *cobra.Command
	check = newShowCmd(&cobra.Command{
		Use:   "check",
		Short: "Report lengths, duplicates, leaks, truncation and missing stops",
		Long: "Check encodes the rows as training would and reports lengths, repeated rows and prompts, prompts that leaked into the\n" +
			"evaluation data, what --max-length would cut, completions without a stop token, and one row's tokens with the targets\n" +
			"of the loss coloured. It ends with exit code 2 if rows cannot be trained on.",
		Example: "  salsa data check --model llama-3.2-1b --data train.jsonl --eval-data held.jsonl --html check.html\n" +
			"  salsa data check --tokenizer tokenizer.json --eos '</s>' --data train.jsonl --row 17",
	}, job.DefaultDataCheck, func(ctx context.Context, o *job.DataCheckOptions) (*job.CheckedData, error) {
		o.Colours = isTerminal(check.OutOrStdout()) && os.Getenv("NO_COLOR") == ""
		return job.DataCheck(ctx, o)
	})
	cmd.AddCommand(check)
	return cmd
}

// isTerminal tells whether a stream is one that a person looks at.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

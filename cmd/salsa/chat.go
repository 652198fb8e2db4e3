package main

// salsa chat: talk to a model. In a terminal Ctrl-C stops the answer, not the program.

import (
	"context"
	"os"
	"os/signal"

	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newChatCmd() *cobra.Command {
	var cmd *cobra.Command
	cmd = newJobCmd(&cobra.Command{
		Use:   "chat",
		Short: "Talk to a model in the terminal",
		Long: "Chat streams answers. A model with a chat template holds a conversation; one without completes each line by itself.\n" +
			"In a terminal Ctrl-C stops the answer, /reset forgets the conversation, Ctrl-D or /exit leaves. Through a pipe each line\n" +
			"of standard input is a prompt, and only the answers go to standard output.",
		Example: "  salsa chat --model runs/salsa --system 'Answer briefly.'\n" +
			"  printf 'Once upon a time\\n' | salsa chat --model tinystories --temperature 0",
	}, job.DefaultChat, func(ctx context.Context, o *job.ChatOptions) (map[string]float64, error) {
		term := job.Terminal{In: cmd.InOrStdin(), Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr(), Interactive: isTerminal(cmd.InOrStdin())}
		if term.Interactive {
			signal.Reset(os.Interrupt) // main's handler would end the program
			interrupts := make(chan os.Signal, 1)
			signal.Notify(interrupts, os.Interrupt)
			term.Interrupts = interrupts
		}
		return job.Chat(ctx, o, term)
	})
	return cmd
}

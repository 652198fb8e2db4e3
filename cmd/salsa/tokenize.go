package main

// salsa tokenize: a tokenizer at work, for comparison with others.

import (
	"salsa/internal/job"

	"github.com/spf13/cobra"
)

func newTokenizeCmd() *cobra.Command {
	return newJobCmd(&cobra.Command{
		Use:     "tokenize",
		Short:   "Show what a tokenizer makes of texts and ids",
		Long:    "Tokenize reads rows with text, bytes_b64 or decode_ids and writes ids, offsets and decoded text.",
		Example: "  salsa tokenize --tokenizer llama-3.2-1b --data texts.jsonl --out ids.jsonl",
	}, job.DefaultTokenize, job.Tokenize)
}

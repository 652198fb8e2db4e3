// Package models runs Llama, Mistral, Gemma and Qwen decoders from Hugging Face folders: language models, and
// the reward and value models built on them.
//
//	m, err := models.Load("llama-2-7b", models.Options{DType: tensor.BFloat16, Device: tensor.CPU})
//	in := models.Collate([][]int{{1, 15043, 3186}})
//	logits := m.Logits(m.Hidden(in, nil)) // [1, 3, V]
//
// Letters in shape comments: B rows, T tokens of a row, D hidden size, V vocabulary, N targets, S cache slots,
// G key-value heads, K head dimension.
//
// A family is a file that reads its config keys and states what is special about its layers; decoder.go holds
// what all share. Load, Save, New, Generate and the checkpoints return errors; Hidden, Logits, LogProbs and
// the scorer's methods are arithmetic and panic with *tensor.Error, which the caller's tensor.Scope returns.
package models

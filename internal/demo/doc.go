// Package demo makes a small RLHF task out of nothing but a seed: salsa recipes, with a gold reward that is known
// exactly. It lets anybody watch, in minutes and without downloads, what RLHF does when its reward model is good but
// not perfect: the gold reward first rises with the learned one and then falls. Describe tells the whole story.
//
// The task is in taste.go (tables) and gold.go (the reward), its people in cook.go (writes demonstrations) and pairs.go
// (compares them), its files in vocabulary.go, tokenizer.go and data.go. Nothing here uses libtorch.
package demo

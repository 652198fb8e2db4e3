// Package trainers holds the methods: supervised fine-tuning, Bradley–Terry reward models, preference optimisation on
// pairs (DPO and its relatives) and PPO, whose KL reference may be any model (SALSA's is a soup).
//
// A method is one file that implements Trainer on three shared pieces: Rollout samples and scores completions,
// Update turns the losses of micro-batches into one optimizer step, and Loop runs the steps, logs, saves,
// resumes and stops on a signal. A loss is a pure function of tensors in losses.go and
// pair_losses.go; advantages are plain Go in advantage.go.
//
// Letters in shapes: B sequences, T tokens of the longest one, N target tokens of all of them.
package trainers

package trainers

// Networks with adapters: a checkpoint keeps the adapters alone, a finished run has the whole model and the adapters
// beside it.

import (
	"path/filepath"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/models"
)

// Publisher is a Trainer whose finished networks are written otherwise than those of a checkpoint.
type Publisher interface {
	// Publish writes the finished networks into dir, the main one as a Hugging Face folder at its top.
	Publish(dir string) error
}

// AdapterDir is the PEFT folder inside the folder of a finished network that was trained by its adapters.
const AdapterDir = "adapter"

// PartsFunc returns the trained networks of a run as the parts of a folder, the main one at its top.
type PartsFunc func() []checkpoint.Part

// keep returns what a checkpoint must hold of a network: the adapters, if it has any, as a PEFT folder.
func keep[M models.Model](m M, save func(m M) []checkpoint.Part) ([]checkpoint.Part, error) {
	if models.Adapted(m) {
		return models.AdapterParts(m)
	}
	return save(m), nil
}

// publishNetwork writes a finished network whole, adapters folded in, and the adapters beside it.
func publishNetwork[M models.Model](dir string, m M, save func(m M) []checkpoint.Part) error {
	if err := checkpoint.WriteParts(dir, save(m)); err != nil {
		return err
	}
	return publishAdapter(dir, m)
}

// publishAdapter writes the adapters of the network in dir, if it has any, with the tokenizer's files, if there are any.
func publishAdapter(dir string, m models.Model) error {
	if !models.Adapted(m) {
		return nil
	}
	adapter := filepath.Join(dir, AdapterDir)
	if err := models.SaveAdapter(adapter, m); err != nil || !models.HasTokenizer(dir) {
		return err
	}
	return models.CopyTokenizer(adapter, dir)
}

// Publish implements Publisher.
func (s *SFT) Publish(dir string) error { return publishNetwork(dir, s.model, s.save) }

// Publish implements Publisher.
func (r *Reward) Publish(dir string) error { return publishNetwork(dir, r.model, r.save) }

// Publish implements Publisher.
func (d *DPO) Publish(dir string) error { return publishNetwork(dir, d.model, d.save) }

// noNoise refuses dropout: an online method compares the policy with itself, and must start at 1.
func noNoise(cast Cast) error {
	params := models.Trainable(cast.Policy)
	if cast.Value != nil {
		params = append(params, models.Trainable(cast.Value)...)
	}
	for _, p := range params {
		if p.Dropout != nil && p.Dropout.Rate > 0 {
			return fault.Inputf("LoRA dropout %g: PPO compares a policy's probabilities with those it sampled by, which noise would change; use 0", p.Dropout.Rate)
		}
	}
	return nil
}

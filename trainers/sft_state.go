package trainers

// What SFT saves beside its weights.

import (
	"encoding/json"

	"salsa/internal/checkpoint"
)

type sftState struct {
	Step   int             `json:"step"`
	Tokens int             `json:"tokens"`
	Order  json.RawMessage `json:"order"`
}

// State implements Trainer.
func (s *SFT) State() ([]byte, error) {
	order, err := s.order.State()
	if err != nil {
		return nil, err
	}
	return json.Marshal(sftState{s.step, s.tokens, order})
}

// Restore implements Trainer.
func (s *SFT) Restore(raw []byte) error {
	var st sftState
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	s.step, s.tokens = st.Step, st.Tokens
	return s.order.Restore(st.Order)
}

// Parts implements Trainer.
func (s *SFT) Parts() ([]checkpoint.Part, error) { return keep(s.model, s.save) }

// Load implements Trainer.
func (s *SFT) Load(dir string) error { return loadInto(dir, s.model) }

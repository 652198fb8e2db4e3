package trainers

// What an online run saves beside weights and optimizer, and how its networks are written.

import (
	"encoding/json"
	"path/filepath"

	"salsa/internal/checkpoint"
	"salsa/models"
)

// onlineState is what an online run saves beside weights and optimizer.
type onlineState struct {
	Step   int             `json:"step"`
	Order  json.RawMessage `json:"order"`
	Norm   *ScoreNorm      `json:"norm,omitempty"`
	Method json.RawMessage `json:"method,omitempty"`
}

// State implements Trainer. All random streams are functions of seed, step and row, so the step number is their
// whole state.
func (r *Online) State() ([]byte, error) {
	order, err := r.order.State()
	if err != nil {
		return nil, err
	}
	state := onlineState{Step: r.step, Order: order, Norm: r.norm}
	if m := r.scheme.memory(); m != nil {
		if state.Method, err = json.Marshal(m); err != nil {
			return nil, err
		}
	}
	return json.Marshal(state)
}

// Restore implements Trainer.
func (r *Online) Restore(raw []byte) error {
	var st onlineState
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	if m := r.scheme.memory(); m != nil {
		if err := json.Unmarshal(st.Method, m); err != nil {
			return err
		}
	}
	r.step, r.norm = st.Step, st.Norm
	if r.samples != nil {
		if err := r.samples.keepUpTo(r.step); err != nil {
			return err
		}
	}
	return r.order.Restore(st.Order)
}

// ValueDir is the folder of the value network inside a checkpoint.
const ValueDir = "value"

// Parts implements Trainer.
func (r *Online) Parts() ([]checkpoint.Part, error) {
	parts := r.referenceParts()
	if !models.Adapted(r.cast.Policy) {
		return append(parts, r.save()...), nil
	}
	policy, err := models.AdapterParts(r.cast.Policy)
	if parts = append(parts, policy...); err != nil || r.cast.Value == nil {
		return parts, err
	}
	value, err := models.AdapterParts(r.cast.Value)
	return append(parts, checkpoint.In(ValueDir, value)...), err
}

// Load implements Trainer.
func (r *Online) Load(dir string) error {
	if err := r.loadReference(dir); err != nil {
		return err
	}
	if err := loadInto(dir, r.cast.Policy); err != nil || r.cast.Value == nil {
		return err
	}
	return loadInto(filepath.Join(dir, ValueDir), r.cast.Value)
}

// Publish implements Publisher: the policy at the top, the value network in ValueDir.
func (r *Online) Publish(dir string) error {
	if err := checkpoint.WriteParts(dir, r.save()); err != nil {
		return err
	}
	if err := publishAdapter(dir, r.cast.Policy); err != nil || r.cast.Value == nil {
		return err
	}
	return publishAdapter(filepath.Join(dir, ValueDir), r.cast.Value)
}

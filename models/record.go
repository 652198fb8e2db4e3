package models

// What a trained network's folder says about its training that no file of Hugging Face's has a place for.

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
)

// RecordFile lies beside the weights that salsa trained; other programs pass over it.
const RecordFile = "salsa.json"

// Record is salsa.json.
type Record struct {
	// ChatTemplate is the SHA-256 of the chat template that the network's training messages were last rendered with, and
	// of the tokens it prints (data.Template.Hash); "" if it never saw messages.
	ChatTemplate string `json:"chat_template_sha256,omitempty"`
}

// ReadRecord returns what a folder's record says: nothing if it has none.
func ReadRecord(dir string) (Record, error) {
	var r Record
	path := filepath.Join(dir, RecordFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		return r, fault.Inputf("%s: cannot be read: %w; restore it, or delete it if nothing is known of the training", path, err)
	}
	return r, nil
}

// Write puts the record into a folder.
func (r Record) Write(dir string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return checkpoint.WriteFileAtomic(filepath.Join(dir, RecordFile), append(raw, '\n'))
}

package trainers

// The record of a run in the folders of its networks.

import (
	"io/fs"
	"path/filepath"

	"salsa/internal/checkpoint"
	"salsa/models"
)

// record is the part that puts the run's record beside every network that stands in the folder, at the top and below. A
// run with nothing to record leaves the records that came with the tokenizers.
func (l *Loop) record() checkpoint.Part {
	return checkpoint.Part{Write: func(dir string) error {
		if l.Record == (models.Record{}) {
			return nil
		}
		return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.Name() != "config.json" && e.Name() != "adapter_config.json" {
				return err
			}
			return l.Record.Write(filepath.Dir(path))
		})
	}}
}

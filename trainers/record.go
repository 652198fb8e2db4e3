package trainers

// The record of a run in the folders of its networks.

import (
	"io/fs"
	"path/filepath"

	"salsa/models"
)

// recorded returns save with the run's record written beside every network that it wrote, at the top and below. A run
// with nothing to record leaves the records that came with the tokenizers.
func (l *Loop) recorded(save func(dir string) error) func(dir string) error {
	if l.Record == (models.Record{}) {
		return save
	}
	return func(dir string) error {
		if err := save(dir); err != nil {
			return err
		}
		return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.Name() != "config.json" && e.Name() != "adapter_config.json" {
				return err
			}
			return l.Record.Write(filepath.Dir(path))
		})
	}
}

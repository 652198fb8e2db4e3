// The metrics.jsonl of a run folder. A resumed run must leave the same file as one that ran straight
// through, so rows that a crashed run wrote after its last checkpoint are dropped before new ones come.

package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// File appends rows to a metrics.jsonl. Each row is one write, so `tail -f` sees whole lines.
type File struct {
	mu   sync.Mutex
	path string
	file *os.File
	last int // highest step written or kept
}

// Open opens path for appending after dropping every row with a step above resumeStep, the step of the
// checkpoint that the run goes on from; Fresh drops all. The old file is replaced atomically: a crash
// in Open leaves either the old rows or the kept ones. A bad line in the kept file is an input error.
func Open(path string, resumeStep int) (*File, error) {
	last, err := dropAfter(path, resumeStep)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &File{path: path, file: f, last: last}, nil
}

// Log implements Logger: it appends one row. A step below the last one is an error, since a reader
// could no longer tell rows of a resumed run from old ones.
func (f *File) Log(step int, scalars map[string]float64) error {
	line, err := json.Marshal(Row{Step: step, Values: scalars})
	if err != nil {
		return fmt.Errorf("metrics: step %d: %w", step, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if step < f.last {
		return fmt.Errorf("metrics: %s: step %d after step %d; reopen the file at the step that the run resumes from", f.path, step, f.last)
	}
	if _, err := f.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	f.last = step
	return nil
}

// Sync forces the rows to disk. Call it before a checkpoint is committed: a checkpoint then never
// outlives the rows that led to it.
func (f *File) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// Close syncs and closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(f.file.Sync(), f.file.Close()); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// dropAfter rewrites path without the rows above step and returns the highest step kept, or Fresh.
func dropAfter(path string, step int) (int, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Fresh, nil
	}
	if err != nil {
		return 0, fmt.Errorf("metrics: %w", err)
	}
	last, kept := Fresh, []byte(nil)
	if step > Fresh { // a fresh run does not care what an old file held
		if _, err = eachLine(path, content, func(line []byte, row Row) {
			if row.Step <= step {
				kept, last = append(kept, line...), max(last, row.Step)
			}
		}); err != nil {
			return 0, err
		}
	}
	if bytes.Equal(kept, content) {
		return last, nil
	}
	return last, replace(path, kept)
}

// replace puts content in place of path: temporary file, sync, rename, sync of the folder.
func replace(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name()) // best effort: the first error is the one to report
			err = fmt.Errorf("metrics: replace %s: %w", path, err)
		}
	}()
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

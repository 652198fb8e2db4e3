// Judging an output folder before any work is done, so that hours of training are neither lost to a folder
// that cannot be written nor mixed with what is in it.

package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"salsa/internal/fault"
	"salsa/internal/profile"
	"salsa/internal/runlock"
)

// RunFile is the resolved configuration at the top of a run folder; a folder that holds it is a run.
const RunFile = "run.yaml"

// PrepareOut makes dir fit for a command's output, making the folder if need be. It refuses, as an input
// error with the remedy, a dir that is a file, cannot be written, or holds anything: except that with
// resume a run folder (one with run.yaml) is accepted. resume on an empty or new folder is accepted too,
// so that the same command line starts a run and continues it.
func PrepareOut(dir string, resume bool) error {
	if dir == "" {
		return fault.Inputf("no output folder is given; add --out DIR")
	}
	if stat, err := os.Stat(dir); err == nil && !stat.IsDir() {
		return fault.Inputf("%s: is a file; choose another --out", dir)
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fault.Inputf("%s: cannot be made: %w; choose a writable --out", dir, bare(err))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fault.Inputf("%s: cannot be listed: %w; choose another --out", dir, err)
	}
	if err := judge(dir, entries, resume); err != nil {
		return err
	}
	return probe(dir)
}

// judge refuses a folder whose content would be mixed with the new output.
func judge(dir string, entries []fs.DirEntry, resume bool) error {
	if !holdsAny(dir, entries) {
		return nil
	}
	switch _, err := os.Stat(filepath.Join(dir, RunFile)); {
	case err == nil && resume:
		return nil
	case err == nil:
		return fault.Inputf("%s: already holds a run; add --resume to continue it or choose another --out", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return fault.Inputf("%s: cannot be read: %w; choose another --out", filepath.Join(dir, RunFile), err)
	case resume:
		return fault.Inputf("%s: is not empty and has no %s, so there is no run to resume; choose another --out", dir, RunFile)
	default:
		return fault.Inputf("%s: is not empty; empty it or choose another --out", dir)
	}
}

// holdsAny looks past the lock and unfinished files: a run killed at its very start leaves only these. And past profiles:
// that of a run that failed before it had anything to keep.
func holdsAny(dir string, entries []fs.DirEntry) bool {
	for _, e := range entries {
		if e.Name() != runlock.FileName && !transient.MatchString(e.Name()) && !profile.Is(filepath.Join(dir, e.Name())) {
			return true
		}
	}
	return false
}

// probe writes a file and removes it: mode bits do not tell of full disks and read-only mounts.
func probe(dir string) error {
	path, release := reserve(filepath.Join(dir, "probe"), "tmp")
	defer release()
	if err := os.WriteFile(path, []byte("salsa"), fileMode); err != nil {
		_ = os.Remove(path) // a full disk takes the name but not the bytes
		return fault.Inputf("%s: cannot be written: %w; free some space or choose another --out", dir, bare(err))
	}
	if err := os.Remove(path); err != nil {
		return fault.Inputf("%s: files in it cannot be removed: %w; choose a writable --out", dir, bare(err))
	}
	return nil
}

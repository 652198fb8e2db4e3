// Package checkpoint puts results on disk so that a reader never meets half of one: files and folders
// are written under a temporary name, synced, listed in a manifest with their SHA-256, and renamed.
// It also finds the newest intact checkpoint, names what is wrong with the others, prunes old ones,
// hashes inputs for stage keys, and judges whether an output folder may be used.
//
// This file holds the smallest step: one file, replaced whole or not at all.
package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

const (
	dirMode    = 0o755
	fileMode   = 0o644
	bufferSize = 1 << 20 // bytes gathered before a write: models have hundreds of tiny tensors
)

// failpoint is called before every change to the disk, with what is about to be done and where. It does
// nothing outside tests, which make the disk fail or the process die at the n-th call.
var failpoint = func(op, path string) error { return nil }

// WriteFileAtomic replaces path by data. After a crash at any moment path holds the old bytes or the new
// ones, never a mixture; after an error it holds the old ones.
func WriteFileAtomic(path string, data []byte) error {
	return WriteAtomic(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteAtomic is WriteFileAtomic for content that is streamed: write receives a buffered writer, and the
// file gets its name only when write returns nil and its bytes are on the disk. Errors name the path.
func WriteAtomic(path string, write func(w io.Writer) error) error {
	tmp, release := reserve(path, "tmp")
	defer release()
	written, err := writeSynced(tmp, write)
	if err != nil {
		_ = os.Remove(tmp) // the first error is the one to tell
		return fmt.Errorf("%s: cannot be written: %w%s", path, err, remedy(err))
	}
	if err := rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	remember(path, written)
	return syncDir(filepath.Dir(path))
}

// writeSynced creates path, lets write fill it and returns when the bytes are on the disk, with what was written.
func writeSynced(path string, write func(w io.Writer) error) (written, error) {
	var w written
	if err := failpoint("create", path); err != nil {
		return w, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return w, bare(err)
	}
	defer f.Close() // a second Close after the one below is harmless
	s := newStream(f)
	defer s.stop() // before the file is closed, also when write panics
	if err := write(s); err != nil {
		return w, err
	}
	if w.sum, err = s.finish(); err != nil {
		return w, err
	}
	if err := syncFile(f); err != nil {
		return w, err
	}
	if w.sum != "" {
		w.state = settledState(f)
	}
	return w, f.Close()
}

// guarded passes writes on to a file after asking the failpoint.
type guarded struct{ f *os.File }

func (g guarded) Write(p []byte) (int, error) {
	if err := failpoint("write", g.f.Name()); err != nil {
		return 0, err
	}
	n, err := g.f.Write(p)
	return n, bare(err)
}

// bare takes the temporary path out of an error: the message names the final one.
func bare(err error) error {
	var detail *fs.PathError
	if errors.As(err, &detail) {
		return detail.Err
	}
	return err
}

// remedy says what to do about a disk that refuses, and nothing about other errors.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "; free some space or choose another place"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "; choose a writable place"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "; make its folder first"
	default:
		return ""
	}
}

func syncFile(f *os.File) error {
	if err := failpoint("sync", f.Name()); err != nil {
		return err
	}
	return bare(f.Sync())
}

// syncDir makes the names inside dir durable: a renamed file whose folder was not synced can be gone
// after a power cut.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("%s: cannot be opened to be synced: %w", dir, err)
	}
	defer f.Close()
	if err := syncFile(f); err != nil {
		return fmt.Errorf("%s: cannot be synced: %w", dir, err)
	}
	return nil
}

func rename(from, to string) error {
	if err := failpoint("rename", to); err != nil {
		return fmt.Errorf("%s: cannot be put in place: %w", to, err)
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("%s: cannot be put in place: %w", to, err)
	}
	return nil
}

func removeAll(path string) error {
	if err := failpoint("remove", path); err != nil {
		return fmt.Errorf("%s: cannot be removed: %w", path, err)
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("%s: cannot be removed: %w", path, err)
	}
	return nil
}

// Temporary names are <name>.tmp-<pid>-<n>, and <name>.old-<pid>-<n> for what is being replaced or
// deleted: the process id tells CleanStale whether the writer still lives, n keeps one process's apart.
var (
	transient = regexp.MustCompile(`^(.+)\.(tmp|old)-([0-9]+)-([0-9]+)$`)
	sequence  atomic.Int64
	inUse     sync.Map // transient paths of this process, so that a reused process id is not taken for us
)

// reserve returns a transient name next to path; release gives it back once nothing stands there.
func reserve(path, kind string) (name string, release func()) {
	name = path + "." + kind + "-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(sequence.Add(1), 10)
	if abs, err := filepath.Abs(name); err == nil {
		inUse.Store(abs, true)
		return name, func() { inUse.Delete(abs) }
	}
	return name, func() {} // no working directory: the name is merely not protected from CleanStale
}

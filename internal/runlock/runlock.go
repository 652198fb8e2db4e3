// Package runlock keeps two processes from writing the same run folder. The lock is the kernel's, so it
// ends with the process however that dies, and there is never a stale lock to delete by hand.
package runlock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"salsa/internal/fault"
)

// FileName is the lock's file in a run folder. It stays there: deleting it would let a third process
// lock a new file while a second one waits on the old.
const FileName = ".salsa.lock"

// Lock is a held lock on a folder.
type Lock struct{ f *os.File }

// Acquire locks dir, which must exist, until Release or the end of the process. If another process holds
// it, the error is an input error that names that process.
func Acquire(dir string) (*Lock, error) {
	path := filepath.Join(dir, FileName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fault.Inputf("%s: cannot be opened: %w; choose a writable --out", path, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		defer f.Close()
		return nil, fault.Inputf("%s: is in use by %s; wait for it, stop it, or choose another --out", dir, holder(f))
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("%s: cannot be locked: %w; choose an --out on another file system", path, err)
	}
	if err := sign(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: cannot be written: %w; free some space or choose another --out", path, err)
	}
	return &Lock{f}, nil
}

// Release gives the folder free.
func (l *Lock) Release() error { return l.f.Close() }

// sign leaves the holder's name for the message that the next process shows.
func sign(f *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "process %d on %s\n", os.Getpid(), host), 0)
	return err
}

// holder reads what sign wrote; the text is only shown, so anything odd is replaced.
func holder(f *os.File) string {
	text, err := io.ReadAll(io.LimitReader(f, 300))
	first, _, _ := strings.Cut(string(text), "\n")
	if err != nil || first == "" {
		return "another process"
	}
	return first
}

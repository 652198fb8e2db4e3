// Content hashes for stage keys: equal bytes give equal hashes whatever the time stamps, so a stage runs
// again only when what it reads has changed.

package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"salsa/internal/fault"
)

// settled is how long a file must have been left alone before its hash is remembered: a file written twice
// within one tick of the file system's clock looks unchanged. Tests lower it.
var settled = 2 * time.Second

// fileState tells whether a file may have changed since it was hashed. The change time is in it because
// programs set modification times back.
type fileState struct {
	size, mtime, ctime int64
	inode, device      uint64
}

type hashed struct {
	state fileState
	sum   string
}

var hashCache sync.Map // absolute path -> hashed

// HashFile returns the SHA-256 of a file's bytes in hex. Within one process a file whose size, times and
// inode have not changed is not read again; Verify never relies on that, and Commit only for what it saw written.
func HashFile(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	state, steady, err := stateOf(abs)
	if err != nil {
		return "", err
	}
	if old, ok := hashCache.Load(abs); ok && old.(hashed).state == state {
		return old.(hashed).sum, nil
	}
	sum, _, err := digestFile(abs)
	if err != nil {
		return "", fault.Inputf("%s: cannot be read: %w; make it readable", path, err)
	}
	if after, _, err := stateOf(abs); err == nil && after == state && steady {
		hashCache.Store(abs, hashed{state, sum})
	}
	return sum, nil
}

// HashFiles returns one SHA-256 in hex over the contents of files in the order given. Their names do not
// count: the same data in another place is the same data.
func HashFiles(paths ...string) (string, error) {
	total := sha256.New()
	for _, path := range paths {
		sum, err := HashFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(total, sum)
	}
	return hexSum(total), nil
}

// HashTree returns one SHA-256 in hex over all files below root: their relative paths and contents. Links
// to files count as the files (the Hugging Face cache is made of them); a link to a folder below root is
// refused. The hash of a root that is a file is HashFile's.
func HashTree(root string) (string, error) {
	real, err := filepath.EvalSymlinks(root) // WalkDir does not follow a root that is a link
	if err != nil {
		return "", fault.Inputf("%s: cannot be read: %w; check the path", root, err)
	}
	if stat, err := os.Stat(real); err == nil && !stat.IsDir() {
		return HashFile(real)
	}
	lines := []string{}
	err = filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		line, err := treeLine(real, path)
		lines = append(lines, line)
		return err
	})
	if err != nil {
		return "", err
	}
	slices.Sort(lines)
	total := sha256.New()
	fmt.Fprint(total, strings.Join(lines, ""))
	return hexSum(total), nil
}

// treeLine is what one file adds to HashTree; the quoting keeps paths with line breaks apart.
func treeLine(root, path string) (string, error) {
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return "", err
	}
	sum, err := HashFile(path)
	return fmt.Sprintf("%q %s\n", filepath.ToSlash(rel), sum), err
}

// stateOf looks a file up; steady says that its last change lies far enough back to be told from a next one.
func stateOf(path string) (state fileState, steady bool, err error) {
	stat, err := os.Stat(path)
	if err != nil {
		return state, false, fault.Inputf("%s: cannot be read: %w; check the path", path, err)
	}
	if !stat.Mode().IsRegular() {
		return state, false, fault.Inputf("%s: is not a file; give a plain file or a link to one", path)
	}
	state = fileState{size: stat.Size(), mtime: stat.ModTime().UnixNano()}
	sys, ok := stat.Sys().(*syscall.Stat_t)
	if !ok {
		return state, false, nil // without an inode nothing is remembered
	}
	state.inode, state.device, state.ctime = sys.Ino, uint64(sys.Dev), changeTime(sys)
	return state, time.Since(time.Unix(0, max(state.mtime, state.ctime))) > settled, nil
}

func digestFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	return digest(f)
}

// digest reads r to its end.
func digest(r io.Reader) (sum string, size int64, err error) {
	h := sha256.New()
	size, err = io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, bufferSize))
	return hexSum(h), size, err
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

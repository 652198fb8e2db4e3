// Committing a folder: everything is written beside the final name, synced, listed in the manifest and
// then renamed, so that the final name never stands for a half-written checkpoint.

package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"salsa/internal/fault"
)

// swapFolders exchanges two folders in one step where the system can; tests replace it to go the long way.
var swapFolders = exchange

// Commit makes the folder dst with what write puts into the temporary folder it is given, and adds
// manifest.json. An existing dst is replaced as a whole. If anything up to that fails, dst is what it was
// before and the temporary folder is gone; if only the sync or the deletion of the old folder after it
// fails, dst is the new folder and the error says so. A process killed at any moment leaves the old dst or the new one: at
// once where the system can exchange two folders (Linux), after CleanStale(parent) elsewhere.
// What killed processes left of an earlier attempt at dst is removed first. Writers of the same dst in several processes must be kept apart by the caller (see package runlock).
func Commit(dst string, write func(tmp string) error) error {
	dst, err := resolve(dst)
	if err != nil {
		return err
	}
	dropUnfinished(dst)
	tmp, release := reserve(dst, "tmp")
	defer release()
	defer os.RemoveAll(tmp) // also when write panics; after the rename nothing of ours stands there
	if err := makeFolder(tmp); err != nil {
		return err
	}
	defer filling(tmp)()
	if err := write(tmp); err != nil {
		return err
	}
	if err := seal(tmp); err != nil {
		return err
	}
	if err := replaceFolder(tmp, dst); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dst))
}

// resolve follows links, so that the folder behind a link is replaced and not the link, makes the parent
// and refuses a dst that is a file.
func resolve(dst string) (string, error) {
	dst = filepath.Clean(dst)
	real, err := filepath.EvalSymlinks(dst)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(dst), dirMode); err != nil {
			return "", fmt.Errorf("%s: its parent cannot be made: %w; choose a writable place", dst, err)
		}
		return dst, nil
	}
	if err != nil {
		return "", fmt.Errorf("%s: cannot be looked up: %w", dst, err)
	}
	if stat, err := os.Stat(real); err != nil || !stat.IsDir() {
		return "", fault.Inputf("%s: is a file where a folder is to be written; move it away or choose another --out", dst)
	}
	return real, nil
}

// makeFolder makes an empty folder; what an earlier process with our id left under the name goes away.
func makeFolder(dir string) error {
	if err := removeAll(dir); err != nil {
		return err
	}
	if err := failpoint("mkdir", dir); err != nil {
		return fmt.Errorf("%s: cannot be made: %w", dir, err)
	}
	if err := os.Mkdir(dir, dirMode); err != nil {
		return fmt.Errorf("%s: cannot be made: %w%s", dir, bare(err), remedy(err))
	}
	return nil
}

// replaceFolder gives tmp the name dst and deletes what stood there.
func replaceFolder(tmp, dst string) error {
	if _, err := os.Lstat(dst); errors.Is(err, fs.ErrNotExist) {
		return rename(tmp, dst)
	}
	if err := failpoint("exchange", dst); err != nil {
		return fmt.Errorf("%s: cannot be put in place: %w", dst, err)
	}
	switch err := swapFolders(tmp, dst); {
	case err == nil:
		return removeAll(tmp) // now the old content
	case !errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("%s: cannot be put in place: %w", dst, err)
	}
	return replaceInTwoSteps(tmp, dst)
}

// replaceInTwoSteps moves dst aside before tmp takes its name. Between the two renames only the folder
// aside is there; CleanStale gives it its name back.
func replaceInTwoSteps(tmp, dst string) error {
	aside, release := reserve(dst, "old")
	defer release()
	if err := removeAll(aside); err != nil {
		return err
	}
	if err := rename(dst, aside); err != nil {
		return err
	}
	if err := rename(tmp, dst); err != nil {
		if back := os.Rename(aside, dst); back != nil {
			return fmt.Errorf("%w; the old folder is now %s", err, aside)
		}
		return err
	}
	return removeAll(aside)
}

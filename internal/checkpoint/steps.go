// The checkpoints of a run: folders step-N in one parent. The newest intact one is where a run resumes.

package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// StepPrefix begins the name of every training checkpoint's folder.
const StepPrefix = "step-"

// StepDir is the folder of the checkpoint after the given optimizer step.
func StepDir(parent string, step int) string {
	return filepath.Join(parent, StepPrefix+strconv.Itoa(step))
}

// Skipped is a checkpoint that cannot be used, with a one-line reason.
type Skipped struct {
	Dir    string
	Reason string
}

// LatestValid returns the checkpoint with the highest step below parent that Verify accepts, and what it
// passed over on the way, newest first, so that the caller can say why an older one is used. dir is ""
// when there is none.
func LatestValid(parent string) (dir string, step int, skipped []Skipped) {
	steps, err := listSteps(parent)
	if err != nil {
		return "", 0, []Skipped{{Dir: parent, Reason: err.Error()}}
	}
	for _, s := range steps {
		err := Verify(s.dir)
		if err == nil {
			return s.dir, s.step, skipped
		}
		skipped = append(skipped, Skipped{Dir: s.dir, Reason: err.Error()})
	}
	return "", 0, skipped
}

// List returns the folders of the checkpoints below parent, newest first, intact or not: Verify tells.
func List(parent string) ([]string, error) {
	steps, err := listSteps(parent)
	if err != nil {
		return nil, err
	}
	dirs := make([]string, len(steps))
	for i, s := range steps {
		dirs[i] = s.dir
	}
	return dirs, nil
}

// Prune deletes the checkpoints below parent that are older than the newest keep complete ones (all files
// there, at their sizes) and returns their folders. keep <= 0 keeps all. A folder loses its name before
// its files, so a process killed here leaves no half-empty checkpoint behind.
func Prune(parent string, keep int) (removed []string, err error) {
	if keep <= 0 {
		return nil, nil
	}
	steps, err := listSteps(parent)
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		if keep > 0 {
			if verify(s.dir, false) == nil {
				keep--
			}
			continue
		}
		if err := removeFolder(s.dir); err != nil {
			return removed, err
		}
		removed = append(removed, s.dir)
	}
	return removed, nil
}

func removeFolder(dir string) error {
	doomed, release := reserve(dir, "tmp")
	defer release()
	if err := rename(dir, doomed); err != nil {
		return err
	}
	return removeAll(doomed)
}

type stepFolder struct {
	dir  string
	step int
}

// listSteps returns the step folders below parent, newest first; none when parent does not exist.
func listSteps(parent string) ([]stepFolder, error) {
	entries, err := readDir(parent)
	if err != nil {
		return nil, err
	}
	steps := []stepFolder{}
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), StepPrefix)
		step, err := strconv.Atoi(digits)
		if !ok || err != nil || StepPrefix+strconv.Itoa(step) != e.Name() {
			continue // a temporary folder, or not ours
		}
		steps = append(steps, stepFolder{filepath.Join(parent, e.Name()), step})
	}
	slices.SortFunc(steps, func(a, b stepFolder) int { return cmp.Compare(b.step, a.step) })
	return steps, nil
}

// readDir lists dir; a folder that does not exist is an empty one.
func readDir(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be listed: %w", dir, err)
	}
	return entries, nil
}

// CleanStale removes what killed processes left unfinished in parent and returns those paths. A folder
// that such a process had moved aside, and whose replacement did not arrive, gets its name back. What a
// living process is writing is left alone. Call it before LatestValid.
func CleanStale(parent string) (removed []string, err error) {
	entries, err := readDir(parent)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		parts := transient.FindStringSubmatch(e.Name())
		if parts == nil || isLive(path, parts[3]) {
			continue
		}
		restored, err := restore(path, filepath.Join(parent, parts[1]), parts[2])
		if err == nil && !restored {
			removed = append(removed, path)
			err = removeAll(path)
		}
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// dropUnfinished removes what killed processes left of dst before it had its name: gigabytes that nobody looks for. What it
// cannot remove it leaves.
func dropUnfinished(dst string) {
	entries, _ := readDir(filepath.Dir(dst))
	for _, e := range entries {
		path := filepath.Join(filepath.Dir(dst), e.Name())
		parts := transient.FindStringSubmatch(e.Name())
		if parts != nil && parts[1] == filepath.Base(dst) && parts[2] == "tmp" && !isLive(path, parts[3]) {
			_ = removeAll(path)
		}
	}
}

// restore gives a folder that was moved aside its name back if nothing took it.
func restore(aside, name, kind string) (bool, error) {
	if kind != "old" {
		return false, nil
	}
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, rename(aside, name)
}

// isLive says whether the writer of a transient path still runs. Our own id without a reservation is
// that of an earlier process, as happens in every restarted container.
func isLive(path, pid string) bool {
	id, err := strconv.Atoi(pid)
	if err != nil {
		return true // no id we could have written
	}
	if id == os.Getpid() {
		abs, err := filepath.Abs(path)
		_, reserved := inUse.Load(abs)
		return reserved || err != nil
	}
	err = syscall.Kill(id, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

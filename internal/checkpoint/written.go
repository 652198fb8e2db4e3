// What Commit saw written: large files are hashed on their way to the disk and not read again for the manifest.

package checkpoint

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// clockTick is longer than a tick of any file system's clock: a file that was written to before it and is written to
// after it shows another time.
const clockTick = 20 * time.Millisecond

// written is a file's hash and how the file looked then. The change time is left out, as the rename moves it.
type written struct {
	sum   string
	state fileState
}

// folders being filled by Commit, each with what was written below it, by path.
var (
	fillingLock sync.Mutex
	folders     = map[string]map[string]written{}
)

// filling lets remember keep what is written below dir until done is called.
func filling(dir string) (done func()) {
	fillingLock.Lock()
	defer fillingLock.Unlock()
	folders[dir] = map[string]written{}
	return func() {
		fillingLock.Lock()
		defer fillingLock.Unlock()
		delete(folders, dir)
	}
}

// filled returns what was written below the folder that path lies in, or nil if no Commit fills one.
func filled(path string) map[string]written {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if files, ok := folders[dir]; ok {
			return files
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// settledState looks at a file that was just written and synced, and returns when a later write would show.
func settledState(f *os.File) fileState {
	state, changed, ok := looks(f)
	if !ok {
		return fileState{}
	}
	time.Sleep(clockTick - time.Since(changed))
	return state
}

// looks is how a file looks, and when it was last written to; ok is false where the system does not tell enough.
func looks(f *os.File) (state fileState, changed time.Time, ok bool) {
	stat, err := f.Stat()
	if err != nil {
		return state, changed, false
	}
	sys, ok := stat.Sys().(*syscall.Stat_t)
	if !ok {
		return state, changed, false
	}
	state = fileState{size: stat.Size(), mtime: stat.ModTime().UnixNano(), inode: sys.Ino, device: uint64(sys.Dev)}
	return state, stat.ModTime(), true
}

// remember keeps the hash of a file that has got its name.
func remember(path string, w written) {
	fillingLock.Lock()
	defer fillingLock.Unlock()
	path = filepath.Clean(path)
	if files := filled(path); files != nil {
		delete(files, path) // a small file may replace a large one
		if w.sum != "" && w.state != (fileState{}) {
			files[path] = w
		}
	}
}

// recall returns the hash of what was written to path, if f, the file there now, has not been written to since.
func recall(path string, f *os.File) (sum string, size int64, ok bool) {
	fillingLock.Lock()
	w, ok := filled(path)[filepath.Clean(path)]
	fillingLock.Unlock()
	if !ok {
		return "", 0, false
	}
	state, _, ok := looks(f)
	return w.sum, state.size, ok && state == w.state
}

package checkpoint

import (
	"os"
	"time"
)

// SetFailpoint makes hook run before every change to the disk until restore is called.
func SetFailpoint(hook func(op, path string) error) (restore func()) {
	old := failpoint
	failpoint = hook
	return func() { failpoint = old }
}

// SetExchange replaces the exchange of two folders until restore is called.
func SetExchange(f func(a, b string) error) (restore func()) {
	old := swapFolders
	swapFolders = f
	return func() { swapFolders = old }
}

// Reserve gives the tests a transient name that counts as being written.
var Reserve = reserve

// SetSettled lets HashFile remember files that were left alone for d until restore is called.
func SetSettled(d time.Duration) (restore func()) {
	old := settled
	settled = d
	return func() { settled = old }
}

// Remembered returns the hash that HashFile would give without reading path, which must be absolute.
func Remembered(path string) string {
	state, _, err := stateOf(path)
	old, ok := hashCache.Load(path)
	if err != nil || !ok || old.(hashed).state != state {
		return ""
	}
	return old.(hashed).sum
}

// Recalled returns the hash that the manifest would give of path without reading it.
func Recalled(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	sum, _, _ := recall(path, f)
	return sum
}

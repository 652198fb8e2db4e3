// What only Linux offers, or offers under another name.

package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// exchange swaps the names a and b in one atomic step. File systems without it (some network ones) make
// it return an error that wraps errors.ErrUnsupported.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("%w: exchange of two folders: %w", errors.ErrUnsupported, err)
	}
	return err
}

// changeTime returns when a file's content or inode last changed, in nanoseconds since 1970.
func changeTime(stat *syscall.Stat_t) int64 { return stat.Ctim.Nano() }

// startWriteback asks for n bytes from at on to be put on the disk and does not wait for it. It is a hint: what it cannot
// do, the sync that makes a file durable does.
func startWriteback(f *os.File, at, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), at, n, unix.SYNC_FILE_RANGE_WRITE)
}

package checkpoint_test

// Files of many chunks: their bytes, what the manifest says of them without reading them again, and disks that refuse.

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/checkpoint"
)

// pieces writes data in pieces of n bytes, each overwritten once it is taken.
func pieces(data []byte, n int) func(w io.Writer) error {
	return func(w io.Writer) error {
		for at := 0; at < len(data); at += n {
			piece := bytes.Clone(data[at:min(at+n, len(data))])
			if _, err := w.Write(piece); err != nil {
				return err
			}
			clear(piece)
		}
		return nil
	}
}

// many is data of so many bytes that do not repeat at a chunk's length.
func many(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i % 251)
	}
	return data
}

func TestStreamsOfAllSizes(t *testing.T) {
	const mb = 1 << 20
	dir := memoryDir(t)
	for _, size := range []int{0, 1, mb - 1, mb, mb + 1, 2 * mb, 21*mb + 5} {
		dst := filepath.Join(dir, "out")
		data := many(size)
		for _, piece := range []int{700_001, 3 * mb} {
			require.NoError(t, checkpoint.Commit(dst, func(tmp string) error {
				return checkpoint.WriteAtomic(filepath.Join(tmp, "f"), pieces(data, piece))
			}))
			require.NoError(t, checkpoint.Verify(dst), "%d bytes: the manifest's hash is that of the file", size)
			got, err := os.ReadFile(filepath.Join(dst, "f"))
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got), "%d bytes in pieces of %d", size, piece)
		}
	}
}

// A file that is changed, replaced or removed after it was hashed on its way is not taken for what it was.
func TestCommitHashesWhatIsThere(t *testing.T) {
	data := many(3 << 20)
	for name, change := range map[string]func(path string) error{
		"nothing":  func(string) error { return nil },
		"one byte": func(path string) error { return overwrite(path, 5) },
		"as long, at once": func(path string) error {
			return os.WriteFile(path, bytes.Repeat([]byte{7}, len(data)), 0o644)
		},
		"by a small one": func(path string) error { return checkpoint.WriteFileAtomic(path, []byte("small")) },
		"by another": func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, bytes.Repeat([]byte{8}, len(data)), 0o644))
		},
	} {
		dst := filepath.Join(memoryDir(t), "out")
		require.NoError(t, checkpoint.Commit(dst, func(tmp string) error {
			path := filepath.Join(tmp, "sub", "f")
			if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := checkpoint.WriteAtomic(path, pieces(data, 1000)); err != nil {
				return err
			}
			return change(path)
		}), name)
		require.NoError(t, checkpoint.Verify(dst), name)
	}
}

func overwrite(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{255}, at)
	return errors.Join(err, f.Close())
}

// The manifest of a large file comes from its stream: the bytes are not read a second time.
func TestCommitReadsLargeFilesOnce(t *testing.T) {
	dst := filepath.Join(memoryDir(t), "out")
	require.NoError(t, checkpoint.Commit(dst, func(tmp string) error {
		path := filepath.Join(tmp, "f")
		require.NoError(t, checkpoint.WriteAtomic(path, pieces(many(3<<20), 1000)))
		assert.NotEmpty(t, checkpoint.Recalled(path))
		require.NoError(t, checkpoint.WriteAtomic(filepath.Join(tmp, "g"), pieces(many(1000), 1000)))
		assert.Empty(t, checkpoint.Recalled(filepath.Join(tmp, "g")), "small files are")
		return nil
	}))
	assert.Empty(t, checkpoint.Recalled(filepath.Join(dst, "f")), "nothing is kept beyond the commit")
}

// noneLeft waits until no more goroutines run than before: one that has said its last word needs a moment to end.
func noneLeft(t *testing.T, before int) {
	t.Helper()
	for range 5000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before)
}

func TestStreamToADiskThatRefuses(t *testing.T) {
	data := many(40 << 20)
	for _, nth := range []int64{1, 2, 9, 30, 40} { // of the writes
		path := filepath.Join(memoryDir(t), "f")
		var writes atomic.Int64
		restore := checkpoint.SetFailpoint(func(op, _ string) error {
			if op == "write" && writes.Add(1) == nth {
				return syscall.ENOSPC
			}
			return nil
		})
		before := runtime.NumGoroutine()
		err := checkpoint.WriteAtomic(path, pieces(data, 1<<16))
		restore()
		require.ErrorIs(t, err, syscall.ENOSPC, "write %d", nth)
		require.ErrorContains(t, err, path)
		assert.Equal(t, nth, writes.Load(), "nothing is written after a write that failed")
		assert.Empty(t, listing(t, filepath.Dir(path)))
		noneLeft(t, before)
	}
	path := filepath.Join(memoryDir(t), "f")
	before := runtime.NumGoroutine()
	assert.PanicsWithValue(t, "bang", func() {
		_ = checkpoint.WriteAtomic(path, func(w io.Writer) error {
			_ = pieces(data, 1<<20)(w)
			panic("bang")
		})
	})
	noneLeft(t, before)
}

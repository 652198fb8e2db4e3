package checkpoint_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/safetensors"
)

// save commits a small checkpoint whose files all say which version they are of: weights through the
// safetensors writer, a plain file, a file in a folder.
func save(dst, version string) error {
	return checkpoint.Commit(dst, func(tmp string) error {
		specs := []safetensors.Spec{{Name: "a", DType: "U8", Shape: []int{64}}, {Name: "b", DType: "U8", Shape: []int{64}}}
		data := func(name string) ([]byte, error) { return []byte(fmt.Sprintf("%-64s", name+version)), nil }
		if err := safetensors.WriteDir(tmp, specs, 64, nil, data); err != nil {
			return err
		}
		if err := checkpoint.WriteFileAtomic(filepath.Join(tmp, "config.json"), []byte(version)); err != nil {
			return err
		}
		if err := os.Mkdir(filepath.Join(tmp, "trainer"), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(tmp, "trainer", "state.json"), []byte(version), 0o644)
	})
}

// versionOf checks dst as a reader would and returns the version that all of it is of.
func versionOf(t *testing.T, dst string) string {
	t.Helper()
	require.NoError(t, checkpoint.Verify(dst))
	_, err := safetensors.OpenDir(dst)
	require.NoError(t, err)
	version, err := os.ReadFile(filepath.Join(dst, "config.json"))
	require.NoError(t, err)
	state, err := os.ReadFile(filepath.Join(dst, "trainer", "state.json"))
	require.NoError(t, err)
	require.Equal(t, string(version), string(state))
	return string(version)
}

func listing(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// requireInput checks that err is an input error of one line with all parts in it.
func requireInput(t *testing.T, err error, parts ...string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, fault.ExitInput, fault.ExitCode(err), err.Error())
	require.NotContains(t, err.Error(), "\n")
	for _, part := range parts {
		require.Contains(t, err.Error(), part)
	}
}

// memoryDir is a folder in memory where the system has one: the loops below sync thousands of times.
func memoryDir(t *testing.T) string {
	t.Helper()
	const shared = "/dev/shm"
	if stat, err := os.Stat(shared); err != nil || !stat.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shared, "salsa-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func noExchange(a, b string) error { return errors.ErrUnsupported }

// bothWays runs f with the atomic exchange of folders and with the two renames that stand in for it.
func bothWays(t *testing.T, f func(t *testing.T)) {
	t.Run("exchange", f)
	t.Run("two renames", func(t *testing.T) {
		defer checkpoint.SetExchange(noExchange)()
		f(t)
	})
}

func TestCommitReplacesAsAWhole(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		parent := filepath.Join(t.TempDir(), "made", "on demand")
		dst := filepath.Join(parent, "out")
		for _, version := range []string{"one", "two", "three"} {
			require.NoError(t, save(dst, version))
			require.Equal(t, version, versionOf(t, dst))
			require.Equal(t, []string{"out"}, listing(t, parent))
		}
		manifest, err := os.ReadFile(filepath.Join(dst, checkpoint.ManifestName))
		require.NoError(t, err)
		require.Contains(t, string(manifest), `"path": "trainer/state.json"`)
		sum, err := checkpoint.HashFile(filepath.Join(dst, "config.json"))
		require.NoError(t, err)
		require.Contains(t, string(manifest), sum)
	})
}

// TestCommitFails lets the n-th change to the disk fail, for every n: the old checkpoint stays valid, and
// nothing unfinished stays beside it.
func TestCommitFails(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		n, failures := 1, 0
		for done := false; !done; n++ {
			parent := memoryDir(t)
			dst := filepath.Join(parent, "out")
			require.NoError(t, save(dst, "old"))
			calls, failed := 0, ""
			restore := checkpoint.SetFailpoint(func(op, path string) error {
				if calls++; calls == n {
					failed = op + " " + path
					return syscall.ENOSPC
				}
				return nil
			})
			err := save(dst, "new")
			restore()
			done = failed == ""
			if done {
				require.NoError(t, err)
				require.Equal(t, "new", versionOf(t, dst))
				continue
			}
			failures++
			require.ErrorIs(t, err, syscall.ENOSPC, failed)
			require.Contains(t, err.Error(), parent, failed)
			require.NotContains(t, err.Error(), "\n")
			version := versionOf(t, dst)
			// Once the new folder has the name, only the clean-up can fail.
			last := strings.HasPrefix(failed, "remove") || failed == "sync "+parent
			require.True(t, version == "old" || last && n > 10, "%s after failing %s", version, failed)
			_, err = checkpoint.CleanStale(parent)
			require.NoError(t, err)
			require.Equal(t, []string{"out"}, listing(t, parent), failed)
		}
		require.Greater(t, failures, 20)
	})
}

// TestCommitKilled kills a process at the n-th change to the disk, for every n: what a new process finds is
// the old checkpoint or the new one.
func TestCommitKilled(t *testing.T) {
	for _, way := range []string{"exchange", "two renames"} {
		t.Run(way, func(t *testing.T) {
			seen := map[string]int{}
			for n, done := 1, false; !done; n++ {
				parent := memoryDir(t)
				dst := filepath.Join(parent, "out")
				require.NoError(t, save(dst, "old"))
				done = !killedAt(t, n, way, dst)
				if way == "exchange" { // valid at once, before any cleaning
					versionOf(t, dst)
				}
				_, err := checkpoint.CleanStale(parent)
				require.NoError(t, err)
				require.Equal(t, []string{"out"}, listing(t, parent), "killed at %d", n)
				seen[versionOf(t, dst)]++
			}
			require.Greater(t, seen["old"], 20)
			require.Greater(t, seen["new"], 1, "also killed after the new one had the name")
		})
	}
}

// killedAt runs save in a process that kills itself at the n-th change; false when it came to its end.
func killedAt(t *testing.T, n int, way, dst string) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperDies$")
	cmd.Env = append(os.Environ(), "SALSA_DIE_AT="+strconv.Itoa(n), "SALSA_DIE_WAY="+way, "SALSA_DIE_DST="+dst)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err, string(out))
		return false
	}
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), string(out))
	return true
}

func TestHelperDies(t *testing.T) {
	at, err := strconv.Atoi(os.Getenv("SALSA_DIE_AT"))
	if err != nil {
		t.Skip("only runs in the process that TestCommitKilled starts")
	}
	if os.Getenv("SALSA_DIE_WAY") == "two renames" {
		defer checkpoint.SetExchange(noExchange)()
	}
	calls := 0
	defer checkpoint.SetFailpoint(func(op, path string) error {
		if calls++; calls == at {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	})()
	require.NoError(t, save(os.Getenv("SALSA_DIE_DST"), "new"))
}

// TestRealWriteLimit lets the kernel refuse writes beyond a file size, at every size, in place of a full disk.
func TestRealWriteLimit(t *testing.T) {
	dst := filepath.Join(memoryDir(t), "out")
	require.NoError(t, save(dst, "old"))
	completed := false
	for limit := 0; limit <= 1200; limit += 60 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperLimited$")
		cmd.Env = append(os.Environ(), "SALSA_LIMIT="+strconv.Itoa(limit), "SALSA_LIMIT_DST="+dst)
		out, err := cmd.CombinedOutput()
		completed = err == nil
		if completed {
			require.Equal(t, "new", versionOf(t, dst))
			break
		}
		require.Contains(t, string(out), "file too large", "limit %d", limit)
		require.Equal(t, "old", versionOf(t, dst))
		require.Equal(t, []string{"out"}, listing(t, filepath.Dir(dst)))
	}
	require.True(t, completed, "the largest limit suffices")
}

func TestHelperLimited(t *testing.T) {
	limit, err := strconv.ParseUint(os.Getenv("SALSA_LIMIT"), 10, 64)
	if err != nil {
		t.Skip("only runs in the process that TestRealWriteLimit starts")
	}
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: before.Max}))
	err = save(os.Getenv("SALSA_LIMIT_DST"), "new")
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)) // what writes a coverage profile is not meant
	require.NoError(t, err)
}

func TestCommitRefuses(t *testing.T) {
	parent := t.TempDir()
	dst := filepath.Join(parent, "out")
	require.NoError(t, save(dst, "old"))
	write := func(name string) func(string) error {
		return func(tmp string) error { return os.WriteFile(filepath.Join(tmp, name), nil, 0o644) }
	}
	require.ErrorContains(t, checkpoint.Commit(dst, write(checkpoint.ManifestName)), "manifest's own name")
	require.ErrorContains(t, checkpoint.Commit(dst, func(tmp string) error {
		return os.Symlink("/etc/passwd", filepath.Join(tmp, "link"))
	}), "link is a link")
	require.EqualError(t, checkpoint.Commit(dst, func(string) error { return errors.New("no luck") }), "no luck")
	require.PanicsWithValue(t, "bang", func() { _ = checkpoint.Commit(dst, func(string) error { panic("bang") }) })
	require.Equal(t, []string{"out"}, listing(t, parent))
	require.Equal(t, "old", versionOf(t, dst))

	file := filepath.Join(dst, "config.json")
	requireInput(t, checkpoint.Commit(file, write("x")), file, "choose another --out")
	require.ErrorContains(t, checkpoint.Commit("/proc/self/salsa", write("x")), "/proc/self/salsa")
	require.ErrorContains(t, checkpoint.Commit("/dev/null/salsa", write("x")), "/dev/null/salsa")
}

func TestCommitBehindALink(t *testing.T) {
	parent := t.TempDir()
	link, dst := filepath.Join(parent, "link"), filepath.Join(parent, "out")
	require.NoError(t, save(dst, "old"))
	require.NoError(t, os.Symlink("out", link))
	require.NoError(t, save(link, "new"))
	require.Equal(t, "new", versionOf(t, dst))
	require.Equal(t, []string{"link", "out"}, listing(t, parent))
}

func TestWriteFileAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	require.NoError(t, checkpoint.WriteFileAtomic(path, []byte("one")))
	require.NoError(t, checkpoint.WriteFileAtomic(path, []byte("two")))
	for n := 1; n <= 4; n++ { // create, write, sync, rename
		calls := 0
		restore := checkpoint.SetFailpoint(func(string, string) error {
			if calls++; calls == n {
				return syscall.ENOSPC
			}
			return nil
		})
		err := checkpoint.WriteFileAtomic(path, []byte("three"))
		restore()
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorContains(t, err, path)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "two", string(got))
		require.Equal(t, []string{"f"}, listing(t, dir))
	}
	err := checkpoint.WriteFileAtomic(filepath.Join(dir, "no", "f"), nil)
	require.ErrorContains(t, err, filepath.Join(dir, "no", "f")+": cannot be written: no such file or directory; make its folder first")
}

package checkpoint_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"salsa/internal/checkpoint"
	"salsa/internal/profile"
	"salsa/internal/runlock"
)

func TestPrepareOut(t *testing.T) {
	parent := t.TempDir()
	put := func(dir, name string) string {
		path := filepath.Join(parent, dir)
		require.NoError(t, os.MkdirAll(path, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(path, name), nil, 0o644))
		return path
	}
	run, other, started := put("run", checkpoint.RunFile), put("other", "x"), put("started", runlock.FileName)
	put("started", "run.yaml.tmp-1-1")

	profiled, kept := put("profiled/profile", profile.ReportFile), put("kept/profile", profile.ReportFile)
	put("kept/profile", "mine")

	for _, resume := range []bool{false, true} {
		require.NoError(t, checkpoint.PrepareOut(filepath.Dir(profiled), resume), "nor does the profile of a run that failed")
		requireInput(t, checkpoint.PrepareOut(filepath.Dir(kept), resume), "is not empty")
		require.NoError(t, checkpoint.PrepareOut(filepath.Join(parent, "a", fmt.Sprint(resume)), resume))
		require.NoError(t, checkpoint.PrepareOut(filepath.Join(parent, "a", fmt.Sprint(resume)), resume))
		require.NoError(t, checkpoint.PrepareOut(started, resume), "a lock and unfinished files do not count")
		requireInput(t, checkpoint.PrepareOut(other, resume), other, "is not empty", "choose another --out")
		requireInput(t, checkpoint.PrepareOut(filepath.Join(other, "x"), resume), "is a file")
		requireInput(t, checkpoint.PrepareOut("/dev/null/out", resume), "/dev/null/out", "choose a writable --out")
		requireInput(t, checkpoint.PrepareOut("/proc/salsa", resume), "/proc/salsa", "choose a writable --out")
		requireInput(t, checkpoint.PrepareOut("", resume), "--out DIR")
	}
	requireInput(t, checkpoint.PrepareOut(run, false), run, "--resume")
	require.NoError(t, checkpoint.PrepareOut(run, true))
	require.Equal(t, []string{checkpoint.RunFile}, listing(t, run), "the probe leaves nothing")
}

func TestPrepareOutWithoutPermission(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	requireInput(t, checkpoint.PrepareOut(dir, false), dir, "choose a writable --out")
}

func TestCleanStale(t *testing.T) {
	parent := t.TempDir()
	gone := deadProcess(t)
	living := os.Getppid()
	mine, release := checkpoint.Reserve(filepath.Join(parent, "mine"), "tmp")
	defer release()
	path := func(format string, args ...any) string { return filepath.Join(parent, fmt.Sprintf(format, args...)) }
	keep := []string{mine, path("live.tmp-%d-1", living), path("notes.tmp"), path("a.tmp-x-1")}
	drop := []string{path("a.tmp-%d-1", gone), path("b.old-%d-2", gone), path("c.tmp-%d-999999", os.Getpid())}
	for _, dir := range append(append([]string{path("b")}, keep...), drop...) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	}
	require.NoError(t, save(path("d.old-%d-3", gone), "moved aside"))

	removed, err := checkpoint.CleanStale(parent)
	require.NoError(t, err)
	require.ElementsMatch(t, drop, removed)
	for _, dir := range append(keep, path("b")) {
		require.DirExists(t, dir)
	}
	require.Equal(t, "moved aside", versionOf(t, path("d")))
	removed, err = checkpoint.CleanStale(path("absent"))
	require.NoError(t, err)
	require.Empty(t, removed)
}

// TestCommitDropsUnfinished: a killed writer's folder goes when the same name is written again, and nobody else's.
func TestCommitDropsUnfinished(t *testing.T) {
	parent := t.TempDir()
	path := func(format string, args ...any) string { return filepath.Join(parent, fmt.Sprintf(format, args...)) }
	gone, living := deadProcess(t), os.Getppid()
	keep := []string{path("soup.tmp-%d-1", living), path("soup2.tmp-%d-1", gone), path("soup.old-%d-1", gone), path("soup.tmp-1")}
	drop := path("soup.tmp-%d-2", gone)
	for _, dir := range append(keep, drop) {
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	require.NoError(t, save(path("soup"), "done"))
	require.NoDirExists(t, drop)
	for _, dir := range keep {
		require.DirExists(t, dir)
	}
}

// deadProcess returns the id of a process that has ended.
func deadProcess(t *testing.T) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	require.NoError(t, cmd.Run())
	return cmd.Process.Pid
}

func TestHashes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	hash := func(f func() (string, error)) string {
		t.Helper()
		sum, err := f()
		require.NoError(t, err)
		require.Len(t, sum, 64)
		return sum
	}
	file := func(path string) string { return hash(func() (string, error) { return checkpoint.HashFile(path) }) }
	files := func(paths ...string) string {
		return hash(func() (string, error) { return checkpoint.HashFiles(paths...) })
	}
	tree := func(path string) string { return hash(func() (string, error) { return checkpoint.HashTree(path) }) }

	a, b := write("t/a", "abc"), write("t/s/b", "xyz")
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", file(a), "FIPS 180's example")
	require.Equal(t, file(a), tree(a), "a tree of one file")
	require.NotEqual(t, files(a, b), files(b, a))
	require.Equal(t, files(a, b), files(write("u/other", "abc"), b), "names do not count for files")

	before := tree(filepath.Join(dir, "t"))
	require.NoError(t, os.Chtimes(a, time.Unix(1, 0), time.Unix(1, 0)))
	require.Equal(t, before, tree(filepath.Join(dir, "t")), "times do not count")
	require.NoError(t, os.Symlink("t", filepath.Join(dir, "link")))
	require.Equal(t, before, tree(filepath.Join(dir, "link")))
	require.NoError(t, os.Rename(a, filepath.Join(dir, "t", "c")))
	require.NotEqual(t, before, tree(filepath.Join(dir, "t")), "names count in a tree")
	require.NoError(t, os.Remove(filepath.Join(dir, "t", "c")))
	require.NoError(t, os.Symlink(write("blobs/1", "abc"), a))
	require.Equal(t, before, tree(filepath.Join(dir, "t")), "a link counts as its file")

	// Same size, times set back: still seen.
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(b, old, old))
	first := file(b)
	require.NoError(t, os.WriteFile(b, []byte("XYZ"), 0o644))
	require.NoError(t, os.Chtimes(b, old, old))
	require.NotEqual(t, first, file(b))

	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "t", "loop")))
	for _, bad := range []string{filepath.Join(dir, "t"), filepath.Join(dir, "absent")} {
		_, err := checkpoint.HashTree(bad)
		requireInput(t, err, bad)
	}
	_, err := checkpoint.HashFile(dir)
	requireInput(t, err, dir, "not a file")
	_, err = checkpoint.HashFiles(b, filepath.Join(dir, "absent"))
	requireInput(t, err, "absent")
}

func TestHashFileRemembersOnlySettledFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte("abc"), 0o644))
	first, err := checkpoint.HashFile(path)
	require.NoError(t, err)
	require.Empty(t, checkpoint.Remembered(path), "written a moment ago")

	defer checkpoint.SetSettled(-time.Hour)()
	again, err := checkpoint.HashFile(path)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Equal(t, first, checkpoint.Remembered(path))
	again, err = checkpoint.HashFile(path)
	require.NoError(t, err)
	require.Equal(t, first, again)

	time.Sleep(20 * time.Millisecond) // more than a tick of the file system's clock
	require.NoError(t, os.WriteFile(path, []byte("xyz"), 0o644))
	require.Empty(t, checkpoint.Remembered(path))
	changed, err := checkpoint.HashFile(path)
	require.NoError(t, err)
	require.NotEqual(t, first, changed)
}

package runlock_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/internal/runlock"
)

func TestOnlyOneHolder(t *testing.T) {
	dir := t.TempDir()
	lock, err := runlock.Acquire(dir)
	require.NoError(t, err)
	_, err = runlock.Acquire(dir)
	require.ErrorContains(t, err, fmt.Sprintf("%s: is in use by process %d on ", dir, os.Getpid()))
	require.Equal(t, fault.ExitInput, fault.ExitCode(err))
	require.NoError(t, lock.Release())
	lock, err = runlock.Acquire(dir)
	require.NoError(t, err)
	require.NoError(t, lock.Release())

	_, err = runlock.Acquire(filepath.Join(dir, "absent"))
	require.Equal(t, fault.ExitInput, fault.ExitCode(err))
	require.ErrorContains(t, err, "absent")
}

// A killed process leaves nothing locked.
func TestAKilledHolderLetsGo(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperHolds$")
	cmd.Env = append(os.Environ(), "SALSA_HOLD="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 1)) // it holds the lock now
	require.NoError(t, err)
	_, err = runlock.Acquire(dir)
	require.ErrorContains(t, err, fmt.Sprintf("process %d on ", cmd.Process.Pid))
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	lock, err := runlock.Acquire(dir)
	require.NoError(t, err)
	require.NoError(t, lock.Release())
}

func TestHelperHolds(t *testing.T) {
	dir := os.Getenv("SALSA_HOLD")
	if dir == "" {
		t.Skip("only runs in the process that TestAKilledHolderLetsGo starts")
	}
	_, err := runlock.Acquire(dir)
	require.NoError(t, err)
	fmt.Println("held")
	time.Sleep(time.Minute)
}

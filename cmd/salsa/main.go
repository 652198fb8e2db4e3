// Command salsa trains language models from human preferences: supervised fine-tuning, checkpoint soups, reward models,
// PPO whose KL reference may be a soup, and the methods around it. `salsa help` lists the commands.
//
// main only wires: signals become the cancelling of a context, errors become one line on stderr and an exit code
// (0 done, 1 failed, 2 bad usage or input, 130 interrupted, 141 nobody reads standard output any more). Each command is one file with a newXCmd function.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"syscall"

	"salsa/internal/fault"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(newRootCmd(), os.Args[1:], os.Stderr))
}

// run executes one command line and returns the exit code.
func run(root *cobra.Command, args []string, stderr io.Writer) (code int) {
	defer func() {
		// Go ends a panicking process with code 2, which here means bad input; a defect is a failure.
		if p := recover(); p != nil {
			fmt.Fprintf(stderr, "salsa: internal error, please report it: %v\n%s", p, debug.Stack())
			code = fault.ExitFailed
		}
	}()
	ctx, stop := interruptible(stderr)
	defer stop()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if path := (*os.PathError)(nil); errors.As(err, &path) && path.Path == os.Stdout.Name() && path.Err == syscall.EPIPE {
		return exitPipe // as `salsa … | head` ends every program
	}
	if errors.Is(err, context.Canceled) && !errors.Is(err, fault.ErrInterrupted) { // what writes its result as a whole
		err = fmt.Errorf("%w before the end: nothing was written", fault.ErrInterrupted)
	}
	for _, one := range apart(err) {
		fmt.Fprintf(stderr, "salsa: %s\n", oneLine(one))
	}
	return fault.ExitCode(err)
}

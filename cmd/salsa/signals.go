package main

// Signals: what becomes of an interrupt, and of a stream that nobody reads any more.

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"salsa/internal/fault"
)

const (
	exitPipe = 128 + int(syscall.SIGPIPE)
	// patience is how long an interrupt waits for a standard error that stands still.
	patience = 2 * time.Second
)

// interruptible returns a context that the first SIGINT or SIGTERM cancels, so that commands save their state; the
// second ends the process at once. Neither waits for stderr, which may stand still. A stream that nobody reads any more
// becomes an error of its writer's: Go would end the process, and a closed standard error is no reason to stop a run.
func interruptible(stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, pipes := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	signal.Notify(pipes, syscall.SIGPIPE)
	go func() {
		if _, open := <-signals; !open {
			return
		}
		go func() {
			fmt.Fprintln(stderr, "salsa: stopping; interrupt again to stop without saving")
			cancel()
		}()
		time.AfterFunc(patience, cancel)
		if _, open := <-signals; open {
			os.Exit(fault.ExitInterrupted)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipes)
		close(signals)
		cancel()
	}
}

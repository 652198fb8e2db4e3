// Package fault tells errors of the user's input apart from failures in flight, so that main can
// choose the exit code: 2 for bad usage or input, 1 for a failure, 130 for an interrupt.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Exit codes of every salsa command.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitInput       = 2
	ExitInterrupted = 130
)

// ErrInterrupted reports a run that was stopped by a signal after its state was saved.
var ErrInterrupted = errors.New("interrupted")

// Error is a mistake in what the user gave: a file, a row, a key, a flag. Its message is one line that
// names the place and the remedy.
type Error struct {
	Msg string
	Err error // the cause, or nil
}

// Error returns the one-line message.
func (e *Error) Error() string { return e.Msg }

// Unwrap returns the cause, if any.
func (e *Error) Unwrap() error { return e.Err }

// Inputf makes an *Error; a %w verb keeps its cause reachable.
func Inputf(format string, args ...any) error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{Msg: wrapped.Error(), Err: errors.Unwrap(wrapped)}
}

// ExitCode maps an error to the process exit code.
func ExitCode(err error) int {
	var input *Error
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrInterrupted), errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.As(err, &input):
		return ExitInput
	default:
		return ExitFailed
	}
}

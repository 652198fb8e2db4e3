package main

// How errors are told: each fault in a line of its own.

import (
	"errors"
	"strings"
)

// apart lists the errors that errors.Join made one of; none of nil.
func apart(err error) (out []error) {
	for at := err; at != nil && at.Error() == err.Error(); at = errors.Unwrap(at) {
		joined, ok := at.(interface{ Unwrap() []error })
		if !ok || strings.Count(err.Error(), "\n") == 0 {
			continue
		}
		for _, one := range joined.Unwrap() {
			out = append(out, apart(one)...)
		}
		return out
	}
	if err != nil {
		out = append(out, err)
	}
	return out
}

// oneLine keeps an error to the line that the contract promises.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}

package job

// Rows in, rows out: JSON lines written beside their final name and renamed.

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"salsa/internal/checkpoint"
)

// writeRows writes one JSON object per line, in order, as a whole or not at all.
func writeRows[T any](path string, rows []T) error {
	return checkpoint.WriteAtomic(path, func(w io.Writer) error { return encodeRows(w, rows) })
}

// encodeRows writes one JSON object per line, in order.
func encodeRows[T any](w io.Writer, rows []T) error {
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	for i := range rows {
		if err := enc.Encode(rows[i]); err != nil {
			return err
		}
	}
	return buf.Flush()
}

// eachLine walks the lines of r without their ends; the last need not have one. A read error ends the walk like
// the end of the input.
func eachLine(r io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadString('\n')
			if text := strings.TrimRight(line, "\r\n"); line != "" && !yield(text) || err != nil {
				return
			}
		}
	}
}

// eachRow walks the intact rows from the start of a file, each with the place where it ends; the first line that
// is cut off or no row ends the walk. What else goes wrong is in err.
func eachRow[T any](path string, err *error) iter.Seq2[T, int64] {
	return func(yield func(T, int64) bool) {
		f, failed := os.Open(path)
		if *err = failed; failed != nil {
			return
		}
		defer f.Close()
		in, end := bufio.NewReader(f), int64(0)
		for {
			line, failed := in.ReadBytes('\n')
			if failed != nil && !errors.Is(failed, io.EOF) {
				*err = failed
			}
			var row T
			if failed != nil || json.Unmarshal(line, &row) != nil {
				return
			}
			if end += int64(len(line)); !yield(row, end) {
				return
			}
		}
	}
}

// appendRows adds one JSON object per line to a file and returns when they are on the disk.
func appendRows[T any](path string, rows []T) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	err = errors.Join(encodeRows(f, rows), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("%w; free some space and give the same command with --resume", err)
	}
	return nil
}

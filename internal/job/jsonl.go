package job

// Rows in, rows out: JSON lines written beside their final name and renamed.

import (
	"bufio"
	"encoding/json"
	"io"
	"iter"
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

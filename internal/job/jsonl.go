package job

// Rows in, rows out: JSON lines written beside their final name and renamed.

import (
	"bufio"
	"encoding/json"
	"io"

	"salsa/internal/checkpoint"
)

// writeRows writes one JSON object per line, in order, as a whole or not at all.
func writeRows[T any](path string, rows []T) error {
	return checkpoint.WriteAtomic(path, func(w io.Writer) error {
		buf := bufio.NewWriter(w)
		enc := json.NewEncoder(buf)
		enc.SetEscapeHTML(false)
		for i := range rows {
			if err := enc.Encode(rows[i]); err != nil {
				return err
			}
		}
		return buf.Flush()
	})
}

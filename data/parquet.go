// Reading .parquet files, the format the Hugging Face hub stores data sets in: each row becomes the JSON
// record that the other readers would have met.
package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"salsa/internal/fault"

	"github.com/parquet-go/parquet-go"
)

// readParquet yields every row as a record; the record's line is the 1-based row number.
func readParquet(file *os.File, path string, yield func(record, error) bool) {
	fail := func(row int, err error) {
		at := path
		if row > 0 { // 0: the file as a whole
			at = fmt.Sprintf("%s:%d", path, row)
		}
		yield(record{}, fault.Inputf("%s: %w; is it a whole .parquet file?", at, err))
	}
	info, err := file.Stat()
	if err != nil {
		fail(0, err)
		return
	}
	if info.Size() == 0 {
		return // Open reports the empty file
	}
	opened, err := parquet.OpenFile(file, info.Size())
	if err != nil {
		fail(0, err)
		return
	}
	reader := parquet.NewGenericReader[map[string]any](opened, opened.Schema())
	defer reader.Close()
	batch := make([]map[string]any, 64)
	for row := 1; ; {
		for i := range batch {
			batch[i] = map[string]any{}
		}
		n, err := reader.Read(batch)
		for _, values := range batch[:n] {
			raw, err := json.Marshal(values)
			if err != nil {
				fail(row, err)
				return
			}
			if !yield(record{json: raw, line: row}, nil) {
				return
			}
			row++
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fail(row, err)
			return
		}
	}
}

// Opening data files by name: compression, the choice of reader, and how errors name their place.
package data

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"salsa/internal/fault"

	"github.com/klauspost/compress/zstd"
)

// Source is a sequence that can be walked again and again, once per epoch. Walking stops at the first error.
type Source[T any] func() iter.Seq2[T, error]

// ReadOptions says how to read a file. The zero value reads every supported format with its usual keys.
type ReadOptions struct {
	Columns   map[string]string // our key → the file's key, e.g. "prompt" → "question"
	Separator string            // between the documents of a .txt file; empty: blank lines
	MaxBytes  int               // the longest record accepted; 0 means 64 MiB
}

const defaultMaxBytes = 64 << 20

// extensions lists what Open understands, for its error message.
const extensions = ".jsonl, .json, .txt or .parquet, the first three also with .gz or .zst"

// record is one raw value of a file: JSON for the JSON formats, a document for plain text.
type record struct {
	json []byte
	text string
	line int
}

// Open returns the rows of path as a Source; it reads nothing before the source is walked. Every error
// is an input error that names file and line.
func Open(path string, opt ReadOptions) Source[Row] {
	if opt.MaxBytes == 0 {
		opt.MaxBytes = defaultMaxBytes
	}
	return func() iter.Seq2[Row, error] {
		return func(yield func(Row, error) bool) {
			seen := false
			for rec, err := range records(path, opt) {
				if err != nil {
					yield(Row{}, err)
					return
				}
				seen = true
				rows, err := parsedRows(path, rec, opt)
				if err != nil {
					yield(Row{}, err)
					return
				}
				for _, row := range rows {
					if !yield(row, nil) {
						return
					}
				}
			}
			if !seen {
				yield(Row{}, noRows(path))
			}
		}
	}
}

func noRows(path string) error {
	return fault.Inputf("%s: no rows in the file; give a file with at least one", path)
}

// parsedRows parses one record of path.
func parsedRows(path string, rec record, opt ReadOptions) ([]Row, error) {
	rows, err := parseRecord(rec, opt.Columns)
	if err != nil {
		return nil, fault.Inputf("%s:%d: %w", path, rec.line, err)
	}
	for i := range rows {
		rows[i].File, rows[i].Line = path, rec.line
	}
	return rows, nil
}

// recordBlock is some of a file's records; err is what came after them in place of one.
type recordBlock struct {
	records []record
	err     error
}

// inBlocks gathers the records of a file.
func inBlocks(records iter.Seq2[record, error]) iter.Seq[recordBlock] {
	return func(yield func(recordBlock) bool) {
		var b recordBlock
		for rec, err := range records {
			if b.err = err; err != nil {
				break
			}
			if b.records = append(b.records, rec); len(b.records) < blockRows {
				continue
			}
			if !yield(b) {
				return
			}
			b = recordBlock{}
		}
		if len(b.records) > 0 || b.err != nil {
			yield(b)
		}
	}
}

// ReadAll reads every row of a file into memory; records are parsed on all processors while the next are read. The error
// is that of the first bad record.
func ReadAll(path string, opt ReadOptions) (rows []Row, err error) {
	if opt.MaxBytes == 0 {
		opt.MaxBytes = defaultMaxBytes
	}
	type parsed struct {
		rows []Row
		err  error
	}
	seen := false
	inOrder(inBlocks(records(path, opt)), func(b recordBlock) (out parsed) {
		for _, rec := range b.records {
			more, err := parsedRows(path, rec, opt)
			if err != nil {
				return parsed{err: err}
			}
			out.rows = append(out.rows, more...)
		}
		out.err = b.err
		return out
	}, func(p parsed) bool {
		rows, err, seen = append(rows, p.rows...), p.err, true
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	if !seen {
		return nil, noRows(path)
	}
	if len(rows) == 0 {
		return nil, fault.Inputf("%s: its records hold no usable rows; give other data", path)
	}
	return rows, nil
}

// records walks the raw records of a file, chosen by extension.
func records(path string, opt ReadOptions) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		file, err := os.Open(path)
		if err != nil {
			yield(record{}, fault.Inputf("%s: cannot be opened: %w; check the path", path, errors.Unwrap(err)))
			return
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.IsDir() {
			yield(record{}, fault.Inputf("%s: is a folder; name the files in it, separated by commas", path))
			return
		}
		name := strings.ToLower(filepath.Base(path))
		if strings.HasSuffix(name, ".parquet") {
			readParquet(file, path, yield)
			return
		}
		plain, stem, err := decompress(file, name)
		if err != nil {
			yield(record{}, fault.Inputf("%s: %w", path, err))
			return
		}
		defer plain.Close()
		in := bufio.NewReaderSize(plain, 1<<16)
		skipBOM(in)
		switch filepath.Ext(stem) {
		case ".jsonl", ".ndjson":
			readLines(in, path, opt.MaxBytes, yield)
		case ".json":
			readJSON(in, path, opt.MaxBytes, yield)
		case ".txt", ".text", ".md":
			readText(in, path, opt, yield)
		default:
			yield(record{}, fault.Inputf("%s: unknown file type; use %s", path, extensions))
		}
	}
}

// decompress undoes .gz and .zst and returns the name without that extension.
func decompress(file io.Reader, name string) (io.ReadCloser, string, error) {
	switch filepath.Ext(name) {
	case ".gz":
		r, err := gzip.NewReader(file)
		if errors.Is(err, io.EOF) {
			return nil, "", errors.New("empty file; a .gz file has at least a header")
		}
		if err != nil {
			err = fmt.Errorf("%w; is it a gzip file?", err)
		}
		return r, strings.TrimSuffix(name, ".gz"), err
	case ".zst":
		r, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, "", err
		}
		return r.IOReadCloser(), strings.TrimSuffix(name, ".zst"), nil
	default:
		return io.NopCloser(file), name, nil
	}
}

// skipBOM drops the byte-order mark some Windows programs put at the start of UTF-8 files.
func skipBOM(in *bufio.Reader) {
	if head, err := in.Peek(3); err == nil && string(head) == "\xef\xbb\xbf" {
		in.Discard(3)
	}
}

// The readers of JSON lines, JSON arrays and plain text: streams of raw records with their line numbers.
package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"salsa/internal/fault"
)

// readLines yields one record per line that is not blank.
func readLines(in *bufio.Reader, path string, maxBytes int, yield func(record, error) bool) {
	for line := 1; ; line++ {
		text, err := boundedLine(in, maxBytes)
		if err != nil && err != io.EOF {
			yield(record{}, lineError(path, line, err))
			return
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			if !utf8.Valid(text) {
				yield(record{}, fault.Inputf("%s:%d: not valid UTF-8; convert the file, e.g. with iconv", path, line))
				return
			}
			if !yield(record{json: text, line: line}, nil) {
				return
			}
		}
		if err == io.EOF {
			return
		}
	}
}

// lineError tells what the line of a file could not be read for. A line of plain text ends with its file, so where more was
// expected, it was by what unpacks the file.
func lineError(path string, line int, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.Inputf("%s:%d: %w: the packed file is cut off; fetch or pack it again", path, line, err)
	}
	return fault.Inputf("%s:%d: %w", path, line, err)
}

// errTooLong says that a record outgrew ReadOptions.MaxBytes.
func errTooLong(maxBytes int) error {
	return fmt.Errorf("record longer than %d bytes; split it or raise the limit", maxBytes)
}

// boundedLine reads up to and including a newline into a fresh slice, and gives up past maxBytes so that
// a file without newlines cannot fill memory.
func boundedLine(in *bufio.Reader, maxBytes int) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxBytes {
			return nil, errTooLong(maxBytes)
		}
		line = append(line, part...)
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// readJSON yields the elements of a top-level array, of the array under "data", or a lone object.
func readJSON(in *bufio.Reader, path string, maxBytes int, yield func(record, error) bool) {
	src := &lineCounter{in: in, maxBytes: maxBytes}
	dec := json.NewDecoder(src)
	fail := func(err error) {
		at := dec.InputOffset()
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			at, err = src.read, io.ErrUnexpectedEOF
		}
		yield(record{}, fault.Inputf("%s:%d: %w; the file must be a JSON array of objects, or {\"data\": [...]}",
			path, src.lineAt(at), err))
	}
	first, err := in.Peek(1)
	for err == nil && bytes.ContainsAny(first, " \t\r\n") {
		src.skip()
		first, err = in.Peek(1)
	}
	if err == io.EOF {
		return // Open reports the empty file
	}
	if err == nil && first[0] == '{' {
		readJSONObject(dec, src, fail, yield)
		return
	}
	if tok, err := dec.Token(); err != nil {
		fail(err)
		return
	} else if tok != json.Delim('[') {
		fail(errors.New("neither an array nor an object"))
		return
	}
	readElements(dec, src, fail, yield)
}

// readJSONObject handles a file whose top level is an object: {"data": [...]} or a single row.
func readJSONObject(dec *json.Decoder, src *lineCounter, fail func(error), yield func(record, error) bool) {
	var whole json.RawMessage
	if err := dec.Decode(&whole); err != nil {
		fail(err)
		return
	}
	var wrapper struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(whole, &wrapper); err != nil || wrapper.Data == nil {
		yield(record{json: whole, line: src.base + 1}, nil)
		return
	}
	at := 0 // the elements are sub-strings of whole in order, so their lines can be found again
	for _, element := range wrapper.Data {
		at += bytes.Index(whole[at:], element)
		line := src.base + 1 + bytes.Count(whole[:at], []byte("\n"))
		if !yieldElement(element, line, fail, yield) {
			return
		}
		at += len(element)
	}
}

// readElements yields the rest of an array whose opening bracket was read.
func readElements(dec *json.Decoder, src *lineCounter, fail func(error), yield func(record, error) bool) {
	for dec.More() {
		src.budget = src.maxBytes
		var element json.RawMessage
		if err := dec.Decode(&element); err != nil {
			fail(err)
			return
		}
		end := dec.InputOffset()
		line := src.lineAt(end - int64(len(element)))
		if !yieldElement(element, line, fail, yield) {
			return
		}
	}
	if _, err := dec.Token(); err != nil { // the closing bracket
		fail(err)
	} else if _, err := dec.Token(); err != io.EOF {
		fail(errors.New("something follows the array"))
	}
}

func yieldElement(element []byte, line int, fail func(error), yield func(record, error) bool) bool {
	if !utf8.Valid(element) {
		fail(errors.New("not valid UTF-8; convert the file, e.g. with iconv"))
		return false
	}
	return yield(record{json: element, line: line}, nil)
}

// lineCounter feeds a JSON decoder and remembers where the newlines were, so that a byte offset can be
// turned into a line, and stops a record that outgrows its budget.
type lineCounter struct {
	in       *bufio.Reader
	maxBytes int
	budget   int
	read     int64
	newlines []int64 // offsets of newlines not yet passed by lineAt
	base     int     // newlines already passed
}

// skip passes over one byte of leading white space.
func (c *lineCounter) skip() {
	if b, err := c.in.ReadByte(); err == nil && b == '\n' {
		c.base++
	}
}

// Read implements io.Reader within the budget of the current record.
func (c *lineCounter) Read(p []byte) (int, error) {
	if c.budget == 0 && c.read == 0 {
		c.budget = c.maxBytes
	}
	if c.budget <= 0 {
		return 0, errTooLong(c.maxBytes)
	}
	n, err := c.in.Read(p[:min(len(p), 1<<16)])
	for i, b := range p[:n] {
		if b == '\n' {
			c.newlines = append(c.newlines, c.read+int64(i))
		}
	}
	c.read += int64(n)
	c.budget -= n
	return n, err
}

// lineAt returns the 1-based line of a byte offset; offsets must not decrease between calls.
func (c *lineCounter) lineAt(offset int64) int {
	passed := 0
	for passed < len(c.newlines) && c.newlines[passed] < offset {
		passed++
	}
	c.newlines = c.newlines[passed:]
	c.base += passed
	return c.base + 1
}

// readText yields the documents of a plain text file, parted by lines equal to opt.Separator (by blank
// lines if it is empty). White space around a document is dropped.
func readText(in *bufio.Reader, path string, opt ReadOptions, yield func(record, error) bool) {
	var doc strings.Builder
	start := 1
	flush := func(next int) bool {
		text := strings.TrimSpace(doc.String())
		first := start
		doc.Reset()
		start = next
		return text == "" || yield(record{text: text, line: first}, nil)
	}
	for line := 1; ; line++ {
		raw, err := boundedLine(in, opt.MaxBytes)
		if err == nil || err == io.EOF {
			if !utf8.Valid(raw) {
				err = errors.New("not valid UTF-8; convert the file, e.g. with iconv")
			} else if doc.Len()+len(raw) > opt.MaxBytes {
				err = errTooLong(opt.MaxBytes)
			}
		}
		if err != nil && err != io.EOF {
			yield(record{}, fault.Inputf("%s:%d: %w", path, line, err))
			return
		}
		text := strings.ReplaceAll(string(raw), "\r\n", "\n")
		before, ends := cutSeparator(text, opt.Separator)
		if doc.Len() == 0 {
			start = line
		}
		doc.WriteString(before)
		if ends && !flush(line+1) {
			return
		}
		if err == io.EOF {
			flush(line + 1)
			return
		}
	}
}

// cutSeparator reports whether a document ends with this line and returns what belongs to it: a line that
// ends in the separator, or a blank line where there is none.
func cutSeparator(line, separator string) (before string, ends bool) {
	if separator == "" {
		return line, strings.TrimSpace(line) == ""
	}
	if cut, found := strings.CutSuffix(strings.TrimRight(line, " \t\r\n"), separator); found {
		return cut, true
	}
	return line, false
}

// Reading a header. What is refused here: a length beyond the file or the limit, bytes that are no UTF-8
// or no JSON, keys that stand twice, unknown fields and dtypes, byte ranges that overlap, leave a hole,
// do not fit the shape, or do not end where the file ends.

package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"unicode/utf8"

	"salsa/internal/fault"
)

const (
	lengthBytes = 8           // the header length, little endian
	maxHeader   = 100_000_000 // bytes, the limit of the reference implementation
	metadataKey = "__metadata__"
	again       = "copy or download the file again" // the remedy for a damaged file
)

// ReadHeader reads and checks the header of a safetensors file. Every error is an input error: one line
// that names the file, the tensor where there is one, and the remedy.
func ReadHeader(path string) (*File, error) {
	if stat, err := os.Stat(path); err == nil && !stat.Mode().IsRegular() { // opening a pipe would wait for a writer
		return nil, fault.Inputf("%s: is not a plain file; give a .safetensors file", path)
	}
	r, err := os.Open(path)
	if err != nil {
		return nil, fault.Inputf("%s: cannot be opened: %w; check the path", path, err)
	}
	defer r.Close()
	stat, err := r.Stat()
	if err != nil {
		return nil, fault.Inputf("%s: cannot be looked up: %w; check the path", path, err)
	}
	file, err := parse(r, stat.Size())
	if err != nil {
		return nil, fault.Inputf("%s: %w", path, err)
	}
	file.Path = path
	return file, nil
}

// parse reads a header from r, which holds size bytes. Nothing larger than size is allocated.
func parse(r io.ReaderAt, size int64) (*File, error) {
	header, err := readJSON(r, size)
	if err != nil {
		return nil, err
	}
	file, err := decode(header)
	if err != nil {
		return nil, err
	}
	start := lengthBytes + int64(len(header))
	if err := checkLayout(file.Infos, size-start); err != nil {
		return nil, err
	}
	for i := range file.Infos {
		file.Infos[i].Begin += start
		file.Infos[i].End += start
	}
	return file, nil
}

// readJSON returns the header's text once its length is known to be honest.
func readJSON(r io.ReaderAt, size int64) ([]byte, error) {
	if size < lengthBytes {
		return nil, fmt.Errorf("has %d bytes, too few for a header; %s", size, again)
	}
	var prefix [lengthBytes]byte
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, fmt.Errorf("cannot be read: %w; %s", err, again)
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	switch {
	case length > maxHeader:
		return nil, fmt.Errorf("claims a header of %d bytes and %d is the limit; is it a safetensors file? %s", length, maxHeader, again)
	case int64(length) > size-lengthBytes:
		return nil, fmt.Errorf("claims a header of %d bytes and has %d in all; %s", length, size, again)
	}
	header := make([]byte, length)
	if _, err := r.ReadAt(header, lengthBytes); err != nil && length > 0 {
		return nil, fmt.Errorf("header cannot be read: %w; %s", err, again)
	}
	switch {
	case !bytes.HasPrefix(header, []byte("{")):
		return nil, fmt.Errorf("header does not begin with {; is it a safetensors file? %s", again)
	case !utf8.Valid(header):
		return nil, fmt.Errorf("header is not UTF-8; %s", again)
	case !json.Valid(header):
		return nil, fmt.Errorf("header is not valid JSON; %s", again)
	}
	return header, nil
}

// decode turns valid JSON into infos whose offsets still count from the end of the header.
func decode(header []byte) (*File, error) {
	file := &File{}
	dec := newDecoder(header)
	err := object(dec, func(key string) (err error) {
		if key == metadataKey {
			file.Metadata, err = stringMap(dec)
			return err
		}
		info, err := decodeInfo(dec, key)
		file.Infos = append(file.Infos, info)
		return err
	})
	return file, err
}

// decodeInfo reads one tensor's entry and checks that its byte range fits its shape.
func decodeInfo(dec *json.Decoder, name string) (Info, error) {
	info := Info{Name: name}
	var offsets []int
	seen := 0
	err := object(dec, func(key string) (err error) {
		seen++
		switch key {
		case "dtype":
			info.DType, err = text(dec)
		case "shape":
			info.Shape, err = sizes(dec)
		case "data_offsets":
			offsets, err = sizes(dec)
		default:
			err = fmt.Errorf("unknown field %q; %s", key, again)
		}
		return err
	})
	if err != nil {
		return info, fmt.Errorf("tensor %q: %w", name, err)
	}
	if seen != 3 {
		return info, fmt.Errorf("tensor %q: needs dtype, shape and data_offsets; %s", name, again)
	}
	if len(offsets) != 2 || offsets[0] > offsets[1] {
		return info, fmt.Errorf("tensor %q: data_offsets %v are not a begin and an end; %s", name, offsets, again)
	}
	info.Begin, info.End = int64(offsets[0]), int64(offsets[1])
	size, err := byteSize(info.DType, info.Shape)
	if err != nil {
		return info, fmt.Errorf("tensor %q: %w", name, err)
	}
	if size != info.Size() {
		return info, fmt.Errorf("tensor %q: %s %v takes %d bytes and data_offsets give %d; %s",
			name, info.DType, info.Shape, size, info.Size(), again)
	}
	return info, nil
}

// checkLayout sorts infos by offset and checks that they cover the data exactly, byte for byte.
func checkLayout(infos []Info, data int64) error {
	slices.SortFunc(infos, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End), cmp.Compare(a.Name, b.Name))
	})
	end, previous := int64(0), ""
	for _, info := range infos {
		switch {
		case info.Begin < end:
			return fmt.Errorf("tensor %q: overlaps tensor %q; %s", info.Name, previous, again)
		case info.Begin > end:
			return fmt.Errorf("tensor %q: begins at data byte %d, leaving a hole after byte %d; %s", info.Name, info.Begin, end, again)
		case info.End > data:
			return fmt.Errorf("tensor %q: ends at data byte %d and the file holds %d, so it is cut off; %s", info.Name, info.End, data, again)
		}
		end, previous = info.End, info.Name
	}
	if end < data {
		return fmt.Errorf("%d bytes follow the last tensor; %s", data-end, again)
	}
	return nil
}

func newDecoder(text []byte) *json.Decoder {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return dec
}

// object reads a JSON object, handing each key to member, which must read the value. A key that stands
// twice is an error: readers differ in which one they believe.
func object(dec *json.Decoder, member func(key string) error) error {
	if err := open(dec, '{', "an object"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for dec.More() {
		key, err := text(dec)
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %q stands twice; %s", key, again)
		}
		seen[key] = true
		if err := member(key); err != nil {
			return err
		}
	}
	_, err := dec.Token() // the closing brace
	return err
}

// stringMap reads an object of strings.
func stringMap(dec *json.Decoder) (map[string]string, error) {
	m := map[string]string{}
	err := object(dec, func(key string) (err error) {
		m[key], err = text(dec)
		if err != nil {
			err = fmt.Errorf("key %q: %w", key, err)
		}
		return err
	})
	return m, err
}

// sizes reads an array of whole numbers >= 0, written in digits only.
func sizes(dec *json.Decoder) ([]int, error) {
	if err := open(dec, '[', "an array"); err != nil {
		return nil, err
	}
	list := []int{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		number, _ := token.(json.Number)
		n, err := strconv.ParseUint(number.String(), 10, strconv.IntSize-1)
		if err != nil {
			return nil, fmt.Errorf("%v is not a size; %s", token, again)
		}
		list = append(list, int(n))
	}
	_, err := dec.Token() // the closing bracket
	return list, err
}

// text reads a string.
func text(dec *json.Decoder) (string, error) {
	token, err := dec.Token()
	s, ok := token.(string)
	if err == nil && !ok {
		err = fmt.Errorf("%v stands where a string belongs; %s", token, again)
	}
	return s, err
}

func open(dec *json.Decoder, want json.Delim, what string) error {
	token, err := dec.Token()
	if err == nil && token != want {
		err = errors.New("has something else where " + what + " belongs; " + again)
	}
	return err
}

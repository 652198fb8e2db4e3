package models

// Reading JSON objects key by key: every error names the file and the key.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"salsa/internal/fault"
)

// reader takes values out of one JSON object and remembers the first fault.
type reader struct {
	path string                     // for messages: the file, and the key of a nested object
	raw  map[string]json.RawMessage // every key of the object
	err  error
}

func newReader(path string, data []byte) *reader {
	r := &reader{path: path}
	if err := json.Unmarshal(data, &r.raw); err != nil {
		r.err = fault.Inputf("%s: is not a JSON object: %w; correct it or download it again", path, err)
	} else if r.raw == nil {
		r.err = fault.Inputf("%s: is null; download it again", path)
	}
	return r
}

func readFile(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Inputf("%s: cannot be read: %w; give the folder of a Hugging Face model on this machine", path, errors.Unwrap(err))
	}
	return data, nil
}

// fail keeps the first fault.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fault.Inputf("%s: %s", r.path, fmt.Sprintf(format, args...))
	}
}

// has tells whether key is there and not null.
func (r *reader) has(key string) bool {
	v, ok := r.raw[key]
	return ok && !bytes.Equal(bytes.TrimSpace(v), []byte("null"))
}

// setDefault gives a key that is absent, not null, the value that transformers takes then.
func (r *reader) setDefault(key, value string) {
	if _, ok := r.raw[key]; !ok {
		r.raw[key] = json.RawMessage(value)
	}
}

// get decodes key, or returns missing if it is absent or null.
func get[T any](r *reader, key string, missing T) T {
	if !r.has(key) {
		return missing
	}
	var v T
	if err := json.Unmarshal(r.raw[key], &v); err != nil {
		r.fail("key %q: %s is not %s; correct it", key, r.raw[key], inJSON(v))
		return missing
	}
	return v
}

// inJSON says in JSON's words what v is read from.
func inJSON(v any) string {
	switch v.(type) {
	case int:
		return "a whole number"
	case float64, *float64:
		return "a number"
	case string:
		return "a string"
	case bool:
		return "true or false"
	case []int:
		return "a list of whole numbers"
	case []string:
		return "a list of strings"
	default:
		return "an object"
	}
}

// size decodes a positive whole number; missing 0 means that the key is required. After a fault it is 1, which
// keeps the arithmetic of later keys going.
func (r *reader) size(key string, missing int) int { return int(number(r, key, missing)) }

// positive is size for any number above zero.
func (r *reader) positive(key string, missing float64) float64 { return number(r, key, missing) }

func number[T int | float64](r *reader, key string, missing T) T {
	if !r.has(key) && missing == 0 {
		r.fail("key %q is missing; add it or download the file again", key)
		return 1
	}
	v := get(r, key, missing)
	if !(v > 0) {
		r.fail("key %q: %v is not positive; correct it", key, v)
		return 1
	}
	return v
}

// ids decodes a token id or a list of them; absent is an empty list.
func (r *reader) ids(key string) []int {
	var one int
	if r.has(key) && json.Unmarshal(r.raw[key], &one) == nil {
		return []int{one}
	}
	return get(r, key, []int(nil))
}

// object returns the reader of a nested object; adopt its fault when done.
func (r *reader) object(key string) *reader {
	return newReader(fmt.Sprintf("%s: key %q", r.path, key), r.raw[key])
}

// adopt takes over the fault of a nested object.
func (r *reader) adopt(inner *reader) {
	if r.err == nil {
		r.err = inner.err
	}
}

// refuse fails if key holds anything but null, false, 0, an empty value or one of the accepted literals.
func (r *reader) refuse(key, remedy string, accepted ...string) {
	if !r.has(key) {
		return
	}
	v := string(bytes.TrimSpace(r.raw[key]))
	if slices.Contains(append(accepted, "false", "0", "0.0", `""`, "[]", "{}"), v) {
		return
	}
	if len(v) > 80 {
		v = v[:80] + "…"
	}
	r.fail("key %q: salsa does not compute %s; %s", key, v, remedy)
}

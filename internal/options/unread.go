package options

// Options that a command has and does not read: some never, being part of a struct that commands share, some only beside
// certain values of others. What is given and would change nothing is refused.

import (
	"reflect"
	"strings"

	"salsa/internal/fault"
)

// Selective is implemented by options, or by a struct embedded in them, of which some are read only beside certain values
// of others.
type Selective interface {
	// Unread tells why the value of key changes nothing and what to do about it, to follow the flag's name; "" if it is read.
	Unread(key string) string
}

// Hider is implemented by options, or by a struct embedded in them, that share a struct of which they never read some keys.
// Those are left out of help, explanation and schema; Unread refuses them.
type Hider interface{ Hides(key string) bool }

// askAll lists v, which holds a struct, and the structs embedded in it, as far as they are of type T.
func askAll[T any](v reflect.Value) (out []T) {
	if x, ok := v.Addr().Interface().(T); ok {
		out = append(out, x)
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Anonymous && f.IsExported() && f.Type.Kind() == reflect.Struct {
			out = append(out, askAll[T](v.Field(i))...)
		}
	}
	return out
}

// Unread tells why the value of key changes nothing; "" if it is read.
func (c *Config) Unread(key string) string {
	for _, s := range askAll[Selective](reflect.ValueOf(c.target).Elem()) {
		if reason := s.Unread(key); reason != "" {
			return reason
		}
	}
	return ""
}

// checkRead refuses what was given and is not read. A whole run.yaml may be given, so a file's value counts only where it
// is not the default; one on the command line counts unless it turns something off.
func (c *Config) checkRead() error {
	for _, f := range c.fields {
		if f.text() == f.initial && (f.isZero() || !strings.HasPrefix(f.source, "--")) {
			continue
		}
		if reason := c.Unread(f.key); reason != "" {
			return fault.Inputf("--%s %s", strings.ReplaceAll(f.key, "_", "-"), reason)
		}
	}
	return nil
}

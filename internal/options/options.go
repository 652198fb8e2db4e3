// Package options turns one Go struct per command into its flags, its YAML keys, its --set keys and its help.
//
// A field declares everything about an option on one line:
//
//	LearningRate float64 `yaml:"learning_rate" help:"peak learning rate" check:">0"`
//
// gives the key learning_rate and the flag --learning-rate; the value the struct holds when it is bound is the
// default. Values are taken, later over earlier, from the Go default, --config F.yaml, --set key=value and explicit
// flags. Unknown keys are errors that name file and line and the likeliest intended key.
//
// Tags: yaml (key), help, flag (another flag name, or "-" for none), short (one letter), arg (placeholder in help),
// unit, enum:"a,b", check:">0,<=1" (durations in seconds), required:"true", sep:"none" (list items may hold commas),
// hash:"-" (does not change results), input:"path" (names files the run reads). Types: string, bool, int, int64,
// uint64, float64, time.Duration, and slices of these but the last. Embedded structs contribute their fields in place,
// which is how commands share common flags; a group:"Optimizer" tag on one is their heading in help.
package options

import (
	"fmt"
	"reflect"
	"strings"

	"salsa/internal/fault"
)

// Validator is implemented by options whose fields constrain one another. Validate looks at values only, never at
// the disk: a recipe is validated whole before its first stage has written anything. Its error names the keys.
type Validator interface{ Validate() error }

// PathLister is implemented by options that name input files inside a larger value, such as a reference written
// DIR,DIR@.5,.5, where the tag input:"path" does not fit.
type PathLister interface{ InputPaths() []string }

// Chooser is implemented by options whose allowed values are the keys of a table in the code, which an enum tag would
// repeat. Choices returns the values of key, or nil where the tags say all.
type Chooser interface{ Choices(key string) []string }

// Config is an options struct seen as named settings.
type Config struct {
	target any
	fields []*field
	byKey  map[string]*field
}

// Of wraps the options struct that ptr points to; its present values are the defaults. It panics when ptr is not a
// pointer to a struct or a tag is malformed.
func Of(ptr any) *Config {
	v := reflect.ValueOf(ptr)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("options: want a pointer to a struct, not %T", ptr))
	}
	c := &Config{target: ptr, fields: collect(v.Elem()), byKey: map[string]*field{}}
	chooser, _ := ptr.(Chooser)
	for _, f := range c.fields {
		if c.byKey[f.key] != nil {
			panic(fmt.Sprintf("options: %T declares the key %s twice", ptr, f.key))
		}
		c.byKey[f.key] = f
		if chooser != nil && len(f.enum) == 0 {
			f.enum = chooser.Choices(f.key)
		}
		f.initial = f.text()
		for _, h := range askAll[Hider](v.Elem()) {
			f.hidden = f.hidden || h.Hides(f.key)
		}
	}
	return c
}

// Target returns the pointer given to Of.
func (c *Config) Target() any { return c.target }

// Keys lists the YAML keys in declaration order.
func (c *Config) Keys() []string {
	out := make([]string, len(c.fields))
	for i, f := range c.fields {
		out[i] = f.key
	}
	return out
}

// Has reports whether key is an option.
func (c *Config) Has(key string) bool { return c.byKey[key] != nil }

// Get returns the value of key as text, lists joined by commas; ok is false for an unknown key.
func (c *Config) Get(key string) (text string, ok bool) {
	f := c.byKey[key]
	if f == nil {
		return "", false
	}
	return f.text(), true
}

func (f *field) text() string {
	if !f.isList() {
		return formatScalar(f.value)
	}
	parts := make([]string, f.value.Len())
	for i := range parts {
		parts[i] = formatScalar(f.value.Index(i))
	}
	return strings.Join(parts, ",")
}

// Inputs lists, in declaration order, the non-empty values of all options tagged input:"path", then those of the
// struct's InputPaths, if it has that method.
func (c *Config) Inputs() []string {
	var out []string
	for _, f := range c.fields {
		if f.input == "" || f.isZero() {
			continue
		}
		if !f.isList() {
			out = append(out, f.text())
			continue
		}
		for i := range f.value.Len() {
			out = append(out, formatScalar(f.value.Index(i)))
		}
	}
	if l, ok := c.target.(PathLister); ok {
		out = append(out, l.InputPaths()...)
	}
	return out
}

// Set gives key the value written in text (lists separated by commas). where names the source in messages.
func (c *Config) Set(key, text, where string) error {
	f, err := c.find(key, where)
	if err != nil {
		return err
	}
	return f.store(f.texts(text), where, where+": "+f.key)
}

// find looks key up; the error suggests a near one.
func (c *Config) find(key, where string) (*field, error) {
	if f := c.byKey[key]; f != nil {
		return f, nil
	}
	hint := DidYouMean(key, c.Keys())
	if hint == "" {
		hint = "; known keys: " + strings.Join(c.Keys(), ", ")
	}
	return nil, fault.Inputf("%s: unknown key %s%s", where, key, hint)
}

// store parses and keeps texts; label opens the message of a failure.
func (f *field) store(texts []string, source, label string) error {
	v, err := f.parse(texts)
	if err != nil {
		return fault.Inputf("%s: %w", label, err)
	}
	f.value.Set(v)
	f.source = source
	return nil
}

// Apply sets every key of the mapping n, which usually is a parsed file; unknown keys, values of the wrong type and
// values out of range are errors with file and line.
func (c *Config) Apply(n *Node) error {
	if n.Kind != Map {
		return fault.Inputf("%s: want a mapping of keys to values, not %s", n.Where(), n.Kind)
	}
	for _, e := range n.Entries {
		f, err := c.find(e.Key, place(e.Value.File, e.Line))
		if err != nil {
			return err
		}
		texts, err := f.nodeTexts(e.Value)
		if err != nil {
			return err
		}
		where := e.Value.Where()
		if err := f.store(texts, where, where+": "+f.key); err != nil {
			return err
		}
	}
	return nil
}

// nodeTexts flattens a YAML value to what parse takes, refusing shapes that the field cannot hold.
func (f *field) nodeTexts(n *Node) ([]string, error) {
	switch {
	case n.Kind == Scalar && f.isList():
		return f.texts(n.Text), nil
	case n.Kind == Scalar:
		return []string{n.Text}, nil
	case n.Kind == Null:
		return nil, fault.Inputf("%s: %s has no value; write one, or delete the line to keep the default", n.Where(), f.key)
	case n.Kind == Map || !f.isList():
		shape := "one value"
		if f.isList() {
			shape = "a list"
		}
		return nil, fault.Inputf("%s: %s must be %s (%s), not %s", n.Where(), f.key, shape, typeName(f.value.Type()), n.Kind)
	}
	texts := make([]string, len(n.Items))
	for i, item := range n.Items {
		if item.Kind != Scalar {
			return nil, fault.Inputf("%s: item %d of %s must be a single value, not %s", item.Where(), i+1, f.key, item.Kind)
		}
		texts[i] = item.Text
	}
	return texts, nil
}

// Missing lists the required keys that have no value.
func (c *Config) Missing() []string {
	var out []string
	for _, f := range c.fields {
		if f.required && f.isZero() {
			out = append(out, f.key)
		}
	}
	return out
}

// Validate runs the struct's own cross-field check, if it has one, and refuses what was given and is not read.
func (c *Config) Validate() error {
	if v, ok := c.target.(Validator); ok {
		if err := v.Validate(); err != nil {
			return err
		}
	}
	return c.checkRead()
}

package options

// The reflective walk over an options struct: each exported field becomes one field record with its tags read.
// A mistake in a tag is the programmer's and panics here, at start-up, where any test of the command finds it.

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// field is one option: where its value lives and what its tags say.
type field struct {
	key      string // YAML key, snake_case
	flag     string // flag name without dashes, or "" for YAML-only options
	short    string
	help     string
	arg      string // placeholder in help, such as DIR
	enum     []string
	check    string
	unit     string // what a number counts, such as tokens; "" says nothing
	bounds   []bound
	required bool
	whole    bool   // a list whose items may hold commas: one flag per item
	group    string // heading in help; "" for the command's own options
	noHash   bool   // does not affect results (paths of outputs, logging)
	input    string // "path" when the value names files that the run reads
	value    reflect.Value
	source   string // where the value came from; "" means the Go default
	initial  string // the Go default, as text
	hidden   bool   // of no use to the command: not shown
}

// collect lists the options of the struct v in declaration order, embedded structs in place.
func collect(v reflect.Value) []*field {
	var out []*field
	t := v.Type()
	for i := range t.NumField() {
		sf := t.Field(i)
		switch tag := sf.Tag.Get("yaml"); {
		case sf.Anonymous && sf.Type.Kind() == reflect.Struct && tag == "":
			out = append(out, grouped(collect(v.Field(i)), sf.Tag.Get("group"))...)
		case !sf.IsExported() || tag == "-":
		case tag == "":
			panic(fmt.Sprintf("options: %s.%s has no yaml tag; give a key or yaml:\"-\"", t, sf.Name))
		default:
			out = append(out, newField(t, sf, v.Field(i)))
		}
	}
	return out
}

// grouped puts fields that have no heading under one.
func grouped(fields []*field, group string) []*field {
	for _, f := range fields {
		if f.group == "" {
			f.group = group
		}
	}
	return fields
}

func newField(owner reflect.Type, sf reflect.StructField, v reflect.Value) *field {
	fail := func(format string, args ...any) {
		panic(fmt.Sprintf("options: %s.%s: %s", owner, sf.Name, fmt.Sprintf(format, args...)))
	}
	tag := sf.Tag
	f := &field{
		key: tag.Get("yaml"), flag: tag.Get("flag"), short: tag.Get("short"), help: tag.Get("help"),
		arg: tag.Get("arg"), check: tag.Get("check"), enum: splitList(tag.Get("enum")),
		required: tag.Get("required") == "true", whole: tag.Get("sep") == "none",
		noHash: tag.Get("hash") == "-", input: tag.Get("input"), value: v,
	}
	switch f.flag {
	case "":
		f.flag = strings.ReplaceAll(f.key, "_", "-")
	case "-":
		f.flag = ""
	}
	if f.unit = tag.Get("unit"); f.unit != "" {
		f.help += " [" + f.unit + "]"
	}
	if !supported(sf.Type) {
		fail("type %s cannot be an option", sf.Type)
	}
	if f.help == "" {
		fail("has no help tag")
	}
	var err error
	if f.bounds, err = parseChecks(f.check); err != nil {
		fail("%v", err)
	}
	if element := elementType(sf.Type); len(f.bounds) > 0 && (element.Kind() == reflect.String || element.Kind() == reflect.Bool) {
		fail("check needs a number")
	}
	if !f.isZero() {
		if err := f.verify(); err != nil {
			fail("default: %v", err)
		}
	}
	return f
}

func elementType(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Slice {
		return t.Elem()
	}
	return t
}

func (f *field) isList() bool { return f.value.Kind() == reflect.Slice }

// isZero reports an absent value: the zero value, or an empty list.
func (f *field) isZero() bool {
	return f.value.IsZero() || f.isList() && f.value.Len() == 0
}

// typeLabel is the placeholder shown after the flag in help.
func (f *field) typeLabel() string {
	switch {
	case f.arg != "":
		return f.arg
	case len(f.enum) > 0:
		return strings.Join(f.enum, "|")
	default:
		return typeName(f.value.Type())
	}
}

// verify applies the enum and check tags to the current value.
func (f *field) verify() error {
	if !f.isList() {
		return f.verifyOne(f.value)
	}
	for i := range f.value.Len() {
		if err := f.verifyOne(f.value.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (f *field) verifyOne(v reflect.Value) error {
	if len(f.enum) > 0 && !slices.Contains(f.enum, formatScalar(v)) {
		text := formatScalar(v)
		return fmt.Errorf("%q is not one of %s%s", text, strings.Join(f.enum, ", "), DidYouMean(text, f.enum))
	}
	for _, b := range f.bounds {
		if !b.holds(number(v)) {
			return fmt.Errorf("%s is out of range; it must be %s", formatScalar(v), strings.ReplaceAll(f.check, ",", " and "))
		}
	}
	return nil
}

// parse reads the texts as this field's value without storing it: one text per list item, exactly one otherwise.
func (f *field) parse(texts []string) (reflect.Value, error) {
	t := f.value.Type()
	out := reflect.New(t).Elem()
	if !f.isList() {
		v, err := parseScalar(t, texts[0])
		switch {
		case err != nil && f.unit != "":
			return v, fmt.Errorf("%w; it is a number of %s, without a unit", err, f.unit)
		case err != nil:
			return v, err
		}
		return v, f.verifyOne(v)
	}
	out.Set(reflect.MakeSlice(t, 0, len(texts)))
	for _, text := range texts {
		v, err := parseScalar(t.Elem(), text)
		if err == nil {
			err = f.verifyOne(v)
		}
		if err != nil {
			return v, err
		}
		out = reflect.Append(out, v)
	}
	return out, nil
}

// texts cuts the one-string form of a value, as in --set or a flag, into what parse takes.
func (f *field) texts(text string) []string {
	switch {
	case !f.isList() || f.whole:
		return []string{text}
	default:
		return splitList(text)
	}
}

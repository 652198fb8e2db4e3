package options

// Writing settings out: run.yaml, its hash, the commented form that `salsa config` prints, and a JSON schema.

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// Dump writes the struct that ptr points to as YAML: every key, in declaration order. The file read back with
// --config gives the same values.
func Dump(ptr any) []byte { return Of(ptr).Dump() }

// Hash returns the SHA-256, in hex, of the settings that can change results: all but those tagged hash:"-", and those that
// the command hides because it never reads them.
func Hash(ptr any) string { return Of(ptr).Hash() }

// HashAgainst is Hash over the settings that differ from those of defaults, a struct of the same type. An option that a
// later version of the program adds leaves the hash alone as long as nobody sets it.
func HashAgainst(ptr, defaults any) string {
	now, was := Of(ptr), Of(defaults)
	sum := sha256.New()
	for i, f := range now.fields {
		if !f.noHash && !f.hidden && f.yaml() != was.fields[i].yaml() {
			fmt.Fprintf(sum, "%s: %s\n", f.key, f.yaml())
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Dump is the method form of the function Dump.
func (c *Config) Dump() []byte {
	var out bytes.Buffer
	for _, f := range c.fields {
		fmt.Fprintf(&out, "%s: %s\n", f.key, f.yaml())
	}
	return out.Bytes()
}

// Hash is the method form of the function Hash.
func (c *Config) Hash() string {
	sum := sha256.New()
	for _, f := range c.fields {
		if !f.noHash && !f.hidden {
			fmt.Fprintf(sum, "%s: %s\n", f.key, f.yaml())
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Explain writes every setting with its meaning, its allowed values and where its value came from, as YAML comments.
func (c *Config) Explain() []byte {
	var out bytes.Buffer
	for _, f := range c.fields {
		if f.hidden {
			continue
		}
		notes := []string{f.help}
		if len(f.enum) > 0 {
			notes = append(notes, "one of "+strings.Join(f.enum, ", "))
		}
		if f.check != "" {
			notes = append(notes, "must be "+strings.ReplaceAll(f.check, ",", " and "))
		}
		if f.required {
			notes = append(notes, "required")
		}
		source := f.source
		if source == "" {
			source = "default"
		}
		fmt.Fprintf(&out, "# %s (from: %s)\n%s: %s\n", strings.Join(notes, "; "), source, f.key, f.yaml())
	}
	return out.Bytes()
}

// yaml writes the value as one-line YAML.
func (f *field) yaml() string {
	if !f.isList() {
		return yamlScalar(f.value)
	}
	items := make([]string, f.value.Len())
	for i := range items {
		items[i] = yamlScalar(f.value.Index(i))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// plainText matches strings that every YAML reader takes as that very string without quotes.
var plainText = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)

// wordsOfYAML are plain scalars that some YAML reader takes for something other than text.
var wordsOfYAML = regexp.MustCompile(`^(?i:true|false|yes|no|on|off|y|n|null)$`)

func yamlScalar(v reflect.Value) string {
	text := formatScalar(v)
	if v.Kind() != reflect.String || plainText.MatchString(text) && !wordsOfYAML.MatchString(text) {
		return text
	}
	return quoted(text)
}

// quoted writes text as a JSON string, which is a double-quoted YAML scalar.
func quoted(text string) string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	// A string always encodes; invalid UTF-8 becomes U+FFFD, as YAML holds text only.
	if err := enc.Encode(text); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// Schema returns a JSON Schema (draft 2020-12) of the settings, for editors that complete and check YAML.
func (c *Config) Schema(title string) ([]byte, error) {
	properties := make(map[string]any, len(c.fields))
	var required []string
	for _, f := range c.fields {
		if f.hidden {
			continue
		}
		properties[f.key] = f.schema()
		if f.required {
			required = append(required, f.key)
		}
	}
	return json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   title, "type": "object", "additionalProperties": false,
		"properties": properties, "required": append([]string{}, required...),
	}, "", "  ")
}

func (f *field) schema() map[string]any {
	one := map[string]any{"type": jsonType(elementType(f.value.Type()))}
	if len(f.enum) > 0 {
		one["enum"] = f.enum
	}
	for _, b := range f.bounds {
		if elementType(f.value.Type()) != durationType { // written as text such as 5m, which JSON Schema cannot compare
			one[schemaBound[b.op]] = b.limit
		}
	}
	if f.isList() {
		one = map[string]any{"type": "array", "items": one}
	}
	one["description"] = f.help
	if !f.isZero() {
		one["default"] = f.jsonDefault()
	}
	return one
}

var schemaBound = map[string]string{">": "exclusiveMinimum", ">=": "minimum", "<": "exclusiveMaximum", "<=": "maximum"}

func (f *field) jsonDefault() any {
	if d, ok := f.value.Interface().(time.Duration); ok {
		return d.String()
	}
	return f.value.Interface()
}

func jsonType(t reflect.Type) string {
	switch typeName(t) {
	case "bool":
		return "boolean"
	case "integer", "number":
		return typeName(t)
	default:
		return "string"
	}
}

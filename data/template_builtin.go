// The chat templates that can be chosen by name, for models that carry none.
package data

import (
	"embed"
	"slices"
	"strings"

	"salsa/internal/fault"
)

// templateFiles are our own, short formulations of well-known conversation formats. Each ends an assistant turn
// with a token the model can learn to stop at.
//
//go:embed templates/*.jinja
var templateFiles embed.FS

// BuiltinTemplates lists the names that BuiltinTemplate knows, in alphabetical order.
func BuiltinTemplates() []string {
	entries, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	var names []string
	for _, entry := range entries {
		names = append(names, strings.TrimSuffix(entry.Name(), ".jinja"))
	}
	return names
}

// BuiltinTemplate returns the template of that name; tokens are the model's special tokens, of which
// bos_token and eos_token are printed (absent ones as nothing).
func BuiltinTemplate(name string, tokens map[string]string) (*Template, error) {
	names := BuiltinTemplates()
	if !slices.Contains(names, name) {
		return nil, fault.Inputf("no chat template %q; choose one of %s", name, strings.Join(names, ", "))
	}
	source, err := templateFiles.ReadFile("templates/" + name + ".jinja")
	if err != nil {
		return nil, err
	}
	all := map[string]string{"bos_token": "", "eos_token": ""}
	for key, token := range tokens {
		all[key] = token
	}
	return NewTemplate(name, string(source), all)
}

package arrows

// The module as parsed source. Reading files, rather than asking `go list`, needs no toolchain set-up, sees
// every build tag, and lets Go's test cache notice each change.

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Module is the import path in front of every package of this module.
const Module = "salsa"

// Source is one parsed Go file.
type Source struct {
	Path  string // relative to the module's root, with slashes
	Dir   string // the package's folder: "data/tokenizer"; "." for the root
	Test  bool   // the name ends in _test.go
	Lines int    // number of lines
	File  *ast.File
	Fset  *token.FileSet
}

// Load parses every Go file under root, in lexical order, but for testdata folders and names that Go itself
// skips. A file that does not parse is an error.
func Load(root string) ([]Source, error) {
	var all []Source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		hidden := path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_"))
		if d.IsDir() {
			if hidden || name == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if hidden || filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s, err := Parse(filepath.ToSlash(rel), string(text))
		all = append(all, s)
		return err
	})
	return all, err
}

// Parse makes a Source of text as if it stood at path.
func Parse(path, text string) (Source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return Source{}, fmt.Errorf("parse: %w", err)
	}
	return Source{
		Path:  path,
		Dir:   filepath.ToSlash(filepath.Dir(path)),
		Test:  strings.HasSuffix(path, "_test.go"),
		Lines: strings.Count(text, "\n"),
		File:  file,
		Fset:  fset,
	}, nil
}

func (s Source) line(p token.Pos) int { return s.Fset.Position(p).Line }

// at names the place of a node as path:line.
func (s Source) at(p token.Pos) string { return fmt.Sprintf("%s:%d", s.Path, s.line(p)) }

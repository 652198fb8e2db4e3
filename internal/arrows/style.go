package arrows

// What keeps files readable: their length, a word on their purpose, documented names, nothing left for later.

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strings"
)

// The budgets, in lines. Tests may be longer: a table of cases is easy to read.
const (
	MaxFile     = 400
	MaxTestFile = 600
	MaxFunc     = 60
)

// MaxDepth is how many if, for, switch and select may stand inside one another outside tests.
const MaxDepth = 3

// TooLong lists files and, outside tests, functions over budget.
func TooLong(all []Source) []string {
	var bad []string
	for _, s := range all {
		limit := MaxFile
		if s.Test {
			limit = MaxTestFile
		}
		if s.Lines > limit {
			bad = append(bad, fmt.Sprintf("%s: %d lines; the limit is %d", s.Path, s.Lines, limit))
		}
		if s.Test {
			continue
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			fn, ok := n.(*ast.FuncDecl)
			if !ok {
				return true
			}
			lines := s.line(fn.End()) - s.line(fn.Pos()) + 1
			if lines > MaxFunc {
				bad = append(bad, fmt.Sprintf("%s: %s has %d lines; the limit is %d", s.at(fn.Pos()), fn.Name.Name, lines, MaxFunc))
			}
			return false
		})
	}
	return bad
}

// TooDeep lists the outermost statement that stands too deep in each place, outside tests. An else-if stands
// as deep as its if, and a function literal begins anew: it could have a name.
func TooDeep(all []Source) []string {
	var bad []string
	for _, s := range all {
		if s.Test {
			continue
		}
		visit(s.File, 0, func(n ast.Node) {
			bad = append(bad, fmt.Sprintf("%s: %d levels of nesting; the limit is %d", s.at(n.Pos()), MaxDepth+1, MaxDepth))
		})
	}
	return bad
}

// visit walks below n, which itself stands at depth, and reports statements at MaxDepth+1.
func visit(n ast.Node, depth int, report func(ast.Node)) {
	ast.Inspect(n, func(c ast.Node) bool {
		if c == n || c == nil {
			return true
		}
		switch x := c.(type) {
		case *ast.FuncLit:
			visit(x.Body, 0, report)
			return false
		case *ast.IfStmt:
			if outer, ok := n.(*ast.IfStmt); ok && outer.Else == x {
				visit(x, depth, report)
				return false
			}
		case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
		default:
			return true
		}
		if depth == MaxDepth {
			report(c)
			return false
		}
		visit(c, depth+1, report)
		return false
	})
}

var later = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

// LeftForLater lists comments that put work off, tests included.
func LeftForLater(all []Source) []string {
	var bad []string
	for _, s := range all {
		for _, c := range comments(s.File) {
			if word := later.FindString(c.Text); word != "" {
				bad = append(bad, fmt.Sprintf("%s: %s in a comment; do it now or file an issue", s.at(c.Pos()), word))
			}
		}
	}
	return bad
}

func comments(f *ast.File) []*ast.Comment {
	var all []*ast.Comment
	for _, group := range f.Comments {
		all = append(all, group.List...)
	}
	return all
}

// NoPurpose lists non-test files that do not say, above their first declaration, what they are for. A package
// comment says it, or any other paragraph above or below the package clause.
func NoPurpose(all []Source) []string {
	var bad []string
	for _, s := range all {
		if s.Test || s.File.Doc != nil || len(s.File.Decls) == 0 {
			continue
		}
		said := false
		for _, group := range s.File.Comments {
			// Text leaves out directives such as go:build; a comment that touches the declaration is its own.
			said = said || group.Text() != "" && s.line(group.End())+1 < s.line(s.File.Decls[0].Pos())
		}
		if !said {
			bad = append(bad, s.Path+": no paragraph above the first declaration says what the file is for")
		}
	}
	return bad
}

// Undocumented lists packages without a package comment, and exported functions, types, constants, variables
// and methods of exported types without a doc comment. A comment on a group of constants or variables
// speaks for all of them.
func Undocumented(all []Source) []string {
	var bad []string
	var dirs []string
	documented := map[string]bool{}
	for _, s := range all {
		if s.Test {
			continue
		}
		if len(dirs) == 0 || dirs[len(dirs)-1] != s.Dir {
			dirs = append(dirs, s.Dir)
		}
		documented[s.Dir] = documented[s.Dir] || s.File.Doc != nil
		for _, decl := range s.File.Decls {
			for _, id := range undocumented(decl) {
				bad = append(bad, fmt.Sprintf("%s: %s has no doc comment", s.at(id.Pos()), id.Name))
			}
		}
	}
	for _, dir := range dirs {
		if !documented[dir] {
			bad = append(bad, dir+": no file has a package comment")
			documented[dir] = true // a folder visited twice is named once
		}
	}
	return bad
}

// undocumented returns the exported names that decl declares without a word.
func undocumented(decl ast.Decl) []*ast.Ident {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && ast.IsExported(receiver(d)) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		if d.Doc != nil && (d.Tok != token.TYPE || !d.Lparen.IsValid()) {
			return nil
		}
		var bare []*ast.Ident
		for _, spec := range d.Specs {
			bare = append(bare, undocumentedSpec(spec)...)
		}
		return bare
	}
	return nil
}

func undocumentedSpec(spec ast.Spec) []*ast.Ident {
	var names []*ast.Ident
	switch x := spec.(type) {
	case *ast.TypeSpec:
		if x.Doc == nil && x.Comment == nil {
			names = []*ast.Ident{x.Name}
		}
	case *ast.ValueSpec:
		if x.Doc == nil && x.Comment == nil {
			names = x.Names
		}
	}
	var exported []*ast.Ident
	for _, id := range names {
		if id.IsExported() {
			exported = append(exported, id)
		}
	}
	return exported
}

// receiver returns the name of a method's type, without star and type parameters, or an exported name for a
// plain function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return "Func"
	}
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return strings.TrimSpace(x.Name)
		default:
			return ""
		}
	}
}

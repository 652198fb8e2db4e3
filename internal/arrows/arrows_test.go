package arrows_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/arrows"
)

// none fails with one offence per line.
func none(t *testing.T, rule string, bad []string) {
	t.Helper()
	if len(bad) > 0 {
		t.Errorf("%s (%d):\n  %s", rule, len(bad), strings.Join(bad, "\n  "))
	}
}

func TestModule(t *testing.T) {
	all, err := arrows.Load("../..")
	require.NoError(t, err)
	require.Greater(t, len(all), 50, "the whole module is read")
	t.Run("imports", func(t *testing.T) { none(t, "imports against the design's arrows", arrows.BadImports(all)) })
	t.Run("length", func(t *testing.T) { none(t, "files or functions over budget", arrows.TooLong(all)) })
	t.Run("depth", func(t *testing.T) { none(t, "nested too deep", arrows.TooDeep(all)) })
	t.Run("later", func(t *testing.T) { none(t, "work put off in comments", arrows.LeftForLater(all)) })
	t.Run("purpose", func(t *testing.T) { none(t, "files that do not say what they are for", arrows.NoPurpose(all)) })
	t.Run("docs", func(t *testing.T) { none(t, "exported but undocumented", arrows.Undocumented(all)) })
}

// source parses one made-up file.
func source(t *testing.T, path, text string) []arrows.Source {
	t.Helper()
	s, err := arrows.Parse(path, text)
	require.NoError(t, err)
	return []arrows.Source{s}
}

func TestBadImports(t *testing.T) {
	for _, c := range []struct{ path, imports, want string }{
		{"cmd/salsa/main.go", "salsa/trainers", ""},
		{"trainers/ppo.go", "salsa/models", ""},
		{"internal/job/ppo.go", "salsa/soup", ""},
		{"cmd/salsa/ppo.go", "salsa/internal/job", ""},
		{"trainers/ppo.go", "salsa/internal/job", "trainers imports salsa/internal/job"},
		{"trainers/ppo.go", "salsa/soup", "trainers/ppo.go:2: trainers imports salsa/soup: trainers may import itself, internal, data"},
		{"models/load.go", "salsa/trainers", "models imports salsa/trainers"},
		{"nn/linear.go", "salsa/models", "nn imports salsa/models"},
		{"data/read.go", "salsa/data/tokenizer", ""},
		{"data/read.go", "salsa/tensor", "data imports salsa/tensor"},
		{"internal/report/html.go", "salsa/tensor", "internal/report imports salsa/tensor"},
		{"tensor/tensor.go", "salsa/tensor/native", ""},
		{"tensor/tensor.go", "salsa/tensor/gotchts", "tensor imports salsa/tensor/gotchts"},
		{"tensor/tensor.go", "C", ""},
		{"models/load.go", "C", "cgo belongs into tensor"},
		{"dist/group.go", "github.com/sugarme/gotch/libtch", ""},
		{"nn/linear.go", "github.com/sugarme/gotch/ts", "gotch belongs into tensor"},
		{"nn/linear_test.go", "salsa/trainers", ""},
		{"misc/x.go", "fmt", "package misc is not in the table"},
	} {
		got := arrows.BadImports(source(t, c.path, "package p\nimport \""+c.imports+"\"\n"))
		if c.want == "" {
			assert.Empty(t, got, c.path+" → "+c.imports)
			continue
		}
		if assert.Len(t, got, 1, c.path+" → "+c.imports) {
			assert.Contains(t, got[0], c.want)
		}
	}
}

func TestTooLong(t *testing.T) {
	long := "package p\nfunc f() {\n" + strings.Repeat("\tf()\n", 59) + "}\n"
	assert.Equal(t, []string{"nn/a.go:2: f has 61 lines; the limit is 60"}, arrows.TooLong(source(t, "nn/a.go", long)))
	assert.Empty(t, arrows.TooLong(source(t, "nn/a_test.go", long)))
	assert.Empty(t, arrows.TooLong(source(t, "nn/a.go", strings.Replace(long, "\tf()\n", "", 1))))

	file := "package p\n" + strings.Repeat("//\n", 400)
	assert.Equal(t, []string{"nn/a.go: 401 lines; the limit is 400"}, arrows.TooLong(source(t, "nn/a.go", file)))
	assert.Empty(t, arrows.TooLong(source(t, "nn/a_test.go", file)))
	assert.Empty(t, arrows.TooLong(source(t, "nn/a.go", strings.Replace(file, "//\n", "", 1))))
}

func TestTooDeep(t *testing.T) {
	deep := func(body string) []arrows.Source {
		return source(t, "nn/a.go", "package p\nfunc f() {\nfor {\nif true {\nswitch {\ncase true:\n"+body+"\n}\n}\n}\n}\n")
	}
	assert.Equal(t, []string{"nn/a.go:7: 4 levels of nesting; the limit is 3"}, arrows.TooDeep(deep("for { for {} }")))
	assert.Equal(t, []string{"nn/a.go:7: 4 levels of nesting; the limit is 3"}, arrows.TooDeep(deep("if true {} else if false {}")))
	assert.Empty(t, arrows.TooDeep(deep("f()")))
	assert.Empty(t, arrows.TooDeep(deep("_ = func() { if true {} }")), "a literal begins anew")
	chain := "package p\nfunc f() {\nfor {\nfor {\nif true {} else if true {} else if true {} else { f() }\n}\n}\n}\n"
	assert.Empty(t, arrows.TooDeep(source(t, "nn/a.go", chain)), "an else-if stands as deep as its if")
}

func TestLeftForLater(t *testing.T) {
	word := "TO" + "DO"
	assert.Len(t, arrows.LeftForLater(source(t, "nn/a.go", "package p\n// "+word+": more\n")), 1)
	assert.Empty(t, arrows.LeftForLater(source(t, "nn/a.go", "package p\nconst s = \""+word+"\"\n")), "only comments count")
}

func TestNoPurpose(t *testing.T) {
	assert.Empty(t, arrows.NoPurpose(source(t, "nn/a.go", "// Package p is.\npackage p\nvar x int\n")))
	assert.Empty(t, arrows.NoPurpose(source(t, "nn/a.go", "package p\n\n// What for.\n\nimport \"fmt\"\n")))
	assert.Empty(t, arrows.NoPurpose(source(t, "nn/a.go", "// What for.\n\npackage p\n\nimport \"fmt\"\n")))
	assert.Len(t, arrows.NoPurpose(source(t, "nn/a.go", "//go:build linux\n\npackage p\n\nimport \"fmt\"\n")), 1)
	assert.Len(t, arrows.NoPurpose(source(t, "nn/a.go", "package p\n\n// f is.\nfunc f() {}\n")), 1)
	assert.Len(t, arrows.NoPurpose(source(t, "nn/a.go", "package p\n\nimport \"fmt\"\n\n// f is.\nfunc f() {}\n")), 1)
	assert.Empty(t, arrows.NoPurpose(source(t, "nn/a_test.go", "package p\nimport \"fmt\"\n")))
}

func TestUndocumented(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"func F() {}", "F"},
		{"// F does.\nfunc F() {}", ""},
		{"func f() {}", ""},
		{"type T struct{}", "T"},
		{"type (\n\t// A is.\n\tA int\n\tB int\n)", "B"},
		{"type t struct{}\nfunc (t) M() {}", ""},
		{"// T is.\ntype T[E any] struct{}\nfunc (*T[E]) M() {}", "M"},
		{"const C = 1", "C"},
		{"// All of them.\nconst (\n\tC = 1\n\tD = 2\n)", ""},
		{"var (\n\tA int // is\n\tB int\n)", "B"},
	} {
		got := arrows.Undocumented(source(t, "nn/a.go", "// Package p is.\npackage p\n\n"+c.text+"\n"))
		if c.want == "" {
			assert.Empty(t, got, c.text)
			continue
		}
		if assert.Len(t, got, 1, c.text) {
			assert.Contains(t, got[0], ": "+c.want+" has no doc comment")
		}
	}
	assert.Equal(t, []string{"nn: no file has a package comment"}, arrows.Undocumented(source(t, "nn/a.go", "package p\n")))
}

package arrows

// Who may import whom.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// may lists, for each tree of packages, the trees it may import besides itself. It is the design's picture,
//
//	cmd → trainers, eval, soup → models → nn → tensor
//
// with data and internal beside it, which know nothing of libtorch but for the named exceptions. The longest matching key counts, so that
// a package can have a rule of its own.
var may = map[string][]string{
	"internal": {},
	"data":     {"internal"},

	"tensor/native":     {},
	"tensor":            {"internal", "tensor/native"},
	"tensor/gotchts":    {"tensor"},
	"tensor/tensortest": {"tensor"},
	"dist":              {"internal", "tensor", "tensor/native"},
	"nn":                {"internal", "tensor"},
	"optim":             {"internal", "tensor", "nn"},
	"models":            {"internal", "data", "tensor", "nn"},

	// The three siblings do not know each other: a trainer is handed its reference, soup or not.
	"soup":     {"internal", "data", "tensor", "nn", "models"},
	"trainers": {"internal", "data", "tensor", "dist", "nn", "optim", "models"},
	"eval":     {"internal", "data", "tensor", "nn", "models"},

	"recipes": {}, // embedded text

	// What a command does once its flags are read is shared by the commands and the pipeline's stages.
	"internal/job":       everything,
	"internal/runreport": {"internal", "internal/job", "eval", "models"},
	"cmd":                append([]string{"internal/job", "internal/runreport", "recipes"}, everything...),
	"bench":              everything,
}

// everything is all trees but those at the top of the picture.
var everything = []string{"internal", "data", "tensor", "dist", "nn", "optim", "models", "soup", "trainers", "eval"}

// bindings are the only packages that may contain cgo or import gotch: all others see tensors.
var bindings = []string{"tensor", "tensor/native", "tensor/gotchts", "dist"}

// inTree tells whether package dir is tree or below it.
func inTree(dir, tree string) bool { return dir == tree || strings.HasPrefix(dir, tree+"/") }

// treeOf returns the longest key of may that holds dir, or "".
func treeOf(dir string) string {
	best := ""
	for tree := range may {
		if inTree(dir, tree) && len(tree) > len(best) {
			best = tree
		}
	}
	return best
}

// allowed tells whether package from may import package to, both folders of this module.
func allowed(from, to string) bool {
	tree, target := treeOf(from), treeOf(to)
	return target == tree || slices.Contains(may[tree], target)
}

// BadImports lists the imports of non-test files that break the tables above.
func BadImports(all []Source) []string {
	var bad []string
	for _, s := range all {
		if s.Test {
			continue // a test may compare with anything
		}
		if treeOf(s.Dir) == "" {
			bad = append(bad, fmt.Sprintf("%s: package %s is not in the table of internal/arrows/imports.go; add it", s.Path, s.Dir))
			continue
		}
		for _, spec := range s.File.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // the parser has refused such a file already
			}
			if why := refuse(s.Dir, path); why != "" {
				bad = append(bad, fmt.Sprintf("%s: %s imports %s: %s", s.at(spec.Pos()), s.Dir, path, why))
			}
		}
	}
	return bad
}

// refuse says why package dir may not import path, or "".
func refuse(dir, path string) string {
	to, own := strings.CutPrefix(path, Module+"/")
	switch {
	case own && !allowed(dir, to):
		return fmt.Sprintf("%s may import %s only", treeOf(dir), strings.Join(append([]string{"itself"}, may[treeOf(dir)]...), ", "))
	case path == "C" && !slices.Contains(bindings, dir):
		return "cgo belongs into " + strings.Join(bindings, ", ")
	case inTree(path, "github.com/sugarme/gotch") && !slices.Contains(bindings, dir):
		return "gotch belongs into " + strings.Join(bindings, ", ")
	}
	return ""
}

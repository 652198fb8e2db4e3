package recipe

// Variables and ${…} substitution. Substitution works on nodes, not on the text of the file, so a value can never
// break the YAML around it, and a variable that is a list stays a list.

import (
	"os"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/options"
)

// variable is one entry of vars: `name: value`, `name:` (the user must give it), or `name: {help: …, default: …}`.
type variable struct {
	name  string
	help  string
	value *options.Node // nil when there is no default
	where string
}

// builtin names are always defined and cannot be variables.
var builtin = []string{"seed", "recipe_dir", "run_dir", "tuned", "choices"}

func parseVars(n *options.Node) ([]variable, error) {
	if n == nil || n.Kind == options.Null {
		return nil, nil
	}
	if n.Kind != options.Map {
		return nil, fault.Inputf("%s: vars must be a mapping of names to values, not %s", n.Where(), n.Kind)
	}
	var out []variable
	for _, e := range n.Entries {
		v := variable{name: e.Key, value: e.Value, where: e.Value.Where()}
		for _, b := range builtin {
			if e.Key == b {
				return nil, fault.Inputf("%s: ${%s} is built in; choose another variable name", v.where, b)
			}
		}
		if !nameRule.MatchString(v.name) {
			return nil, fault.Inputf("%s: variable name %q must be letters, digits, - and _", v.where, v.name)
		}
		if e.Value.Kind == options.Map {
			var h struct {
				Help string `yaml:"help" help:"what the variable means"`
			}
			rest, err := split(e.Value, []string{"help"}, "default")
			if err == nil {
				err = fill(&h, rest, v.where)
			}
			if err != nil {
				return nil, err
			}
			v.help, v.value = h.Help, e.Value.Get("default")
		}
		if v.value != nil && v.value.Kind == options.Null {
			v.value = nil
		}
		out = append(out, v)
	}
	return out, nil
}

// Var is a variable with the value it has in this run.
type Var struct {
	Name, Value string
	Help        string
}

// resolveVars gives every variable its value: --var, else the default with the references in it replaced. A default
// may refer to the variables above it. All variables left without a value are named in one error.
func (d *document) resolveVars(given []string, base scope) (scope, []Var, error) {
	overrides, err := d.overrides(given)
	if err != nil {
		return nil, nil, err
	}
	values := map[string]*options.Node{}
	all := base.or(func(ref string) (*options.Node, bool, error) {
		n, ok := values[ref]
		return n, ok, nil
	})
	var missing []string
	var list []Var
	for _, v := range d.vars {
		n, ok := overrides[v.name]
		switch {
		case ok:
		case v.value == nil && v.help != "":
			missing = append(missing, v.name+" ("+v.help+")")
			continue
		case v.value == nil:
			missing = append(missing, v.name)
			continue
		default:
			n, err = substitute(v.value, all, d.varNames())
			if err != nil && len(missing) > 0 {
				continue // it may refer to one of them; all are named below
			}
			if err != nil {
				return nil, nil, err
			}
		}
		values[v.name] = n
		list = append(list, Var{v.name, flat(n), v.help})
	}
	if len(missing) > 0 {
		return nil, nil, fault.Inputf("%s: no value for %s; give each as --var name=value", d.file, strings.Join(missing, ", "))
	}
	return all, list, nil
}

func (d *document) varNames() []string {
	names := make([]string, len(d.vars))
	for i, v := range d.vars {
		names[i] = v.name
	}
	return names
}

func (d *document) overrides(given []string) (map[string]*options.Node, error) {
	out := map[string]*options.Node{}
	names := d.varNames()
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fault.Inputf("--var %s: want name=value", text)
		}
		known := false
		for _, n := range names {
			known = known || n == name
		}
		if !known {
			hint := options.DidYouMean(name, names)
			if hint == "" {
				hint = "; it has: " + strings.Join(names, ", ")
			}
			return nil, fault.Inputf("--var %s: the recipe has no variable %s%s", text, name, hint)
		}
		out[name] = &options.Node{File: "--var " + text, Text: value}
	}
	return out, nil
}

// flat shows a value on one line.
func flat(n *options.Node) string {
	if n.Kind != options.List {
		return n.Text
	}
	parts := make([]string, len(n.Items))
	for i, item := range n.Items {
		parts[i] = flat(item)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// scope finds what a reference stands for; ok is false when it does not know the name.
type scope func(ref string) (n *options.Node, ok bool, err error)

// or asks s first and then next.
func (s scope) or(next scope) scope {
	return func(ref string) (*options.Node, bool, error) {
		if n, ok, err := s(ref); ok || err != nil {
			return n, ok, err
		}
		return next(ref)
	}
}

func scalar(text string) *options.Node { return &options.Node{Text: text} }

// environment resolves env:NAME.
func environment(lookup func(string) (string, bool)) scope {
	if lookup == nil {
		lookup = os.LookupEnv
	}
	return func(ref string) (*options.Node, bool, error) {
		name, ok := strings.CutPrefix(ref, "env:")
		if !ok {
			return nil, false, nil
		}
		value, set := lookup(name)
		if !set {
			return nil, false, fault.Inputf("environment variable %s is not set; export it", name)
		}
		return scalar(value), true, nil
	}
}

// substitute returns a copy of n with every reference replaced. known lists variable names for suggestions.
func substitute(n *options.Node, s scope, known []string) (*options.Node, error) {
	out := *n
	switch n.Kind {
	case options.Scalar:
		return substituteText(n, s, known)
	case options.List:
		out.Items = nil
		for _, item := range n.Items {
			v, err := substitute(item, s, known)
			if err != nil {
				return nil, err
			}
			if v.Kind == options.List && item.Kind == options.Scalar {
				out.Items = append(out.Items, v.Items...) // [a, ${list}] is one flat list
				continue
			}
			out.Items = append(out.Items, v)
		}
	case options.Map:
		out.Entries = nil
		for _, e := range n.Entries {
			v, err := substitute(e.Value, s, known)
			if err != nil {
				return nil, err
			}
			out.Entries = append(out.Entries, options.Entry{Key: e.Key, Line: e.Line, Value: v})
		}
	}
	return &out, nil
}

func substituteText(n *options.Node, s scope, known []string) (*options.Node, error) {
	var text strings.Builder
	rest := n.Text
	for {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			text.WriteString(rest)
			return &options.Node{File: n.File, Line: n.Line, Text: text.String()}, nil
		}
		if cut, escaped := strings.CutSuffix(before, "$"); escaped {
			text.WriteString(cut + "${")
			rest = after
			continue
		}
		ref, tail, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fault.Inputf("%s: ${%s has no closing brace; write $${ for a literal ${", n.Where(), after)
		}
		value, ok, err := s(ref)
		if err != nil {
			return nil, fault.Inputf("%s: ${%s}: %w", n.Where(), ref, err)
		}
		if !ok {
			return nil, fault.Inputf("%s: ${%s} is not defined%s", n.Where(), ref, options.DidYouMean(ref, append(known, builtin...)))
		}
		if value.Kind != options.Scalar {
			if n.Text != "${"+ref+"}" {
				return nil, fault.Inputf("%s: ${%s} is %s and must stand alone, not inside other text", n.Where(), ref, value.Kind)
			}
			whole := *value
			whole.File, whole.Line = n.File, n.Line
			return &whole, nil
		}
		text.WriteString(before + value.Text)
		rest = tail
	}
}

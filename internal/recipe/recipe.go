// Package recipe turns a YAML file into a checked, ordered plan of stages and runs it, skipping what is already done.
//
//	name: tiny
//	vars:
//	  model:                      # no value: the user must give --var model=DIR
//	  steps: 200
//	stages:
//	  - name: sft
//	    kind: sft
//	    seeds: [1, 2]             # becomes sft-seed1 and sft-seed2
//	    with: {model: "${model}", data: "${recipe_dir}/sft.jsonl", max_steps: "${steps}"}
//	  - name: soup
//	    kind: soup
//	    with: {models: "${stage:sft}"}   # the folders of both; the reference implies needs: [sft]
//
// `with` holds the options of the kind, read as strictly as --config reads them. Everything is checked before the
// first stage runs. `grid: {key: [a, b]}` beside with repeats a stage as NAME-grid1, NAME-grid2; `tune: {key: [a, b]}`
// has the best of a grid chosen, see grid.go and choice.go, and ${tuned} and ${choices} are the folders of all such
// stages and of their choices. References: ${name} a variable, ${env:NAME}, ${stage:NAME} a stage's output folder, ${seed},
// ${recipe_dir}, ${run_dir}, ${choice:STAGE.key} a setting that a stage of kind select has chosen; $${ is a literal ${. ${stage:NAME} of a stage with seeds is the sibling of the same seed
// where the referring stage has that seed too, else the list of all; ${stage:NAME-*} is always the list of all.
//
// This file reads the document; vars.go substitutes, plan.go expands and orders, run.go executes.
package recipe

import (
	"regexp"
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/options"
)

// Params are what the command line adds to a recipe.
type Params struct {
	Out   string                           // run folder; "" means runs/NAME
	Vars  []string                         // name=value, each overriding a variable
	Sets  []string                         // stage.key=value; stage is a name, a name before its seeds, or *
	Kinds map[string]func() any            // kind → pointer to its options struct, holding the defaults
	Env   func(name string) (string, bool) // looks up ${env:NAME}; os.LookupEnv when nil
}

// document is a recipe as written.
type document struct {
	file   string
	name   string
	about  string
	vars   []variable
	items  []*options.Node   // the stages as written
	tunes  map[string]string // NAME-tune → NAME, for items with `tune`
	best   []string          // their names, in the order of the file
	stages []*stageSpec      // the stages as read by readStages, once variables have values
}

// stageSpec is one item of stages: before seeds are expanded.
type stageSpec struct {
	head  stageHead
	with  *options.Node // a mapping, never nil
	grid  *options.Node // option → list of values; nil without
	sets  []*override   // from the command line, in order
	where string        // file:line
}

// stageHead holds a stage's keys apart from `with`.
type stageHead struct {
	Name  string   `yaml:"name" help:"name of the stage and of its folder" required:"true"`
	Kind  string   `yaml:"kind" help:"what the stage does" required:"true"`
	Needs []string `yaml:"needs" help:"stages that must be done before, besides those referred to"`
	Seeds []int64  `yaml:"seeds" help:"repeat the stage once per seed" check:">=0"`
}

// head holds a recipe's scalar keys.
type head struct {
	Name  string `yaml:"name" help:"name of the recipe" required:"true"`
	About string `yaml:"about" help:"what the recipe does"`
}

// nameRule keeps names usable as folder names and in --set stage.key=value.
var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// parse reads the document's outer shape; values inside stages are not substituted yet.
func parse(file string, data []byte) (*document, error) {
	root, err := options.ParseYAML(file, data)
	if err != nil {
		return nil, err
	}
	rest, err := split(root, []string{"name", "about"}, "vars", "tuning", "stages")
	if err != nil {
		return nil, err
	}
	var h head
	if err := fill(&h, rest, root.Where()); err != nil {
		return nil, err
	}
	if !nameRule.MatchString(h.Name) {
		return nil, fault.Inputf("%s: name %q must be letters, digits, - and _", root.Where(), h.Name)
	}
	d := &document{file: file, name: h.Name, about: h.About, tunes: map[string]string{}}
	if d.vars, err = parseVars(root.Get("vars")); err != nil {
		return nil, err
	}
	list := root.Get("stages")
	if list == nil || list.Kind != options.List || len(list.Items) == 0 {
		return nil, fault.Inputf("%s: a recipe needs `stages:`, a list with at least one stage", root.Where())
	}
	return d, d.unfold(list.Items, root.Get("tuning"))
}

// readStages decodes each stage but its `with`; seeds and needs may refer to variables.
func (d *document) readStages(globals scope) error {
	owner := map[string]int{}
	for i, item := range d.items {
		spec, err := parseStage(item, globals, d.varNames())
		if err != nil {
			return err
		}
		for _, name := range append(spec.expandedNames(), spec.head.Name) {
			if other, taken := owner[name]; taken && other != i {
				return fault.Inputf("%s: stage name %s is taken by the stage at %s", spec.where, name, d.stages[other].where)
			}
			owner[name] = i
		}
		d.stages = append(d.stages, spec)
	}
	return nil
}

func parseStage(n *options.Node, globals scope, vars []string) (*stageSpec, error) {
	rest, err := split(n, []string{"name", "kind", "needs", "seeds", "tune"}, "with", "grid")
	if err == nil {
		rest, err = substitute(rest, globals, vars)
	}
	if err != nil {
		return nil, err
	}
	spec := &stageSpec{with: n.Get("with"), where: n.Where()}
	if err := fill(&spec.head, rest, spec.where); err != nil {
		return nil, err
	}
	if !nameRule.MatchString(spec.head.Name) {
		return nil, fault.Inputf("%s: stage name %q must be letters, digits, - and _", spec.where, spec.head.Name)
	}
	for i, seed := range spec.head.Seeds {
		if slices.Contains(spec.head.Seeds[:i], seed) {
			return nil, fault.Inputf("%s: stage %s has the seed %d twice", spec.where, spec.head.Name, seed)
		}
	}
	switch {
	case spec.with == nil || spec.with.Kind == options.Null:
		spec.with = &options.Node{File: n.File, Line: n.Line, Kind: options.Map}
	case spec.with.Kind != options.Map:
		return nil, fault.Inputf("%s: with must be a mapping of options to values, not %s", spec.with.Where(), spec.with.Kind)
	}
	return spec, spec.readGrid(n.Get("grid"), globals, vars)
}

// split returns n without the named keys, so that the rest can be decoded into a struct whose unknown-key error
// still knows about them. others are the keys of that struct.
func split(n *options.Node, others []string, keys ...string) (*options.Node, error) {
	if n.Kind != options.Map {
		return nil, fault.Inputf("%s: want a mapping of keys to values, not %s", n.Where(), n.Kind)
	}
	rest := *n
	rest.Entries = nil
	for _, e := range n.Entries {
		if near := options.Suggest(e.Key, slices.Concat(keys, others)); near != e.Key && slices.Contains(keys, near) {
			return nil, fault.Inputf("%s:%d: unknown key %s; did you mean `%s`?", n.File, e.Line, e.Key, near)
		}
		if !slices.Contains(keys, e.Key) {
			rest.Entries = append(rest.Entries, e)
		}
	}
	return &rest, nil
}

// fill decodes n into the struct at ptr and insists on its required keys.
func fill(ptr any, n *options.Node, where string) error {
	c := options.Of(ptr)
	if err := c.Apply(n); err != nil {
		return err
	}
	if missing := c.Missing(); len(missing) > 0 {
		return fault.Inputf("%s: %s is required", where, strings.Join(missing, " and "))
	}
	return nil
}

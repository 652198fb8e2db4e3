package recipe

// From document to plan: seeds are expanded, references resolved, options decoded into each kind's struct, and the
// stages put in an order in which every stage comes after those it needs. Nothing here touches the run folder.

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/options"
)

// Plan is a recipe that has passed every check.
type Plan struct {
	Name   string
	About  string
	Out    string   // run folder, as given
	Vars   []Var    // in the order of the file
	Stages []*Stage // in the order of execution
	Source []byte   // the recipe's text

	real, symbolic *expander
}

// Stage is one step of a plan.
type Stage struct {
	Name    string
	Kind    string
	Seed    *int64   // nil for a stage without seeds
	Needs   []string // names of the stages whose results it uses, in the order of execution
	Dir     string   // Out/stages/Name
	Options any      // pointer to the kind's struct, filled
	Where   string   // file:line of the stage
	Resume  bool     // set by Runner: Dir holds the same stage's unfinished run

	spec      *stageSpec
	point     []options.Entry // its place in the item's grid
	choices   []choiceRef     // settings that other stages choose
	waits     []string        // options that have no value until they have
	orderOnly []string        // of Needs: stages whose choices it uses, and nothing else of theirs

	base   string   // name before the seed suffix
	hash   string   // of kind and options, with the folders of this run and recipe written symbolically
	inputs []string // paths that the options name
}

// Symbolic folders that stand in for the real ones in a stage's hash, so that a run folder may be moved.
const (
	symbolicRun    = "<run>"
	symbolicRecipe = "<recipe>"
)

// Load reads and checks a whole recipe. file is its path, or a plain name such as demo for an embedded one; errors
// are of kind fault and name file and line.
func Load(file string, data []byte, p Params) (*Plan, error) {
	doc, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	out := p.Out
	if out == "" {
		out = filepath.Join("runs", doc.name)
	}
	if strings.ContainsAny(out, ",@") { // stages name folders of the run in lists, DIR,DIR@w,w
		return nil, fault.Inputf("--out %s: a comma or an @ in the path would be read as a list of folders or their weights; choose a path without", out)
	}
	real := expander{doc: doc, params: p, run: out, recipe: filepath.Dir(file), chosen: map[string]string{}}
	plan := &Plan{Name: doc.name, About: doc.about, Out: out, Source: data}
	if plan.Vars, err = real.resolve(); err != nil {
		return nil, err
	}
	if err := doc.readStages(real.globals); err != nil {
		return nil, err
	}
	if err := doc.checkKinds(p.Kinds); err != nil {
		return nil, err
	}
	if err := doc.applySets(p.Sets, p.Kinds); err != nil {
		return nil, err
	}
	if plan.Stages, err = real.expand(); err != nil {
		return nil, err
	}
	if err := doc.checkSets(p.Sets); err != nil {
		return nil, err
	}
	symbolic := expander{doc: doc, params: p, run: symbolicRun, recipe: symbolicRecipe, chosen: map[string]string{}}
	plan.real, plan.symbolic = &real, &symbolic
	if _, err := symbolic.resolve(); err != nil {
		return nil, err
	}
	twins, err := symbolic.expand()
	if err != nil {
		return nil, err
	}
	for i, s := range plan.Stages {
		s.hash = options.HashAgainst(twins[i].Options, p.Kinds[s.Kind]())
	}
	if plan.Stages, err = order(plan.Stages); err != nil {
		return nil, err
	}
	return plan, plan.checkChoices()
}

func (d *document) checkKinds(kinds map[string]func() any) error {
	known := slices.Sorted(maps.Keys(kinds))
	for _, s := range d.stages {
		if kinds[s.head.Kind] == nil {
			hint := options.DidYouMean(s.head.Kind, known)
			if hint == "" {
				hint = "; known kinds: " + strings.Join(known, ", ")
			}
			return fault.Inputf("%s: stage %s: unknown kind %s%s", s.where, s.head.Name, s.head.Kind, hint)
		}
	}
	return nil
}

func (s *stageSpec) hasSeedName(name string) bool { return slices.Contains(s.expandedNames(), name) }

// expander makes stages out of a document for one pair of folders.
type expander struct {
	doc         *document
	params      Params
	run, recipe string
	globals     scope
	chosen      map[string]string // ${choice:…} → its value, once the choice is made
}

// resolve gives the variables their values.
func (x *expander) resolve() ([]Var, error) {
	folders := scope(func(ref string) (*options.Node, bool, error) {
		switch ref {
		case "run_dir":
			return scalar(x.run), true, nil
		case "recipe_dir":
			return scalar(x.recipe), true, nil
		}
		return nil, false, nil
	})
	globals, vars, err := x.doc.resolveVars(x.params.Vars, folders.or(environment(x.params.Env)))
	x.globals = globals
	return vars, err
}

// expand makes the stages, each seed its own, with decoded options.
func (x *expander) expand() ([]*Stage, error) {
	var out []*Stage
	for _, spec := range x.doc.stages {
		for _, m := range spec.members() {
			st := &Stage{Name: m.name, base: spec.head.Name, Kind: spec.head.Kind, Where: spec.where, Seed: m.seed, spec: spec, point: m.point}
			if err := x.fill(st); err != nil {
				return nil, err
			}
			out = append(out, st)
		}
	}
	return out, nil
}

// fill resolves the stage's references and decodes its options.
func (x *expander) fill(st *Stage) error {
	spec := st.spec
	st.Dir = filepath.Join(x.run, "stages", st.Name)
	for _, need := range spec.head.Needs {
		names, err := x.names(need, st)
		if err != nil {
			return fault.Inputf("%s: stage %s needs %w", st.Where, st.base, err)
		}
		st.need(names)
	}
	with, err := x.with(st, spec)
	if err != nil {
		return err
	}
	st.Options = x.params.Kinds[st.Kind]()
	c := options.Of(st.Options)
	if err := x.place(c, with, st); err != nil {
		return err
	}
	if err := c.Apply(with); err != nil {
		return err
	}
	st.inputs = c.Inputs()
	return st.check(c)
}

// check looks over decoded options. Those that wait for a choice are held to exist; with them the stage is looked
// over again.
func (st *Stage) check(c *options.Config) error {
	for _, key := range st.waits {
		if !c.Has(key) {
			return fault.Inputf("%s: stage %s: unknown key %s%s", st.Where, st.Name, key, options.DidYouMean(key, c.Keys()))
		}
	}
	missing := slices.DeleteFunc(c.Missing(), func(key string) bool { return slices.Contains(st.waits, key) })
	if len(missing) > 0 {
		return fault.Inputf("%s: stage %s: %s is required under with:", st.Where, st.Name, strings.Join(missing, " and "))
	}
	if len(st.waits) > 0 {
		return nil
	}
	if err := c.Validate(); err != nil {
		return fault.Inputf("%s: stage %s: %w", st.Where, st.Name, err)
	}
	return nil
}

// with returns the stage's options with --set applied and every reference replaced.
func (x *expander) with(st *Stage, spec *stageSpec) (*options.Node, error) {
	with := *spec.with
	with.Entries = slices.Clone(with.Entries)
	for _, e := range st.point {
		with.Put(e.Key, e.Value)
	}
	x.override(st, spec, &with)
	if err := x.hold(st, &with); err != nil {
		return nil, err
	}
	return substitute(&with, x.stageScope(st).or(x.choiceScope).or(x.globals), x.doc.varNames())
}

// place sets the options that the recipe itself decides: out, and seed in a stage with seeds.
func (x *expander) place(c *options.Config, with *options.Node, st *Stage) error {
	if n := with.Get("out"); n != nil && c.Has("out") {
		return fault.Inputf("%s: out is chosen by the recipe (%s); delete it", n.Where(), st.Dir)
	}
	if c.Has("out") {
		if err := c.Set("out", st.Dir, st.Where); err != nil {
			return err
		}
	}
	if st.Seed == nil || !c.Has("seed") {
		return nil
	}
	if n := with.Get("seed"); n != nil {
		return fault.Inputf("%s: stage %s has seeds, which set seed; delete one of the two", n.Where(), st.base)
	}
	return c.Set("seed", strconv.FormatInt(*st.Seed, 10), st.Where)
}

// stageScope resolves ${seed} and ${stage:NAME} inside one stage and records what the stage needs.
func (x *expander) stageScope(st *Stage) scope {
	return func(ref string) (*options.Node, bool, error) {
		if ref == "seed" && st.Seed != nil {
			return scalar(strconv.FormatInt(*st.Seed, 10)), true, nil
		}
		target, ok := strings.CutPrefix(ref, "stage:")
		names, err := []string(nil), error(nil)
		switch {
		case ref == "tuned" || ref == "choices":
			names, err = x.allTuned(ref, st)
		case ok:
			names, err = x.names(target, st)
		default:
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		st.need(names)
		if ok && len(names) == 1 && !strings.HasSuffix(target, "-*") {
			return scalar(filepath.Join(x.run, "stages", names[0])), true, nil
		}
		list := &options.Node{Kind: options.List}
		for _, name := range names {
			list.Items = append(list.Items, scalar(filepath.Join(x.run, "stages", name)))
		}
		return list, true, nil
	}
}

func (st *Stage) need(names []string) {
	for _, name := range names {
		if !slices.Contains(st.Needs, name) {
			st.Needs = append(st.Needs, name)
		}
	}
	st.orderOnly = slices.DeleteFunc(st.orderOnly, func(name string) bool { return slices.Contains(names, name) })
}

// names lists the expanded stages that target means when st refers to it.
func (x *expander) names(target string, st *Stage) ([]string, error) {
	base, every := strings.CutSuffix(target, "-*")
	var known []string
	for _, spec := range x.doc.stages {
		expanded := spec.expandedNames()
		if slices.Contains(expanded, target) {
			return []string{target}, nil
		}
		if spec.head.Name == base {
			if st.Seed != nil && !every && slices.Contains(spec.head.Seeds, *st.Seed) {
				return spec.siblings(*st.Seed), nil
			}
			return expanded, nil
		}
		known = append(append(known, spec.head.Name), expanded...)
	}
	return nil, fmt.Errorf("the stage %s, which is not in the recipe%s", target, options.DidYouMean(target, known))
}

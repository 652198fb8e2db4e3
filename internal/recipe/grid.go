package recipe

// One item of stages: that stands for several stages: `seeds` and `grid` multiply it, `tune` unfolds it into the runs
// of a grid, the choice among them, and the stage itself with what was chosen.

import (
	"fmt"
	"slices"

	"salsa/internal/fault"
	"salsa/internal/options"
)

// member is one of the stages that an item stands for.
type member struct {
	name  string
	seed  *int64
	point []options.Entry // the options of its place in the grid
}

// members lists the stages of an item: grid points in the order of the file, the last key fastest, each with all seeds.
func (s *stageSpec) members() []member {
	var out []member
	for i, point := range points(s.grid) {
		name := s.head.Name
		if s.grid != nil {
			name = fmt.Sprintf("%s-grid%d", name, i+1)
		}
		if len(s.head.Seeds) == 0 {
			out = append(out, member{name: name, point: point})
		}
		for k, seed := range s.head.Seeds {
			out = append(out, member{name: fmt.Sprintf("%s-seed%d", name, seed), seed: &s.head.Seeds[k], point: point})
		}
	}
	return out
}

func (s *stageSpec) expandedNames() []string {
	var names []string
	for _, m := range s.members() {
		names = append(names, m.name)
	}
	return names
}

// siblings lists the members with the given seed.
func (s *stageSpec) siblings(seed int64) []string {
	var names []string
	for _, m := range s.members() {
		if m.seed != nil && *m.seed == seed {
			names = append(names, m.name)
		}
	}
	return names
}

// points is the product of a grid's lists; one empty point without a grid.
func points(grid *options.Node) [][]options.Entry {
	out := [][]options.Entry{nil}
	if grid == nil {
		return out
	}
	for _, e := range grid.Entries {
		var next [][]options.Entry
		for _, p := range out {
			for _, value := range e.Value.Items {
				next = append(next, append(slices.Clone(p), options.Entry{Key: e.Key, Line: value.Line, Value: value}))
			}
		}
		out = next
	}
	return out
}

// readGrid checks a grid: a mapping of options to lists, none of them set elsewhere. A variable may stand for a list.
func (s *stageSpec) readGrid(n *options.Node, globals scope, vars []string) error {
	if n == nil {
		return nil
	}
	grid := *n
	grid.Entries = nil
	for _, e := range n.Entries {
		value := e.Value
		if value.Kind == options.Scalar {
			var err error
			if value, err = substitute(value, globals, vars); err != nil {
				return err
			}
		}
		switch {
		case e.Key == "seed" || e.Key == "out":
			return fault.Inputf("%s:%d: grid cannot hold %s: a recipe sets it; use seeds for several seeds", n.File, e.Line, e.Key)
		case s.with.Get(e.Key) != nil:
			return fault.Inputf("%s:%d: %s stands in the grid and under with; delete one of the two", n.File, e.Line, e.Key)
		case value.Kind != options.List || len(value.Items) == 0:
			return fault.Inputf("%s:%d: grid: %s must be a list of the values to try, not %s", n.File, e.Line, e.Key, value.Kind)
		}
		grid.Entries = append(grid.Entries, options.Entry{Key: e.Key, Line: e.Line, Value: value})
	}
	if len(grid.Entries) == 0 {
		return fault.Inputf("%s: grid must map options to lists of values, as in {beta: [0.1, 0.5]}", n.Where())
	}
	s.grid = &grid
	return nil
}

// unfold replaces each item that has `tune` by three: NAME-tune, the same stage over the grid with one seed of its
// own; NAME-choice, of kind select, which compares them as the recipe's `tuning` says; and NAME with the values chosen.
func (d *document) unfold(items []*options.Node, tuning *options.Node) error {
	for _, item := range items {
		grid := item.Get("tune")
		if item.Kind != options.Map || grid == nil {
			d.items = append(d.items, item)
			continue
		}
		if grid.Kind != options.Map || len(grid.Entries) == 0 {
			return fault.Inputf("%s: tune must map options to lists of values, as in {beta: [0.1, 0.5]}", grid.Where())
		}
		if tuning == nil || tuning.Kind != options.Map {
			return fault.Inputf("%s: tune needs `tuning:` beside stages, which says with what the runs are compared", grid.Where())
		}
		three, err := d.tuned(item, grid, tuning)
		if err != nil {
			return err
		}
		d.items = append(d.items, three...)
	}
	return nil
}

func (d *document) tuned(item, grid, tuning *options.Node) ([]*options.Node, error) {
	name, with := item.Get("name"), item.Get("with")
	if name == nil {
		return nil, fault.Inputf("%s: name is required", item.Where())
	}
	if with == nil {
		with = mapping(item)
	}
	d.tunes[name.Text+"-tune"], d.best = name.Text, append(d.best, name.Text)
	runs := without(item, "tune", "seeds")
	runs.Put("name", at(item, name.Text+"-tune"))
	runs.Put("grid", grid)
	first := copyOf(with)
	if seed := tuning.Get("seed"); seed != nil {
		first.Put("seed", seed)
	}
	runs.Put("with", first)

	rest, err := split(tuning, nil, "seed", "with")
	if err != nil {
		return nil, err
	}
	if len(rest.Entries) > 0 {
		return nil, fault.Inputf("%s:%d: unknown key %s under tuning; it holds seed and with", tuning.File, rest.Entries[0].Line, rest.Entries[0].Key)
	}
	choice, judged := mapping(item), mapping(item)
	if w := tuning.Get("with"); w != nil {
		judged = copyOf(w)
	}
	keys := &options.Node{File: item.File, Line: item.Line, Kind: options.List}
	final := copyOf(with)
	for _, e := range grid.Entries {
		keys.Items = append(keys.Items, at(item, e.Key))
		final.Put(e.Key, at(item, fmt.Sprintf("${choice:%s-choice.%s}", name.Text, e.Key)))
	}
	judged.Put("models", at(item, "${stage:"+name.Text+"-tune}"))
	judged.Put("keys", keys)
	choice.Put("name", at(item, name.Text+"-choice"))
	choice.Put("kind", at(item, choiceKind))
	choice.Put("with", judged)

	last := without(item, "tune")
	last.Put("with", final)
	return []*options.Node{runs, choice, last}, nil
}

// allTuned lists the stages that ${tuned} or ${choices} stands for, all that items with tune unfold into.
func (x *expander) allTuned(ref string, st *Stage) ([]string, error) {
	var out []string
	for _, name := range x.doc.best {
		target := name + "-*"
		if ref == "choices" {
			target = name + "-choice"
		}
		names, err := x.names(target, st)
		if err != nil {
			return nil, err
		}
		out = append(out, names...)
	}
	return out, nil
}

// at is a value that the recipe makes up in the place of n.
func at(n *options.Node, text string) *options.Node {
	return &options.Node{File: n.File, Line: n.Line, Text: text}
}

func mapping(n *options.Node) *options.Node {
	return &options.Node{File: n.File, Line: n.Line, Kind: options.Map}
}

// copyOf is a mapping whose keys can be replaced without touching n.
func copyOf(n *options.Node) *options.Node {
	out := *n
	out.Entries = slices.Clone(n.Entries)
	return &out
}

// without is a copy of a mapping that lacks the keys.
func without(n *options.Node, keys ...string) *options.Node {
	out := copyOf(n)
	out.Entries = slices.DeleteFunc(out.Entries, func(e options.Entry) bool { return slices.Contains(keys, e.Key) })
	return out
}

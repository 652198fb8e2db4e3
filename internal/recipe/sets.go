package recipe

// What --set changes in the stages of a recipe. One for all stages, *.key=value, reaches those that read the key.

import (
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/options"
)

// Reader is an options struct of a kind whose stages do not all read all options: a method or a form leaves some out and
// refuses them.
type Reader interface {
	// Reads tells whether the stage, by its other options, reads the key.
	Reads(key string) bool
}

// applySets hands each --set to the stages it names; one that names no stage is an error.
func (d *document) applySets(sets []string, kinds map[string]func() any) error {
	for _, text := range sets {
		path, value, ok := strings.Cut(text, "=")
		stage, key, dotted := strings.Cut(path, ".")
		if !ok || !dotted {
			return fault.Inputf("--set %s: want stage.key=value", text)
		}
		node := &options.Node{File: "--set " + text, Text: value}
		hit := false
		for _, s := range d.stages {
			if stage != "*" && stage != s.head.Name && !s.hasSeedName(stage) && !d.tunesFor(stage, key, s) {
				continue
			}
			if stage == "*" && !options.Of(kinds[s.head.Kind]()).Has(key) {
				continue
			}
			hit = true
			s.sets = append(s.sets, &override{stage: stage, key: key, value: node, text: text})
		}
		if !hit {
			return fault.Inputf("--set %s: %s", text, d.noSuchStage(stage, key))
		}
	}
	return nil
}

// tunesFor reports whether s tries out values for the stage, so that what is set there holds here too: all but what
// it tries.
func (d *document) tunesFor(stage, key string, s *stageSpec) bool {
	return d.tunes[s.head.Name] == stage && s.grid.Get(key) == nil
}

func (d *document) noSuchStage(stage, key string) string {
	if stage == "*" {
		return "no stage has an option " + key
	}
	var names []string
	for _, s := range d.stages {
		names = append(names, s.expandedNames()...)
		names = append(names, s.head.Name)
	}
	return "no stage " + stage + options.DidYouMean(stage, names)
}

// override is one --set on its way to a stage.
type override struct {
	stage, key string
	value      *options.Node
	text       string // as given
	used       bool   // some stage took it
}

// override puts into with what --set says of the stage.
func (x *expander) override(st *Stage, spec *stageSpec, with *options.Node) {
	var mine []*override
	whole := *with // with everything, to ask what the stage reads
	whole.Entries = slices.Clone(with.Entries)
	for _, o := range spec.sets {
		if o.stage == "*" || o.stage == st.base || o.stage == st.Name || o.stage == x.doc.tunes[st.base] {
			mine = append(mine, o)
			whole.Put(o.key, o.value)
		}
	}
	for _, o := range mine {
		if o.stage == "*" && !x.reads(*st, &whole, o.key) {
			continue
		}
		o.used = true
		with.Put(o.key, o.value)
	}
}

// reads tells whether a stage with these settings reads the key. st is a copy, which what is looked up here does not
// bind; what cannot be looked up yet, or is wrong, is reported when the stage itself is filled.
func (x *expander) reads(st Stage, with *options.Node, key string) bool {
	opts := x.params.Kinds[st.Kind]()
	st.Needs, st.waits, st.orderOnly = nil, nil, nil
	c := options.Of(opts)
	for _, e := range with.Entries {
		one := *with
		one.Entries = []options.Entry{e}
		n, err := substitute(&one, x.stageScope(&st).or(x.choiceScope).or(x.globals), x.doc.varNames())
		if e.Key == key || err != nil {
			continue
		}
		_ = c.Apply(n) // an error comes up again in fill
	}
	if r, ok := opts.(Reader); ok && !r.Reads(key) {
		return false
	}
	return c.Unread(key) == ""
}

// checkSets refuses a --set for all stages that no stage took.
func (d *document) checkSets(sets []string) error {
	var all []*override
	for _, s := range d.stages {
		all = append(all, s.sets...)
	}
	for _, text := range sets {
		mine := func(o *override) bool { return o.text == text && o.stage == "*" }
		at := slices.IndexFunc(all, mine)
		if at >= 0 && !slices.ContainsFunc(all, func(o *override) bool { return mine(o) && o.used }) {
			return fault.Inputf("--set %s: no stage reads %s as its other options are; leave it out, or name the stage", text, all[at].key)
		}
	}
	return nil
}

package recipe

// Choices: a stage of kind select compares runs and writes down which settings were best; ${choice:STAGE.key} in a
// later stage stands for such a setting. Its value is known only once the select stage is done, so a stage that
// uses one gets its options, and with them its key, when its turn comes. The key holds the value and not how it was
// found: a grid with one more point redoes nothing that comes out the same.

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/options"
)

// choiceKind is the kind of the stages that ${choice:…} may name.
const choiceKind = "select"

// ChoiceFile is what a stage of kind select leaves in its folder: a Choice as JSON.
const ChoiceFile = "choice.json"

// Choice is which of several runs was best, and its settings.
type Choice struct {
	By         string            `json:"by"`     // what was compared
	Chosen     string            `json:"chosen"` // name of the best run's folder
	Values     map[string]string `json:"values"` // its settings: option to value, as text
	Candidates []Candidate       `json:"candidates"`
}

// Candidate is one of the runs compared.
type Candidate struct {
	Name   string            `json:"name"`
	Values map[string]string `json:"values"`
	Mean   float64           `json:"mean"` // over the tuning prompts and their samples, with its 95 % interval over prompts
	Low    float64           `json:"low"`
	High   float64           `json:"high"`
}

// ReadChoice reads a select stage's result.
func ReadChoice(dir string) (*Choice, error) {
	path := filepath.Join(dir, ChoiceFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Inputf("%w; give the folder of a select stage", err)
	}
	var c Choice
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fault.Inputf("%s: %w; delete its folder to choose again", path, err)
	}
	return &c, nil
}

// choiceRef is a ${choice:STAGE.key} that a stage uses.
type choiceRef struct{ ref, stage, key string }

// hold notes the choices that st refers to and takes the options that wait for one out of with.
func (x *expander) hold(st *Stage, with *options.Node) error {
	var keep []options.Entry
	for _, e := range with.Entries {
		waits := false
		for _, ref := range choicesIn(e.Value) {
			c, err := x.choice(ref, st)
			if err != nil {
				return fault.Inputf("%s: ${%s}: %w", e.Value.Where(), ref, err)
			}
			st.choices = append(st.choices, c)
			_, known := x.chosen[ref]
			waits = waits || !known
		}
		if waits {
			st.waits = append(st.waits, e.Key)
			continue
		}
		keep = append(keep, e)
	}
	with.Entries = keep
	return nil
}

// choice resolves the stage that a reference names; it must be one stage, and it must come before st.
func (x *expander) choice(ref string, st *Stage) (choiceRef, error) {
	stage, key, ok := strings.Cut(strings.TrimPrefix(ref, "choice:"), ".")
	if !ok || key == "" {
		return choiceRef{}, errors.New("write it as ${choice:STAGE.option}")
	}
	names, err := x.names(stage, st)
	if err != nil {
		return choiceRef{}, err
	}
	if len(names) != 1 {
		return choiceRef{}, fault.Inputf("%s is %d stages; name one of %s", stage, len(names), strings.Join(names, ", "))
	}
	if !slices.Contains(st.Needs, names[0]) {
		st.Needs, st.orderOnly = append(st.Needs, names[0]), append(st.orderOnly, names[0])
	}
	return choiceRef{ref: ref, stage: names[0], key: key}, nil
}

// choicesIn lists the choice references in a value.
func choicesIn(n *options.Node) []string {
	var out []string
	for _, item := range n.Items {
		out = append(out, choicesIn(item)...)
	}
	for _, e := range n.Entries {
		out = append(out, choicesIn(e.Value)...)
	}
	rest := n.Text
	for {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			return out
		}
		ref, tail, closed := strings.Cut(after, "}")
		if closed && strings.HasPrefix(ref, "choice:") && !strings.HasSuffix(before, "$") {
			out = append(out, ref)
		}
		if rest = tail; !closed {
			rest = after
		}
	}
}

// choiceScope resolves choices that have been made.
func (x *expander) choiceScope(ref string) (*options.Node, bool, error) {
	value, ok := x.chosen[ref]
	return scalar(value), ok, nil
}

// checkChoices holds every reference to a choice against the select stage that is to make it.
func (p *Plan) checkChoices() error {
	for _, s := range p.Stages {
		for _, c := range s.choices {
			from := p.find(c.stage)
			if from.Kind != choiceKind {
				return fault.Inputf("%s: ${%s}: stage %s is of kind %s; only %s makes choices", s.Where, c.ref, c.stage, from.Kind, choiceKind)
			}
			keys, _ := options.Of(from.Options).Get("keys")
			if list := strings.Split(keys, ","); !slices.Contains(list, c.key) {
				return fault.Inputf("%s: ${%s}: stage %s chooses %s, not %s%s", s.Where, c.ref, c.stage, strings.Join(list, ", "), c.key, options.DidYouMean(c.key, list))
			}
		}
	}
	return nil
}

func (p *Plan) find(name string) *Stage {
	i := slices.IndexFunc(p.Stages, func(s *Stage) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return p.Stages[i]
}

// settle gives a stage the options that waited for choices, once done reports their stages as done; ok is false
// while one is open. The values are read from the choice files.
func (p *Plan) settle(s *Stage, done func(stage string) bool) (ok bool, err error) {
	for _, c := range s.choices {
		if !done(c.stage) {
			return false, nil
		}
		made, err := ReadChoice(p.find(c.stage).Dir)
		if err != nil {
			return false, err
		}
		value, has := made.Values[c.key]
		if !has {
			return false, fault.Inputf("%s: holds no value of %s; delete its folder to choose again", filepath.Join(p.find(c.stage).Dir, ChoiceFile), c.key)
		}
		p.real.chosen[c.ref], p.symbolic.chosen[c.ref] = value, value
	}
	if len(s.choices) == 0 {
		return true, nil
	}
	return true, p.refill(s)
}

// refill decodes a stage's options again, with the choices made.
func (p *Plan) refill(s *Stage) error {
	fresh := func(x *expander) (*Stage, error) {
		st := &Stage{Name: s.Name, Kind: s.Kind, Seed: s.Seed, Where: s.Where, base: s.base, spec: s.spec, point: s.point}
		return st, x.fill(st)
	}
	now, err := fresh(p.real)
	if err != nil {
		return err
	}
	twin, err := fresh(p.symbolic)
	if err != nil {
		return err
	}
	s.Options, s.inputs, s.waits = now.Options, now.inputs, nil
	s.hash = options.HashAgainst(twin.Options, p.real.params.Kinds[s.Kind]())
	return nil
}

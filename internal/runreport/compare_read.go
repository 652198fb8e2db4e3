package runreport

// What a comparison reads: evaluations of the same prompts, the run folders behind their models, and choices.

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/job"
	"salsa/internal/options"
	"salsa/internal/recipe"
)

// comparison is everything that is compared.
type comparison struct {
	opts     *CompareOptions
	eval     *job.Evaluation // all of --eval in one
	methods  []*contestant   // the baseline first, then in the order of the evaluation
	baseline *contestant
	start    string // name of the model to which the KL is shown; "" without
	measures []measure
	judge    measure // decides: gold, or reward where there is no gold
}

// contestant is a method, or a model that others began with.
type contestant struct {
	contender
	runs   []*ranRun // of its models; nil for one whose folder is no run folder
	choice *recipe.Choice
	row    methodRow
}

func (o *CompareOptions) read() (*comparison, error) {
	c := &comparison{opts: o, eval: &job.Evaluation{}}
	for i, dir := range o.Eval {
		if err := c.add(i, dir); err != nil {
			return nil, err
		}
	}
	if err := c.group(); err != nil {
		return nil, err
	}
	at := slices.IndexFunc(c.methods, func(m *contestant) bool { return m.name == o.Baseline })
	if at < 0 {
		var labels []string
		for _, m := range c.methods {
			labels = append(labels, m.name)
		}
		return nil, fault.Inputf("--baseline %s: no such method among those evaluated: %s; give one of them%s", o.Baseline, strings.Join(labels, ", "), options.DidYouMean(o.Baseline, labels))
	}
	c.baseline = c.methods[at]
	c.methods = slices.Insert(slices.Delete(c.methods, at, at+1), 0, c.baseline)
	if err := c.chooseStart(); err != nil {
		return nil, err
	}
	return c, c.readChoices()
}

// add reads one eval.json and holds its prompts against those before.
func (c *comparison) add(i int, dir string) error {
	e := &job.Evaluation{}
	if err := readJSON(filepath.Join(dir, job.EvalFile), e); err != nil {
		return err
	}
	if err := check(e, dir); err != nil {
		return err
	}
	if i == 0 {
		c.eval = e
		return nil
	}
	if !slices.Equal(e.Prompts, c.eval.Prompts) || e.Samples != c.eval.Samples || e.Temperature != c.eval.Temperature {
		return fault.Inputf("%s: other prompts, samples or temperature than in %s; evaluate all methods alike", filepath.Join(dir, job.EvalFile), c.opts.Eval[0])
	}
	for _, m := range e.Models {
		if !slices.ContainsFunc(c.eval.Models, func(o job.EvaluatedModel) bool { return sameFolder(o.Dir, m.Dir) }) {
			c.eval.Models = append(c.eval.Models, m)
		}
	}
	return nil
}

// group sorts the evaluated models into methods and reads their run folders.
func (c *comparison) group() error {
	named := map[string]string{} // absolute folder → label
	for _, text := range c.opts.Methods {
		label, dirs, _ := strings.Cut(text, "=")
		for _, dir := range strings.Split(dirs, ",") {
			if !slices.ContainsFunc(c.eval.Models, func(m job.EvaluatedModel) bool { return sameFolder(m.Dir, dir) }) {
				return fault.Inputf("--methods %s: %s is not among the models of --eval; evaluate it too", text, dir)
			}
			abs, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			named[abs] = label
		}
	}
	for i := range c.eval.Models {
		m := &c.eval.Models[i]
		abs, err := filepath.Abs(m.Dir)
		if err != nil {
			return err
		}
		label, seed := seedSuffix.ReplaceAllString(m.Name, ""), ""
		if found := seedSuffix.FindStringSubmatch(m.Name); found != nil {
			seed = found[1]
		}
		if given := named[abs]; given != "" {
			label = given
		}
		if err := c.place(m, label, seed); err != nil {
			return err
		}
	}
	return nil
}

// place adds a model to its method.
func (c *comparison) place(m *job.EvaluatedModel, label, seed string) error {
	if _, isReference := m.KL[m.Name]; isReference && label != c.opts.Baseline {
		label = m.Name // a model that others began with stands for itself, whatever its seed
	}
	at := slices.IndexFunc(c.methods, func(x *contestant) bool { return x.name == label })
	if at < 0 {
		at, c.methods = len(c.methods), append(c.methods, &contestant{contender: contender{name: label}})
	}
	x := c.methods[at]
	var run *ranRun
	if _, err := os.Stat(filepath.Join(m.Dir, checkpoint.RunFile)); err == nil {
		if run, err = readRun(m.Dir); err != nil {
			return err
		}
	}
	if seed == "" && run != nil {
		seed = run.seed
	}
	if seed == "" || slices.Contains(x.seeds, seed) {
		seed = fmt.Sprintf("run %d", len(x.seeds)+1)
	}
	x.models, x.seeds, x.runs = append(x.models, m), append(x.seeds, seed), append(x.runs, run)
	return nil
}

// chooseStart finds the model to which all KLs are shown.
func (c *comparison) chooseStart() error {
	known := slices.Sorted(maps.Keys(c.baseline.models[0].KL))
	switch c.start = c.opts.KLTo; {
	case c.start != "":
	case len(known) == 1:
		c.start = known[0]
	case c.baseline.runs[0] != nil:
		c.start = lastName(c.baseline.runs[0].setting("model"))
	}
	if len(known) == 0 && c.opts.KLTo == "" {
		c.start = ""
		return nil
	}
	if !slices.Contains(known, c.start) {
		return fault.Inputf("--kl-to: eval.json measures the KL to %s, not to %q; name one of them", strings.Join(known, ", "), c.start)
	}
	return nil
}

// readChoices attaches what select stages chose to their methods.
func (c *comparison) readChoices() error {
	for _, dir := range c.opts.Choices {
		choice, err := recipe.ReadChoice(dir)
		if err != nil {
			return err
		}
		label := strings.TrimSuffix(lastName(dir), "-choice")
		at := slices.IndexFunc(c.methods, func(m *contestant) bool { return m.name == label })
		if at < 0 {
			return fault.Inputf("--choices %s: there is no method %s among those evaluated; name the folder METHOD-choice", dir, label)
		}
		c.methods[at].choice = choice
	}
	return nil
}

package runreport

// salsa compare: many methods on one evaluation, against one baseline, as a page, a table in Markdown and numbers.

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/report"
)

// CompareTable is the file with the table in Markdown.
const CompareTable = "compare.md"

const compareNumbers = "compare.json"

// CompareOptions are the options of `salsa compare`.
type CompareOptions struct {
	Title          string   `yaml:"title" help:"headline of the page"`
	Lead           string   `yaml:"lead" help:"the task in a few words, printed under the headline"`
	Eval           []string `yaml:"eval" required:"true" input:"path" arg:"DIRS" help:"folders with eval.json: all methods on the same prompts, in one or several"`
	Methods        []string `yaml:"methods" sep:"none" arg:"LABEL=DIR,DIR" help:"folders that make up a method, one per seed; models of eval.json that are not named here are grouped by their names without -seedN"`
	Baseline       string   `yaml:"baseline" arg:"LABEL" help:"method that the others are held against"`
	KLTo           string   `yaml:"kl_to" arg:"NAME" help:"model of eval.json's KL that is shown; empty: the model that the baseline started from"`
	Choices        []string `yaml:"choices" input:"path" arg:"DIRS" help:"folders with choice.json of select stages; METHOD-choice tells what was tuned of METHOD"`
	OfflineSamples int      `yaml:"offline_samples" help:"samples that made the data of methods that draw none themselves; 0: not told" check:">=0"`
	Out            string   `yaml:"out" required:"true" arg:"DIR" help:"folder for report.html, compare.md, compare.json and frontier.svg" hash:"-"`
	JSON           bool     `yaml:"json" help:"end with one line of JSON on standard output: every method's means" hash:"-"`
}

// DefaultCompare returns the defaults.
func DefaultCompare() CompareOptions {
	return CompareOptions{Title: "Methods compared", Baseline: "ppo"}
}

// Validate checks what the tags cannot.
func (o *CompareOptions) Validate() error {
	for _, text := range o.Methods {
		if label, dirs, ok := strings.Cut(text, "="); !ok || label == "" || dirs == "" {
			return fault.Inputf("methods: %q: want LABEL=DIR,DIR", text)
		}
	}
	return nil
}

// InputPaths lists the folders inside Methods.
func (o *CompareOptions) InputPaths() []string {
	var out []string
	for _, text := range o.Methods {
		_, dirs, _ := strings.Cut(text, "=")
		out = append(out, strings.Split(dirs, ",")...)
	}
	return out
}

// Compare runs the job. It writes OUT/report.html, OUT/compare.md, OUT/compare.json and OUT/frontier.svg.
func Compare(_ context.Context, o *CompareOptions) (map[string]float64, error) {
	c, err := o.read()
	if err != nil {
		return nil, err
	}
	if err := c.measure(); err != nil {
		return nil, err
	}
	if err := prepareOut(o.Out, Page, CompareTable, compareNumbers, frontierFile); err != nil {
		return nil, err
	}
	raw, err := json.MarshalIndent(c.numbers(), "", "  ")
	if err != nil {
		return nil, err
	}
	page := c.page()
	err = errors.Join(page.WriteFile(filepath.Join(o.Out, Page)),
		checkpoint.WriteFileAtomic(filepath.Join(o.Out, compareNumbers), append(raw, '\n')),
		checkpoint.WriteFileAtomic(filepath.Join(o.Out, CompareTable), []byte(c.markdown())))
	if charts := c.frontiers(); err == nil && len(charts) > 0 {
		err = report.WriteSVGFile(filepath.Join(o.Out, frontierFile), charts[0], page.Series...)
	}
	return c.scalars(), err
}

// prepareOut makes a folder for the files named, or accepts one that holds nothing but them: those are replaced.
func prepareOut(out string, files ...string) error {
	entries, err := os.ReadDir(out)
	foreign := func(e fs.DirEntry) bool { return !slices.Contains(files, e.Name()) }
	if err != nil || len(entries) == 0 || slices.ContainsFunc(entries, foreign) {
		return checkpoint.PrepareOut(out, false)
	}
	path := filepath.Join(out, frontierFile) // the one that is not always written
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Inputf("%s: cannot be replaced: %w; choose another --out", path, errors.Unwrap(err))
	}
	return nil
}

// Command jobs times whole jobs of salsa beside the same jobs of the Python tools that people use for them, and writes
// one table. Salsa, the rival as it comes (stock) and the rival with a careful user's settings (tuned) run in turn as
// processes of their own, on the same inputs, so that what else happens on the machine meets all of them; what counts is
// the ratio within a round.
//
//	make bench-jobs                     all rows, five rounds, into bench/results.md and bench/results.json
//	make bench-jobs JOBS='-row dpo'     some rows; the others of the files stay as they are
//	make bench-check                    a quick run, held to the ratios of bench/results.json
//
// bench/rivals/README.md says how to make the rivals' environments.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"salsa/internal/fault"
)

// settings are the program's flags.
type settings struct {
	salsa, rivals, inputs, scratch, results string
	version                                 string // of salsa's binary
	rounds, threads                         int
	row                                     *regexp.Regexp
	quick, check, list                      bool
	compiled                                bool // scratch has package bench's test binary of this run
	tolerance                               float64
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "jobs:", err)
		os.Exit(fault.ExitCode(err))
	}
}

func run() error {
	s, err := parse()
	if err != nil {
		return err
	}
	rows := chosen(s)
	if len(rows) == 0 {
		return fault.Inputf("-row %s: no row of this name; -list shows them", s.row)
	}
	if s.list {
		for _, r := range rows {
			fmt.Printf("%-28s %s\n", r.name, r.what)
		}
		return nil
	}
	if err := s.ready(rows); err != nil {
		return err
	}
	known, err := load(s.results + ".json")
	if err != nil {
		return err
	}
	if s.check {
		return s.compare(rows, known)
	}
	return s.record(rows, known)
}

func parse() (*settings, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	s, pattern := &settings{}, ""
	home := os.Getenv("SALSA_RIVALS")
	if home == "" {
		home = filepath.Join(cache, "salsa", "rivals")
	}
	flag.StringVar(&s.salsa, "salsa", "bin/salsa", "salsa's binary")
	flag.StringVar(&s.rivals, "rivals", home, "folder with the rivals' environments trl029, trl1 and mergekit (or $SALSA_RIVALS)")
	flag.StringVar(&s.inputs, "inputs", filepath.Join(cache, "salsa", "bench-inputs"), "models and rows; made if absent")
	flag.StringVar(&s.scratch, "scratch", filepath.Join(os.TempDir(), "salsa-bench"), "where jobs write; emptied before each")
	flag.StringVar(&s.results, "results", "bench/results", "files to write or hold against, without .md and .json")
	flag.IntVar(&s.rounds, "rounds", 5, "how often each job runs")
	flag.IntVar(&s.threads, "threads", 2, "CPU threads of everybody")
	flag.StringVar(&pattern, "row", "", "only rows whose name matches this regular expression")
	flag.BoolVar(&s.quick, "quick", false, "fewer steps")
	flag.BoolVar(&s.check, "check", false, "compare ratios with the results, write nothing")
	flag.BoolVar(&s.list, "list", false, "name the rows")
	flag.Float64Var(&s.tolerance, "tolerance", 0.25, "-check: a ratio may be smaller by this share")
	flag.Parse()
	if s.row, err = regexp.Compile(pattern); err != nil {
		return nil, fault.Inputf("-row: %v", err)
	}
	if flag.NArg() > 0 {
		return nil, fault.Inputf("unexpected argument %q: every input has a flag, such as -row %s", flag.Arg(0), flag.Arg(0))
	}
	if s.rounds < 1 || s.threads < 1 {
		return nil, fault.Inputf("-rounds and -threads must be at least 1")
	}
	return s, nil
}

// ready finds what is missing before anything runs, and makes the inputs.
func (s *settings) ready(rows []row) error {
	if _, err := os.Stat(s.salsa); err != nil {
		return fault.Inputf("%s: no salsa there; run make build", s.salsa)
	}
	var err error
	if s.version, err = version(s.salsa); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "jobs: measuring %s of %s\n", s.salsa, s.version)
	for _, r := range rows {
		if _, err := os.Stat(s.python(r.rival.venv)); err != nil {
			return fault.Inputf("%s: no environment %s for row %q; bench/rivals/README.md says how to make it", s.rivals, r.rival.venv, r.name)
		}
	}
	if _, err := os.Stat(filepath.Join(s.inputs, "ready")); err == nil {
		return nil
	}
	fmt.Fprintf(os.Stderr, "jobs: making the inputs in %s\n", s.inputs)
	if _, err := s.process(job{argv: []string{s.python("trl1"), "bench/rivals/prepare.py", s.inputs}}); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.inputs, "ready"), nil, 0o644)
}

func (s *settings) python(venv string) string { return filepath.Join(s.rivals, venv, "bin", "python") }

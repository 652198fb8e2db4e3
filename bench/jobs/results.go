package main

// The two files of results, and the check against them.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"salsa/internal/fault"
)

// results is results.json.
type results struct {
	Date    string  `json:"date"`
	Commit  string  `json:"commit"`
	CPU     string  `json:"cpu"`
	Cores   int     `json:"cores"`
	Threads int     `json:"threads"`
	Limits  []limit `json:"limits"`
	Lines   []line  `json:"lines"`
}

func load(path string) (*results, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &results{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &results{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// record measures rows and writes them into the results, after each row, so that an interrupt loses one row at most.
func (s *settings) record(rows []row, known *results) error {
	limits, err := s.limits()
	if err != nil {
		return err
	}
	known.Date, known.Commit, known.CPU = time.Now().UTC().Format(time.DateOnly), s.version, processor()
	known.Cores, known.Threads, known.Limits = runtime.NumCPU(), s.threads, limits
	for i := range rows {
		lines, err := s.measure(&rows[i], s.rounds)
		if err != nil {
			return err
		}
		known.put(lines)
		if err := s.write(known); err != nil {
			return err
		}
	}
	return nil
}

// put replaces the lines of a row, and keeps rows in the order of allRows.
func (r *results) put(lines []line) {
	r.Lines = slices.DeleteFunc(r.Lines, func(l line) bool { return l.Row == lines[0].Row })
	r.Lines = append(r.Lines, lines...)
	order := map[string]int{}
	for i, known := range allRows() {
		order[known.name] = i
	}
	slices.SortStableFunc(r.Lines, func(a, b line) int { return order[a.Row] - order[b.Row] })
}

func (s *settings) write(r *results) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.results+".json", append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(s.results+".md", []byte(r.markdown()), 0o644)
}

// compare runs rows once, briefly, and fails with the names of those that fell behind.
func (s *settings) compare(rows []row, known *results) error {
	if len(known.Lines) == 0 {
		return fault.Inputf("%s.json: no results to hold against; run make bench-jobs first", s.results)
	}
	var behind []string
	compared := 0
	for i := range rows {
		lines, err := s.measure(&rows[i], 1)
		if err != nil {
			return err
		}
		for _, now := range lines {
			at := slices.IndexFunc(known.Lines, func(l line) bool { return l.name() == now.name() })
			if at < 0 || !now.kept(known.Lines[at]) {
				continue
			}
			compared++
			behind = append(behind, fallen(now, known.Lines[at], s.tolerance)...)
		}
	}
	if len(behind) > 0 {
		return fmt.Errorf("salsa fell behind %s.json:\n%s", s.results, strings.Join(behind, "\n"))
	}
	if compared == 0 {
		return fault.Inputf("%s.json has none of these rows; run make bench-jobs first", s.results)
	}
	fmt.Printf("bench-check: %d ratios within %.0f %% of %s.json\n", compared, 100*s.tolerance, s.results)
	return nil
}

// kept reports whether a quick run's ratio means the same as a full run's. Whole-process time does not, where the number
// of steps differs; nor does a phase, which is short and noisy.
func (l line) kept(old line) bool {
	return l.Measure == "step" || l.Measure == "rss" || l.Unit == "" && old.Unit == ""
}

// fallen describes the ratios of a line that are smaller than before by more than the tolerance.
func fallen(now, old line, tolerance float64) []string {
	var out []string
	say := func(way string, a, b float64) {
		if a < b*(1-tolerance) {
			out = append(out, fmt.Sprintf("  %s: %s/salsa is %.2f, was %.2f", now.name(), way, a, b))
		}
	}
	say("stock", now.RatioStock.Median, old.RatioStock.Median)
	if now.RatioTuned != nil && old.RatioTuned != nil {
		say("tuned", now.RatioTuned.Median, old.RatioTuned.Median)
	}
	return out
}

// version is what the binary says that it was built from: the folder may have gone on since.
func version(salsa string) (string, error) {
	out, err := exec.Command(salsa, "--version").Output()
	if err != nil {
		return "", fault.Inputf("%s --version: %v; run make build", salsa, err)
	}
	words := strings.Fields(string(out))
	if len(words) < 2 || words[0] != "salsa" {
		return "", fault.Inputf("%s --version says %q, so it is not salsa; run make build", salsa, strings.TrimSpace(string(out)))
	}
	return words[1], nil
}

// processor names the CPU as Linux does.
func processor() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for l := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// Command growth measures how the cost of training grows with the length of sequences, the batch, the vocabulary, the
// depth and the number of rows, fits an exponent to each, and draws the curves of docs/performance.md.
//
//	make bench-growth                          all curves
//	make bench-growth GROWTH='-curve length'   one; the others stay as they are
//
// Every point is a process of its own, because a process's peak memory never falls.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"salsa/internal/fault"
)

// sample is what one point costs.
type sample struct {
	X       float64 `json:"x"`
	Seconds float64 `json:"seconds"`
	Bytes   float64 `json:"bytes"` // peak resident size
}

// measured is a curve with its points.
type measured struct {
	Name   string   `json:"name"`
	Points []sample `json:"points"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(fault.ExitCode(err))
	}
}

func run() error {
	only := flag.String("curve", "", "just this curve")
	point := flag.String("point", "", "measure one point, CURVE=X, and print it; what the program calls itself with")
	page := flag.String("page", "docs/performance.md", "page to write the table and figures into")
	numbers := flag.String("numbers", "bench/growth.json", "file of all points")
	threads := flag.Int("threads", 2, "CPU threads")
	upTo := flag.Float64("up-to", 0, "leave out points beyond this; 0: none")
	flag.Parse()
	if *point != "" {
		return measurePoint(*point, *threads)
	}
	known, err := load(*numbers)
	if err != nil {
		return err
	}
	found := false
	for _, c := range curves {
		if *only != "" && *only != c.name {
			continue
		}
		found = true
		m, err := measureCurve(c, *threads, *upTo)
		if err != nil {
			return err
		}
		known = slices.DeleteFunc(known, func(k measured) bool { return k.Name == c.name })
		known = append(known, m)
	}
	if !found {
		return fault.Inputf("-curve %s: no such curve; there are %s", *only, strings.Join(curveNames(), ", "))
	}
	raw, err := json.MarshalIndent(known, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(*numbers, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return writePage(*page, known)
}

func load(path string) ([]measured, error) {
	raw, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var known []measured
	if err := json.Unmarshal(raw, &known); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return known, nil
}

// measureCurve calls this program once for each point.
func measureCurve(c curve, threads int, upTo float64) (measured, error) {
	m := measured{Name: c.name}
	for _, x := range c.xs {
		if upTo > 0 && x > upTo {
			break
		}
		cmd := exec.Command(os.Args[0], "-point", fmt.Sprintf("%s=%g", c.name, x), "-threads", strconv.Itoa(threads))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return m, fmt.Errorf("%s at %g: %w", c.name, x, err)
		}
		var s sample
		if err := json.Unmarshal(out, &s); err != nil {
			return m, fmt.Errorf("%s at %g: %w", c.name, x, err)
		}
		fmt.Fprintf(os.Stderr, "growth: %s %g: %.4g s, %.0f MB\n", c.name, x, s.Seconds, s.Bytes/1e6)
		m.Points = append(m.Points, s)
	}
	return m, nil
}

func measurePoint(point string, threads int) error {
	name, value, _ := strings.Cut(point, "=")
	x, err := strconv.ParseFloat(value, 64)
	at := slices.IndexFunc(curves, func(c curve) bool { return c.name == name })
	if err != nil || at < 0 {
		return fault.Inputf("-point %s: give CURVE=NUMBER, with a curve of %s", point, strings.Join(curveNames(), ", "))
	}
	seconds, err := curves[at].cost(int(x), threads)
	if err != nil {
		return err
	}
	peak, err := peakBytes()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(sample{X: x, Seconds: seconds, Bytes: peak})
}

// peakBytes is the largest resident size of this process so far.
func peakBytes() (float64, error) {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no VmHWM")
}

package main

// Single kernels, and the machine's limits in the same run: without them a time says nothing about another machine.

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// benchLine is a result in Go's benchmark format: name, iterations, ns/op, and further figures.
var benchLine = regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([0-9.e+]+) ns/op(.*)$`)

// figure is a number behind ns/op, with its unit.
var figure = regexp.MustCompile(`([0-9.e+-]+) (GFLOP/s|GB/s)`)

// kernel times a row that is a benchmark on both sides.
func (s *settings) kernel(r *row, way string) (reading, error) {
	j, err := s.goBench("^Benchmark"+strings.ReplaceAll(r.benchmarks, "/", "$/^")+"$", "float32")
	if err != nil {
		return nil, err
	}
	if way != "salsa" {
		j = job{argv: []string{s.python(r.rival.venv), "bench/yardstick.py", "--threads", strconv.Itoa(s.threads), "--only", r.benchmarks}}
	}
	p, err := s.process(j)
	if err != nil {
		return nil, err
	}
	for _, m := range benchLine.FindAllStringSubmatch(p.stdout, -1) {
		if m[1] != r.benchmarks {
			continue
		}
		ns, err := strconv.ParseFloat(m[2], 64)
		return reading{"step": ns / 1e9}, err
	}
	return nil, fmt.Errorf("no benchmark %s in the output", r.benchmarks)
}

// goBench is salsa's side of a kernel: package bench, compiled by the first call.
func (s *settings) goBench(pattern, dtype string) (job, error) {
	program := filepath.Join(s.scratch, "bench.test")
	if !s.compiled {
		if _, err := s.process(job{argv: []string{"go", "test", "-c", "-o", program, "./bench"}}); err != nil {
			return job{}, err
		}
		s.compiled = true
	}
	return job{argv: []string{program, "-test.run", "^$", "-test.bench", pattern, "-threads", strconv.Itoa(s.threads), "-dtype", dtype}}, nil
}

// limit is what this machine can do at most, as far as its libraries tell.
type limit struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// limits measures matrix products in both types and the bandwidth of memory.
func (s *settings) limits() ([]limit, error) {
	var all []limit
	for _, dtype := range []string{"float32", "bfloat16"} {
		j, err := s.goBench("^BenchmarkLimits$", dtype)
		if err != nil {
			return nil, err
		}
		p, err := s.process(j)
		if err != nil {
			return nil, err
		}
		for _, m := range benchLine.FindAllStringSubmatch(p.stdout, -1) {
			f := figure.FindStringSubmatch(m[3])
			if f == nil {
				return nil, fmt.Errorf("%s: no figure in %q", m[1], m[0])
			}
			value, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				return nil, err
			}
			all = append(all, limit{Name: strings.TrimPrefix(m[1], "Limits/") + " " + dtype, Value: value, Unit: f[2]})
		}
	}
	return all, nil
}

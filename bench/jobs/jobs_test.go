package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// A step's time is the steady state's, per unit of work: the first step is a warm-up.
func TestStepsWithoutTheFirst(t *testing.T) {
	s := &settings{scratch: t.TempDir()}
	require.NoError(t, os.MkdirAll(filepath.Join(s.scratch, "out"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(s.scratch, "out", "metrics.jsonl"), []byte(
		`{"s_per_step":50,"num_tokens":100,"timing_s/gen":9}
{"s_per_step":2,"num_tokens":200,"timing_s/gen":1}
{"s_per_step":4,"num_tokens":400,"timing_s/gen":2}
`), 0o644))
	got, err := fromMetrics(s, &row{}, process{})
	require.NoError(t, err)
	require.InDelta(t, 6.0/300, got["step"], 1e-12)
	got, err = fromMetrics(s, &row{work: 1, phasesAlike: ppoPhases}, process{})
	require.NoError(t, err)
	require.InDelta(t, 3, got["step"], 1e-12)
	require.InDelta(t, 1.5, got["generate"], 1e-12)
	require.Zero(t, got["score"])

	rival := process{stdout: "chatter\n" + `{"steps":[{"total":50,"generate":1},{"total":3,"generate":2},{"total":5,"generate":4}]}` + "\n"}
	got, err = fromRival(&row{unit: "iteration", work: 1, phasesAlike: ppoPhases}, rival)
	require.NoError(t, err)
	require.InDelta(t, 4, got["step"], 1e-12)
	require.InDelta(t, 3, got["generate"], 1e-12)
	_, err = fromRival(&row{unit: "iteration", work: 1}, process{stdout: "no JSON"})
	require.Error(t, err)
}

// A ratio is taken within a round: when a round is slow for everybody, it does not move.
func TestRatiosWithinRounds(t *testing.T) {
	seen := map[string][]reading{
		"salsa": {{"wall": 1}, {"wall": 10}, {"wall": 2}},
		"stock": {{"wall": 2}, {"wall": 20}, {"wall": 5}},
	}
	l := lineOf(&row{name: "soup"}, "wall", seen)
	require.Equal(t, spread{Median: 2, Low: 1, High: 10}, l.Salsa)
	require.Equal(t, spread{Median: 2, Low: 2, High: 2.5}, l.RatioStock)
	require.Nil(t, l.RatioTuned)
	require.Equal(t, 3, l.Rounds)
}

// The check speaks up beyond the tolerance, with the row's name, and not within it.
func TestFallen(t *testing.T) {
	old := line{Row: "dpo", Measure: "step", RatioStock: spread{Median: 2}, RatioTuned: &spread{Median: 1.6}}
	now := line{Row: "dpo", Measure: "step", RatioStock: spread{Median: 1.6}, RatioTuned: &spread{Median: 1.1}}
	require.Equal(t, []string{"  dpo step: tuned/salsa is 1.10, was 1.60"}, fallen(now, old, 0.25))
	require.Empty(t, fallen(now, old, 0.35))
	require.False(t, line{Measure: "wall", Unit: "pair"}.kept(line{Unit: "pair"}), "a quick run has fewer steps")
}

// Every row says how to run it, names are unique, and a row that is measured again takes its old place.
func TestRows(t *testing.T) {
	known := &results{}
	names := map[string]bool{}
	for _, r := range allRows() {
		require.False(t, names[r.name], r.name)
		names[r.name] = true
		require.NotEmpty(t, r.rival.venv, r.name)
		if r.benchmarks != "" {
			continue
		}
		require.NotNil(t, r.read, r.name)
		s := &settings{salsa: "salsa", inputs: "in", scratch: "tmp", threads: 2}
		require.Equal(t, "salsa", r.salsa(s, &r)[0], r.name)
		known.put([]line{{Row: r.name, Measure: "wall"}})
	}
	known.put([]line{{Row: "ppo float32", Measure: "step"}, {Row: "ppo float32", Measure: "rss"}})
	require.Equal(t, "ppo float32 step", known.Lines[0].name())
	require.Equal(t, "ppo float32 rss", known.Lines[1].name())
	require.Equal(t, "ppo bfloat16", known.Lines[2].Row)
	quick := chosen(&settings{row: regexp.MustCompile("ppo|start"), quick: true})
	require.Len(t, quick, 2)
	require.Equal(t, 2, quick[0].steps)
}

// Tables show speeds where readers expect them, and ratios always of times.
func TestTable(t *testing.T) {
	r := &results{Lines: []line{{Row: "dpo", Measure: "step", Unit: "pair", Salsa: spread{Median: 0.25}, Stock: spread{Median: 0.5},
		RatioStock: spread{Median: 2, Low: 1.9, High: 2.1}, Rounds: 3}, {Row: "dpo", Measure: "rss", Unit: "pair", Salsa: spread{Median: 3e9}}}}
	page := r.markdown()
	require.Contains(t, page, "| pairs per second | 4 | 2 |  | 2.00 (1.90-2.10) |  | 3 |")
	require.Contains(t, page, "|  | peak memory | 3000 MB |")
}

// A benchmark's line is found whatever stands around it.
func TestBenchLines(t *testing.T) {
	m := benchLine.FindStringSubmatch("goos: linux\nBenchmarkLimits/memory-2   \t 10\t 1.2e+07 ns/op\t  20.5 GB/s\t 3 faults/op\nPASS\n")
	require.Equal(t, "Limits/memory", m[1])
	require.Equal(t, "1.2e+07", m[2])
	require.Equal(t, []string{"20.5 GB/s", "20.5", "GB/s"}, figure.FindStringSubmatch(m[3]))
}

func TestTheVersionIsTheBinarysOwn(t *testing.T) {
	say := func(text string) string {
		path := filepath.Join(t.TempDir(), "salsa")
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho '"+text+"'\n"), 0o755))
		return path
	}
	got, err := version(say("salsa v0.1-7-gabc (go1.26, linux/amd64)"))
	require.NoError(t, err)
	require.Equal(t, "v0.1-7-gabc", got)
	_, err = version(say("hello"))
	require.ErrorContains(t, err, "not salsa; run make build")
	_, err = version(filepath.Join(t.TempDir(), "none"))
	require.ErrorContains(t, err, "run make build")
}

// A word without its flag is a mistake, not a run of everything.
func TestWordsWithoutFlags(t *testing.T) {
	args := os.Args
	defer func() { os.Args = args }()
	os.Args = []string{"jobs", "dpo"}
	_, err := parse()
	require.ErrorContains(t, err, `unexpected argument "dpo": every input has a flag, such as -row dpo`)
}

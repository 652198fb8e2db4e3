package main

// The jobs: what salsa is told and what the rival is told, so that both do the same work.

import (
	"fmt"
	"path/filepath"
	"strconv"
)

// row is one job on both sides. Its lines in the table are the time of a unit of work in the steady state, of each phase
// if the job has any, of the whole process, and its largest resident size.
type row struct {
	name, what  string
	unit        string // of work: what one step's time is divided by; "" for a job without steps
	dtype       string
	steps       int // the first is a warm-up and does not count, unless there is but one
	batch       int
	quick       bool // part of -quick
	salsa       func(s *settings, r *row) []string
	read        func(s *settings, r *row, p process) (reading, error) // salsa's times; the rivals print theirs
	rival       rival
	work        float64 // units in one step, where neither side's log counts them
	benchmarks  string  // a Go benchmark and its twin in yardstick.py, in place of jobs
	notATuned   bool    // there is nothing to tune
	phasesAlike map[string][]string
}

// rival is a script of bench/rivals, or a program of its environment.
type rival struct {
	venv, script string
	args         []string
}

// chosen are the rows that the flags ask for.
func chosen(s *settings) []row {
	var rows []row
	for _, r := range allRows() {
		if s.row.MatchString(r.name) && (r.quick || !s.quick && !s.check) {
			if s.quick || s.check {
				r.steps = min(r.steps, 2)
			}
			rows = append(rows, r)
		}
	}
	return rows
}

func allRows() []row {
	var rows []row
	for _, dtype := range []string{"float32", "bfloat16"} {
		rows = append(rows, row{name: "ppo " + dtype, what: "PPO iteration: 16 prompts of 8-64 tokens, 64 new, 4 epochs, four networks",
			unit: "iteration", dtype: dtype, steps: 3, batch: 16, quick: dtype == "float32", work: 1, salsa: ppo, read: fromMetrics,
			rival: rival{venv: "trl029", script: "ppo.py"}, phasesAlike: ppoPhases})
	}
	sftRow := row{name: "sft packed", what: "SFT, rows of mixed length packed to 512; TRL packed", unit: "token", dtype: "float32", steps: 5, batch: 4,
		quick: true, salsa: sft, read: fromMetrics, rival: rival{venv: "trl1", script: "sft.py"}}
	dpoRow := row{name: "dpo", what: "DPO step, the reference's log-probabilities computed before", unit: "pair", dtype: "float32", steps: 6, batch: 8,
		quick: true, work: 8, salsa: dpo, read: fromMetrics, rival: rival{venv: "trl1", script: "dpo.py"}}
	rows = append(rows, sftRow, sftRow.half(),
		row{name: "sft padded rival", what: "the same, TRL padding 16 rows, its usual way", unit: "token", dtype: "float32", steps: 5, batch: 4,
			salsa: sft, read: fromMetrics, rival: rival{venv: "trl1", script: "sft.py", args: []string{"--layout", "padded", "--batch", "16"}}},
		dpoRow, dpoRow.half(),
		row{name: "dpo live rival", what: "the same, TRL's reference in every step, its default", unit: "pair", dtype: "float32", steps: 6, batch: 8,
			work: 8, salsa: dpo, read: fromMetrics, rival: rival{venv: "trl1", script: "dpo.py", args: []string{"--reference", "live"}}},
		row{name: "xpo", what: "XPO step: 16 prompts, two answers of 64 tokens each, one update", unit: "step", dtype: "float32", steps: 3, batch: 16, quick: true,
			work: 1, salsa: xpo, read: fromMetrics, rival: rival{venv: "trl029", script: "xpo.py"}})
	for _, temperature := range []string{"0", "1"} {
		for _, batch := range []int{1, 8, 32} {
			kind := map[string]string{"0": "greedy", "1": "sampled"}[temperature]
			r := row{name: fmt.Sprintf("decode %s %d", kind, batch), what: "64 new tokens after prompts of 8-64",
				unit: "token", dtype: "float32", steps: 3, batch: batch, quick: batch == 8, salsa: decode(temperature), read: fromSummary,
				rival: rival{venv: "trl1", script: "decode.py", args: []string{"--temperature", temperature}}}
			if rows = append(rows, r); temperature == "0" {
				rows = append(rows, r.half())
			}
		}
	}
	return append(rows,
		row{name: "start", what: "process start to the first token of one prompt", dtype: "float32", steps: 1, batch: 1, quick: true, salsa: start,
			read: nothing, rival: rival{venv: "trl1", script: "decode.py", args: []string{"--new", "1", "--prompts", "one.jsonl"}}},
		row{name: "soup", what: "linear soup of two checkpoints of 1.1 GB", dtype: "float32", steps: 1, quick: true, salsa: soup, read: nothing,
			rival: rival{venv: "mergekit", script: "mergekit-yaml"}},
		row{name: "dispatch", what: "one op on four floats", unit: "op", quick: true, benchmarks: "Dispatch/tensor", rival: rival{venv: "trl1"}, notATuned: true},
		row{name: "matmul", what: "fp32 product 1024x1024x1024", unit: "op", quick: true, benchmarks: "Matmul/1024x1024x1024/tensor",
			rival: rival{venv: "trl1"}, notATuned: true})
}

// half is the row in bfloat16.
func (r row) half() row {
	r.name, r.dtype, r.quick = r.name+" bfloat16", "bfloat16", false
	return r
}

// ppoPhases joins salsa's phases into the three that TRL's loop has.
var ppoPhases = map[string][]string{
	"generate": {"timing_s/gen"},
	"score":    {"timing_s/reward", "timing_s/old_log_prob", "timing_s/ref", "timing_s/values", "timing_s/watch"},
	"update":   {"timing_s/update"},
}

// train is what all of salsa's trainers are told.
func (s *settings) train(r *row, command, data string, more ...string) []string {
	argv := []string{s.salsa, command, "--model", s.input("model"), "--data", data, "--out", filepath.Join(s.scratch, "out"),
		"--batch-size", strconv.Itoa(r.batch), "--max-steps", strconv.Itoa(r.steps), "--save-every", "0"}
	return append(append(argv, s.machine(r)...), more...)
}

func (s *settings) machine(r *row) []string {
	return []string{"--dtype", r.dtype, "--threads", strconv.Itoa(s.threads), "--device", "cpu", "--json", "--seed", "1"}
}

func (s *settings) input(name string) string { return filepath.Join(s.inputs, name) }

func (s *settings) online(r *row, command, temperature string, more ...string) []string {
	return s.train(r, command, s.input("prompts.jsonl"), append([]string{"--reference", s.input("model"), "--reward-model", s.input("reward"),
		"--max-new-tokens", "64", "--temperature", temperature, "--watch-kl=false"}, more...)...)
}

func ppo(s *settings, r *row) []string {
	return s.online(r, "ppo", "0.7", "--ppo-epochs", "4", "--num-mini-batches", "1")
}

func xpo(s *settings, r *row) []string { return s.online(r, "xpo", "0.9") }

func sft(s *settings, r *row) []string {
	return s.train(r, "sft", s.input("sft.jsonl"), "--packing", "--max-length", "512")
}

func dpo(s *settings, r *row) []string {
	return s.train(r, "dpo", filepath.Join(s.scratch, "dpo.jsonl"), "--reference", s.input("model"), "--beta", "0.1")
}

// decode generates for as many batches as there are steps.
func decode(temperature string) func(s *settings, r *row) []string {
	return func(s *settings, r *row) []string {
		return s.generate(r, filepath.Join(s.scratch, "prompts.jsonl"), "64", temperature)
	}
}

func start(s *settings, r *row) []string { return s.generate(r, s.input("one.jsonl"), "1", "0") }

func (s *settings) generate(r *row, prompts, fresh, temperature string) []string {
	argv := []string{s.salsa, "generate", "--model", s.input("model"), "--data", prompts, "--out", filepath.Join(s.scratch, "out.jsonl"),
		"--max-new-tokens", fresh, "--temperature", temperature, "--batch-size", strconv.Itoa(r.batch)}
	return append(argv, s.machine(r)...)
}

func soup(s *settings, r *row) []string {
	return []string{s.salsa, "soup", "--out", filepath.Join(s.scratch, "out"), "--threads", strconv.Itoa(s.threads), "--device", "cpu", "--json",
		s.input("soup-a"), s.input("soup-b")}
}

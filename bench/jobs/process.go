package main

// One process: started in a clean scratch folder, timed from outside, its largest resident size taken from the system.

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// job is what one process is told.
type job struct {
	argv []string
	env  []string // added to ours
}

// process is what became of it.
type process struct {
	stdout string
	wall   float64 // seconds from start to exit
	rss    float64 // bytes at most
}

// tunedMalloc makes glibc keep freed memory in place of mapping and zeroing it anew for each large tensor.
var tunedMalloc = []string{"MALLOC_MMAP_MAX_=0", "MALLOC_TRIM_THRESHOLD_=1099511627776", "MALLOC_TOP_PAD_=67108864"}

func (s *settings) process(j job) (process, error) {
	if err := os.RemoveAll(filepath.Join(s.scratch, "out")); err != nil {
		return process{}, err
	}
	if err := os.MkdirAll(s.scratch, 0o755); err != nil {
		return process{}, err
	}
	syscall.Sync() // what the job before wrote is not written at this one's cost
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(j.argv[0], j.argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	threads := strconv.Itoa(s.threads)
	// Nobody's pool may spin while another tool's process has the cores; nobody looks for a network.
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS="+threads, "OMP_WAIT_POLICY=PASSIVE", "GOMAXPROCS="+threads, "HF_HUB_OFFLINE=1",
		"TOKENIZERS_PARALLELISM=false", "CUDA_VISIBLE_DEVICES=")
	cmd.Env = append(cmd.Env, j.env...)
	began := time.Now()
	err := cmd.Run()
	p := process{stdout: stdout.String(), wall: time.Since(began).Seconds()}
	if err != nil {
		return p, fmt.Errorf("%s: %w\n%s", strings.Join(j.argv, " "), err, lastLines(stderr.String(), 15))
	}
	if use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		p.rss = float64(use.Maxrss) * 1024
	}
	return p, nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// read goes through all files below a folder, so that they are in the system's memory for whoever comes first too.
func read(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(io.Discard, file)
		return err
	})
}

// prepare puts what a row's jobs read and inputs does not have into the scratch folder: as many prompts and pairs as the
// row uses, because salsa generate answers a whole file and salsa dpo asks its reference about one; and mergekit's recipe.
func (s *settings) prepare(r *row) error {
	if err := os.MkdirAll(s.scratch, 0o755); err != nil {
		return err
	}
	if err := read(s.inputs); err != nil {
		return err
	}
	for _, name := range []string{"prompts.jsonl", "dpo.jsonl"} {
		raw, err := os.ReadFile(s.input(name))
		if err != nil {
			return err
		}
		lines := slices.Collect(strings.Lines(string(raw)))
		n := min(len(lines), max(1, r.steps*r.batch))
		if err := os.WriteFile(filepath.Join(s.scratch, name), []byte(strings.Join(lines[:n], "")), 0o644); err != nil {
			return err
		}
	}
	recipe := "merge_method: linear\ndtype: float32\nmodels:\n"
	for _, member := range []string{"soup-a", "soup-b"} {
		recipe += fmt.Sprintf("  - model: %s\n    parameters: {weight: 0.5}\n", s.input(member))
	}
	return os.WriteFile(filepath.Join(s.scratch, "soup.yaml"), []byte(recipe), 0o644)
}

// rivalJob is the rival's command line in one of its two ways.
func (s *settings) rivalJob(r *row, way string) job {
	var j job
	if way == "tuned" {
		j.env = tunedMalloc
	}
	if r.rival.script == "mergekit-yaml" {
		j.argv = []string{filepath.Join(s.rivals, r.rival.venv, "bin", r.rival.script), filepath.Join(s.scratch, "soup.yaml"), filepath.Join(s.scratch, "out")}
		return j
	}
	j.argv = []string{s.python(r.rival.venv), "bench/rivals/" + r.rival.script, "--inputs", s.inputs, "--out", filepath.Join(s.scratch, "out"),
		"--way", way, "--dtype", r.dtype, "--threads", strconv.Itoa(s.threads), "--steps", strconv.Itoa(r.steps), "--batch", strconv.Itoa(r.batch)}
	j.argv = append(j.argv, r.rival.args...) // the last of two equal options counts
	return j
}

package main

// What the end-to-end tests share: a tiny world of models and data, made once by salsa itself, and ways to run it and
// to look at what it wrote.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"salsa/internal/demo"
	"salsa/internal/metrics"

	"github.com/stretchr/testify/require"
)

// world is a folder with data/, base, sft1, sft2 (two fine-tunes of base) and rm.
type world struct{ dir string }

// made is the world's folder once there is one.
var made string

var theWorld = sync.OnceValue(func() *world {
	dir, err := os.MkdirTemp("", "salsa-world-")
	if err != nil {
		panic(err)
	}
	made = dir
	w := &world{dir}
	if err := w.make(); err != nil {
		panic(err)
	}
	return w
})

// dropWorld removes the world, if any test made it.
func dropWorld() {
	if made != "" {
		_ = os.RemoveAll(made)
	}
}

// at returns the path of a file or folder of the world.
func (w *world) at(name string) string { return filepath.Join(w.dir, name) }

func (w *world) make() error {
	if err := demo.WriteAll(w.at("data"), 7); err != nil {
		return err
	}
	var asked, pairs, demos bytes.Buffer
	for i, p := range demo.TrainPrompts(7)[:24] {
		good, bad := " tomato onion", " garlic"
		if i%3 == 0 {
			good, bad = " lime chili bean", " sugar sugar"
		}
		writeLine(&asked, map[string]any{"prompt": p})
		writeLine(&pairs, map[string]any{"prompt": p, "chosen": good, "rejected": bad})
		writeLine(&demos, map[string]any{"prompt": p, "completion": good})
	}
	err := errors.Join(os.WriteFile(w.at("prompts.jsonl"), asked.Bytes(), 0o644),
		os.WriteFile(w.at("pairs.jsonl"), pairs.Bytes(), 0o644), os.WriteFile(w.at("demos.jsonl"), demos.Bytes(), 0o644))
	if err != nil {
		return err
	}
	for _, line := range []string{
		"sft --from-config @data/base-config --data @data/pretrain.jsonl --max-steps 20 --batch-size 16 --learning-rate 0.004 --out @base",
		"sft --model @base --data @data/sft.jsonl --max-steps 12 --batch-size 8 --learning-rate 0.003 --seed 1 --out @sft1",
		"sft --model @base --data @data/sft.jsonl --max-steps 12 --batch-size 8 --learning-rate 0.003 --seed 2 --out @sft2",
		"reward --model @sft1 --data @pairs.jsonl --max-steps 6 --batch-size 8 --learning-rate 0.003 --out @rm",
	} {
		var errs bytes.Buffer
		if code := run(newRootCmd(), w.args(line+" --quiet"), &errs); code != 0 {
			return fmt.Errorf("salsa %s: %s", line, &errs)
		}
	}
	return nil
}

func writeLine(to *bytes.Buffer, row any) {
	raw, err := json.Marshal(row)
	if err != nil {
		panic(err) // rows of tests are plain
	}
	to.Write(append(raw, '\n'))
}

// args splits a command line; an @ before a name stands for the world's folder.
func (w *world) args(line string) []string {
	args := strings.Fields(line)
	for i, a := range args {
		if strings.HasPrefix(a, "@") {
			args[i] = strings.ReplaceAll(strings.Replace(a, "@", w.dir+"/", 1), ",@", ","+w.dir+"/")
		}
	}
	return args
}

// do runs a command line in this process, which must succeed, and returns the JSON object of its last line.
func (w *world) do(t *testing.T, line string) map[string]float64 {
	t.Helper()
	code, out, errs := salsa(t, newRootCmd(), w.args(line+" --quiet --json")...)
	require.Equal(t, 0, code, "%s: %s", line, errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last map[string]float64
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last), out)
	return last
}

// program is salsa as a process of its own.
func (w *world) program(line string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], w.args(line)...)
	cmd.Env = append(os.Environ(), "SALSA_TEST=real")
	return cmd
}

// put writes a file into a new folder and returns its path.
func put(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// rowsOf reads a .jsonl file.
func rowsOf[T any](t *testing.T, path string) []T {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var rows []T
	for line := range strings.Lines(string(raw)) {
		var row T
		require.NoError(t, json.Unmarshal([]byte(line), &row), line)
		rows = append(rows, row)
	}
	return rows
}

// readJSON reads a file of one JSON value.
func readJSON[T any](t *testing.T, path string) T {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var v T
	require.NoError(t, json.Unmarshal(raw, &v), path)
	return v
}

// weights are the bytes of a folder's model.safetensors.
func weights(t *testing.T, dir string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	return raw
}

// steps are the rows of a run's metrics.jsonl without what the clock and the machine add.
func steps(t *testing.T, dir string) []metrics.Row {
	t.Helper()
	rows := rowsOf[metrics.Row](t, filepath.Join(dir, "metrics.jsonl"))
	for i := range rows {
		rows[i].Values = metrics.Reproducible(rows[i].Values)
	}
	return rows
}

// copyModel copies a model folder of the world, so that a test can damage it.
func (w *world) copyModel(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.CopyFS(dir, os.DirFS(w.at(name))))
	return dir
}

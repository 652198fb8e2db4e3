package main

// Runs that are stopped, killed or repeated: whatever happens on the way, the end is the same.

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"salsa/internal/fault"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const longLine = "ppo --model @sft1 --reference @sft1,@sft2 --reward-model @rm --data @prompts.jsonl --max-steps 30 --batch-size 8 " +
	"--max-new-tokens 6 --learning-rate 0.001 --sample-every 1 --gold salsa --quiet --out "

// waitFor polls until seen holds; a program that takes longer than a minute hangs.
func waitFor(t *testing.T, what string, seen func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !seen(); time.Sleep(2 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "no %s within a minute", what)
	}
}

// hasLines tells whether a file has at least n lines by now.
func hasLines(path string, n int) func() bool {
	return func() bool {
		raw, err := os.ReadFile(path)
		return err == nil && bytes.Count(raw, []byte("\n")) >= n
	}
}

// exitCode waits for a program and returns its exit code, -1 if a signal ended it.
func exitCode(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) {
		return cmd.ProcessState.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

// sameEnd compares everything that two runs leave behind and that does not tell the time.
func sameEnd(t *testing.T, a, b string) {
	t.Helper()
	assert.Equal(t, steps(t, a), steps(t, b))
	for _, name := range []string{"model.safetensors", "value/model.safetensors", "samples.jsonl", "reference.json", "done.json"} {
		x, err := os.ReadFile(filepath.Join(a, name))
		require.NoError(t, err)
		y, err := os.ReadFile(filepath.Join(b, name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(x, y), "%s differs", name)
	}
}

func TestInterruptAndResume(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	w.do(t, strings.Replace(longLine, "--quiet", "", 1)+out+"/whole")

	cmd := w.program(longLine + out + "/parts")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	waitFor(t, "third step", hasLines(out+"/parts/metrics.jsonl", 3))
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Equal(t, fault.ExitInterrupted, exitCode(t, cmd), errs.String())
	assert.Regexp(t, `^salsa: stopping; interrupt again to stop without saving\nsalsa: interrupted at step \d+: saved; the same command with --resume goes on\n$`, errs.String())
	assert.NoFileExists(t, out+"/parts/done.json")

	for _, c := range []struct{ flags, says string }{
		{"", "already holds a run; add --resume to continue it"},
		{" --resume --kl-coef 0.3", "the run was started with kl_coef 0.05 and is now resumed with 0.3"},
		{" --resume --reference @sft1", "the run was started with reference"},
	} {
		code, _, errs := salsa(t, newRootCmd(), w.args(longLine+out+"/parts"+c.flags)...)
		assert.Equal(t, fault.ExitInput, code)
		assert.Contains(t, errs, c.says)
	}
	w.do(t, strings.Replace(longLine, "--quiet", "", 1)+out+"/parts --resume")
	sameEnd(t, out+"/whole", out+"/parts")

	before, err := os.Stat(out + "/parts/model.safetensors")
	require.NoError(t, err)
	w.do(t, strings.Replace(longLine, "--quiet", "", 1)+out+"/parts --resume")
	after, err := os.Stat(out + "/parts/model.safetensors")
	require.NoError(t, err)
	assert.Equal(t, before.ModTime(), after.ModTime(), "a finished run is left alone")
}

// What has no state to save says so, and leaves nothing half written.
func TestInterruptOfCommandsThatWriteAtTheEnd(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	for _, line := range []string{
		"generate --model @sft1 --data @data/prompts-train.jsonl --samples 1000 --max-new-tokens 40 --out " + out + "/g.jsonl",
		"score --model @sft1 --data @data/pretrain.jsonl --batch-size 1 --out " + out + "/s.jsonl",
		"soup --sweep 0:1:0.001 --eval-data @data/sft.jsonl --max-new-tokens 20 --out " + out + "/soup @sft1 @sft2",
	} {
		cmd := w.program(line) // not --quiet: the count of rows tells when the work begins
		stderr, err := cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var said bytes.Buffer
		buf := make([]byte, 256)
		for !strings.Contains(said.String(), "rows kept") && err == nil {
			var n int
			n, err = stderr.Read(buf)
			said.Write(buf[:n])
		}
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		_, err = said.ReadFrom(stderr)
		require.NoError(t, err)
		assert.Equal(t, fault.ExitInterrupted, exitCode(t, cmd), said.String())
		assert.True(t, strings.HasSuffix(said.String(), "\nsalsa: interrupted before the end: nothing was written\n"), said.String())
	}
	for _, name := range []string{"g.jsonl", "s.jsonl", "soup/model.safetensors"} {
		assert.NoFileExists(t, filepath.Join(out, name))
	}
}

// Everything that a mistake prints, from all parts of the program, is its one line.
func TestMistakesPrintNothingElse(t *testing.T) {
	for _, line := range []string{
		"sft --model @nope --data @demos.jsonl --out @x --quiet",
		"ppo --model @sft1 --reference @rm --reward-model @rm --data @prompts.jsonl --out @x --quiet",
		"score --model @sft1 --data @prompts.jsonl --out @x.jsonl --quiet",
		"generate --model @sft1 --data @prompts.jsonl --max-new-tokens 640 --out @x.jsonl --quiet",
	} {
		cmd := theWorld().program(line)
		said, err := cmd.CombinedOutput()
		require.Error(t, err)
		assert.Equal(t, fault.ExitInput, cmd.ProcessState.ExitCode())
		assert.Equal(t, 1, bytes.Count(said, []byte("\n")), string(said))
	}
}

const killedRecipe = `name: killed
vars: {world: ""}
stages:
  - name: sft
    kind: sft
    seeds: [1, 2]
    with: {model: "${world}/base", data: "${world}/data/sft.jsonl", max_steps: 5, batch_size: 8, learning_rate: 0.003, quiet: true}
  - name: ppo
    kind: ppo
    with:
      model: "${stage:sft-seed1}"
      reference: "${stage:sft-seed1},${stage:sft-seed2}"
      reward_model: "${world}/rm"
      data: "${world}/prompts.jsonl"
      max_steps: 24
      batch_size: 8
      max_new_tokens: 6
      learning_rate: 0.001
      sample_every: 1
      save_every: 3
      quiet: true
`

// Killed between two checkpoints and at the moment of one, a recipe run again ends as if nothing had happened.
func TestKillAndRunAgain(t *testing.T) {
	w := theWorld()
	path := put(t, "killed.yaml", killedRecipe)
	out := filepath.Dir(path)
	line := "run " + path + " --var world=" + w.dir + " --out " + out
	code, _, errs := salsa(t, newRootCmd(), w.args(line+"/whole")...)
	require.Equal(t, 0, code, errs)

	ppo := out + "/killed/stages/ppo"
	for _, moment := range []func() bool{
		hasLines(ppo+"/metrics.jsonl", 6),
		func() bool { _, err := os.Stat(ppo + "/checkpoints/step-12"); return err == nil },
	} {
		cmd := w.program(line + "/killed")
		require.NoError(t, cmd.Start())
		waitFor(t, "moment to kill", moment)
		require.NoError(t, cmd.Process.Kill())
		require.Equal(t, -1, exitCode(t, cmd))
		require.NoFileExists(t, ppo+"/done.json", "killed too late to show anything")
	}
	code, _, errs = salsa(t, newRootCmd(), w.args(line+"/killed")...)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "1 run, 2 skipped")
	sameReference(t, out)
	for _, name := range []string{"model.safetensors", "value/model.safetensors", "samples.jsonl"} {
		x, err := os.ReadFile(filepath.Join(out, "whole/stages/ppo", name))
		require.NoError(t, err)
		y, err := os.ReadFile(filepath.Join(ppo, name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(x, y), "%s differs", name)
	}
	assert.Equal(t, steps(t, out+"/whole/stages/ppo"), steps(t, ppo))
}

// sameReference compares the members' hashes: their folders differ between two runs of a recipe.
func sameReference(t *testing.T, out string) {
	t.Helper()
	a := readJSON[pinned](t, out+"/whole/stages/ppo/reference.json")
	b := readJSON[pinned](t, out+"/killed/stages/ppo/reference.json")
	require.Len(t, b.Members, 2)
	for i := range a.Members {
		assert.Equal(t, a.Members[i].SHA256, b.Members[i].SHA256)
	}
}

// The embedded demo at its smallest: all stages run once, and a second time none does.
func TestRunDemo(t *testing.T) {
	out := filepath.Join(t.TempDir(), "demo")
	args := []string{"run", "demo", "--out", out, "--set", "*.max_steps=2",
		"--set", "*.quiet=true", "--set", "pairs.pairs=20", "--set", "pairs.held=10", "--set", "pairs.batch_size=256", "--set", "sweep.sweep=0:1:0.5",
		"--set", "sweep.max_rows=8", "--set", "eval.max_prompts=4", "--set", "eval.samples=1"}
	for _, stage := range []string{"pairs", "ppo", "salsa", "sweep", "eval"} { // a soup that measures nothing refuses what it does not read
		args = append(args, "--set", stage+".max_new_tokens=3")
	}
	for _, stage := range []string{"base", "sft", "rm", "ppo", "salsa", "sweep", "eval"} {
		args = append(args, "--set", stage+".batch_size=8")
	}
	code, _, errs := salsa(t, newRootCmd(), args...)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "16 stages, 16 run, 0 skipped")
	for _, name := range []string{"recipe.yaml", "stages/soup/model.safetensors", "stages/salsa-seed3/done.json", "stages/eval/eval.json", "stages/report/report.html"} {
		assert.FileExists(t, filepath.Join(out, name))
	}
	code, _, errs = salsa(t, newRootCmd(), args...)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "16 stages, 0 run, 16 skipped")
	assert.True(t, strings.HasSuffix(errs, "report: "+filepath.Join(out, "stages/report/report.html")+"\n"), errs)

	code, _, errs = salsa(t, newRootCmd(), append(args, "--set", "eval.seed=9")...)
	require.Equal(t, 0, code, errs)
	assert.Contains(t, errs, "16 stages, 2 run, 14 skipped", "what a change touches and what is built on it")
}

// Whoever read standard error may have gone: the run goes on, and what it writes is whole.
func TestNobodyReadsStandardError(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	cmd := w.program(strings.Replace(longLine, "--quiet", "", 1) + out + "/run --log-every 1")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	require.NoError(t, stderr.Close())
	require.Zero(t, exitCode(t, cmd))
	assert.FileExists(t, out+"/run/done.json")
}

// A standard output that nobody reads ends a command as a signal would, without a word.
func TestNobodyReadsStandardOutput(t *testing.T) {
	cmd := theWorld().program("inspect @sft1")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	require.NoError(t, stdout.Close())
	require.NoError(t, cmd.Start())
	require.Equal(t, exitPipe, exitCode(t, cmd))
	assert.Empty(t, errs.String())
}

// still is a stream that takes nothing, as a terminal does after ^S.
type still struct{}

func (still) Write([]byte) (int, error) { select {} }

// An interrupt reaches the work though its message reaches nobody.
func TestInterruptBesideAStreamThatStandsStill(t *testing.T) {
	ctx, stop := interruptible(still{})
	defer stop()
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the message was waited for")
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"salsa/internal/fault"
	"salsa/internal/options"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// trainOptions are those of a command that only these tests have.
type trainOptions struct {
	Model  string `yaml:"model" help:"start model" required:"true" arg:"DIR"`
	Out    string `yaml:"out" help:"output folder" hash:"-"`
	Device string `yaml:"device" help:"where to compute"`
	Shape  string `yaml:"shape" help:"schedule" enum:"constant,linear"`
	Resume bool   `yaml:"resume" help:"go on" hash:"-"`
}

func defaultTrain() trainOptions { return trainOptions{Device: "cpu", Shape: "linear"} }

// treeWith is the real command tree and a command `train` whose action is act.
func treeWith(act func(ctx context.Context, o *trainOptions) error) *cobra.Command {
	root := newRootCmd()
	o := defaultTrain()
	cmd := &cobra.Command{Use: "train", Short: "Test", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return act(cmd.Context(), &o) }}
	options.Bind(cmd.Flags(), &o)
	finish(cmd)
	root.AddCommand(cmd)
	return root
}

// TestMain lets the test binary stand in for salsa: with SALSA_TEST=real it is the program itself, with another value
// one whose command `train` waits, for TestSignals.
func TestMain(m *testing.M) {
	mode := os.Getenv("SALSA_TEST")
	switch mode {
	case "":
		code := m.Run()
		dropWorld()
		os.Exit(code)
	case "real":
		os.Exit(run(newRootCmd(), os.Args[1:], os.Stderr))
	}
	os.Exit(run(treeWith(func(ctx context.Context, _ *trainOptions) error {
		os.Stdout.WriteString("ready\n")
		<-ctx.Done()
		if mode == "stubborn" {
			time.Sleep(time.Minute)
		}
		return ctx.Err()
	}), os.Args[1:], os.Stderr))
}

func salsa(t *testing.T, root *cobra.Command, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	code = run(root, args, &errs)
	return code, out.String(), errs.String()
}

// salsaAloud runs a command line and returns with its errors what the job itself has said on standard error.
func salsaAloud(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	said, err := os.CreateTemp(t.TempDir(), "stderr-*")
	require.NoError(t, err)
	defer said.Close()
	real := os.Stderr
	os.Stderr = said // jobs tell there what they do
	code, stdout, stderr = salsa(t, newRootCmd(), args...)
	os.Stderr = real
	notes, err := os.ReadFile(said.Name())
	require.NoError(t, err)
	return code, stdout, stderr + string(notes)
}

func TestCommandLine(t *testing.T) {
	ok := func(context.Context, *trainOptions) error { return nil }
	for _, c := range []struct {
		args, out, err string
		act            func(context.Context, *trainOptions) error
		code           int
	}{
		{args: "", out: "Pipeline:", code: 0},
		{args: "--version", out: "salsa ", code: 0},
		{args: "help run", out: "--dry-run", code: 0},
		{args: "help train", out: "Flags:\n      --model DIR", code: 0},
		{args: "train --help", out: "Flags:\n      --model DIR", code: 0},
		{args: "help config schema", out: "salsa config schema COMMAND", code: 0},
		{args: "help rnu", err: "salsa: unknown command rnu; did you mean `run`?\n", code: 2},
		{args: "trian", err: "salsa: unknown command trian; did you mean `train`?\n", code: 2},
		{args: "zzzzzz", err: "salsa: unknown command zzzzzz; `salsa --help` lists the commands\n", code: 2},
		{args: "config shema", err: "salsa: unknown command shema; did you mean `schema`?\n", code: 2},
		{args: "--verson", err: "salsa: unknown flag --verson; did you mean `--version`?\n", code: 2},
		{args: "trian --model x", err: "salsa: unknown command trian; did you mean `train`?\n", code: 2},
		{args: "config shema --model x", err: "salsa: unknown command shema; did you mean `schema`?\n", code: 2},
		{args: "run demo --threads 1", err: "salsa: unknown flag --threads; it is an option of stages: give --set STAGE.threads=VALUE, or --set '*.threads=VALUE' for all that have it\n", code: 2},
		{args: "run demo --dry-rnu", err: "salsa: unknown flag --dry-rnu; did you mean `--dry-run`?\n", code: 2},
		{args: "run", err: "salsa: no recipe is given: name a YAML file, or demo; usage: salsa run RECIPE.yaml|demo [flags]\n", code: 2},
		{args: "run nope.yaml", err: "salsa: nope.yaml: no such recipe; give the path of a YAML file, or demo\n", code: 2},
		{args: "train", err: "salsa: --model is required: start model; give the flag, or model: in the --config file\n", code: 2},
		{args: "train --modle x", err: "salsa: unknown flag --modle; did you mean `--model`?\n", code: 2},
		{args: "train --model x --device gpu", err: "salsa: --device gpu: want auto, cpu, cuda or cuda:N\n", code: 2},
		{args: "train --model x --set device=tpu", err: "salsa: --device tpu: want auto, cpu, cuda or cuda:N\n", code: 2},
		{args: "train --model x y", err: "salsa: unexpected argument \"y\": every input has a flag; usage: salsa train [flags]\n", code: 2},
		{args: "train --model x", act: ok, code: 0},
		{args: "train --model x", err: "salsa: disk full\n", code: 1,
			act: func(context.Context, *trainOptions) error { return errors.New("disk full") }},
		{args: "train --model x", err: "salsa: one\nsalsa: two; three\n", code: 1,
			act: func(context.Context, *trainOptions) error {
				return errors.Join(errors.New("one"), errors.New("two\nthree"))
			}},
		{args: "train --model x", err: "salsa: one\nsalsa: two\nsalsa: three\n", code: 2,
			act: func(context.Context, *trainOptions) error {
				return fault.Inputf("%w", errors.Join(errors.New("one"), errors.Join(fault.Inputf("two"), errors.New("three"))))
			}},
		{args: "train --model x", err: "salsa: row 3 is empty\n", code: 2,
			act: func(context.Context, *trainOptions) error { return fault.Inputf("row 3 is empty") }},
		{args: "train --model x", err: "salsa: interrupted\n", code: 130,
			act: func(context.Context, *trainOptions) error { return fault.ErrInterrupted }},
		{args: "train --model x", err: "salsa: internal error, please report it: boom\n", code: 1,
			act: func(context.Context, *trainOptions) error { panic("boom") }},
	} {
		act := c.act
		if act == nil {
			act = func(context.Context, *trainOptions) error { return errors.New("must not run") }
		}
		code, out, errs := salsa(t, treeWith(act), strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, c.args)
		assert.Contains(t, out, c.out, c.args)
		assert.True(t, strings.HasPrefix(errs, c.err), "%s: %s", c.args, errs)
		if c.err == "" {
			assert.Empty(t, errs, c.args)
		}
	}
}

func TestConfigCommands(t *testing.T) {
	root := treeWith(nil)
	code, out, errs := salsa(t, root, "config", "explain", "train", "--shape", "constant")
	assert.Equal(t, 0, code, errs)
	assert.Contains(t, out, "# schedule; one of constant, linear (from: --shape)\nshape: constant\n")
	code, out, _ = salsa(t, treeWith(nil), "config", "schema", "train")
	assert.Equal(t, 0, code)
	assert.Contains(t, out, `"title": "salsa train"`)
	code, _, errs = salsa(t, treeWith(nil), "config", "schema", "run")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "salsa run has no settings")
	code, _, errs = salsa(t, treeWith(nil), "config", "explain", "train", "--shap=x")
	assert.Equal(t, 2, code)
	assert.Contains(t, errs, "unknown flag --shap; did you mean `--shape`?")
}

func TestCompletion(t *testing.T) {
	_, out, _ := salsa(t, treeWith(nil), "__complete", "train", "--shape", "")
	assert.Contains(t, out, "constant\nlinear\n")
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, out, _ := salsa(t, newRootCmd(), "completion", shell)
		assert.Equal(t, 0, code)
		assert.Contains(t, out, "salsa")
	}
}

const testRecipe = `name: r
stages:
  - {name: a, kind: train, with: {model: m}}
  - {name: b, kind: train, with: {model: "${stage:a}"}}
`

func TestRunRecipe(t *testing.T) {
	dir := t.TempDir()
	path, out := filepath.Join(dir, "r.yaml"), filepath.Join(dir, "out")
	require.NoError(t, os.WriteFile(path, []byte(testRecipe), 0o644))
	var seen []string
	fail := true
	kinds := map[string]stageKind{"train": kindOf("1", defaultTrain, func(_ context.Context, o *trainOptions) error {
		seen = append(seen, filepath.Base(o.Out))
		if o.Resume {
			seen = append(seen, "resumed")
		}
		if err := os.MkdirAll(o.Out, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(o.Out, "run.yaml"), nil, 0o644); err != nil {
			return err
		}
		if fail && filepath.Base(o.Out) == "b" {
			return errors.New("no memory")
		}
		return nil
	})}
	var console bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetContext(context.Background())
	cmd.SetOut(&console)
	cmd.SetErr(&console)

	require.NoError(t, runRecipe(cmd, path, runFlags{out: out, dryRun: true}, kinds))
	assert.Empty(t, seen)
	assert.Contains(t, console.String(), "[2/2] b  train    would run, after a")
	assert.EqualError(t, runRecipe(cmd, path, runFlags{out: out}, kinds), "stage b: no memory")
	fail = false
	require.NoError(t, runRecipe(cmd, path, runFlags{out: out}, kinds))
	assert.Equal(t, []string{"a", "b", "b", "resumed"}, seen)
}

func TestSignals(t *testing.T) {
	for _, c := range []struct {
		mode    string
		signals []syscall.Signal
	}{
		{"polite", []syscall.Signal{syscall.SIGINT}},
		{"polite", []syscall.Signal{syscall.SIGTERM}},
		{"stubborn", []syscall.Signal{syscall.SIGINT, syscall.SIGINT}},
	} {
		cmd := exec.Command(os.Args[0], "train", "--model=x")
		cmd.Env = append(os.Environ(), "SALSA_TEST="+c.mode)
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		stderr, err := cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = bufio.NewReader(stdout).ReadString('\n')
		require.NoError(t, err)
		started := time.Now()
		errs := bufio.NewReader(stderr)
		for i, s := range c.signals {
			require.NoError(t, cmd.Process.Signal(s))
			if i == 0 { // the second must not overtake the first: two pending signals of one kind are one
				first, err := errs.ReadString('\n')
				require.NoError(t, err)
				assert.Equal(t, "salsa: stopping; interrupt again to stop without saving\n", first)
			}
		}
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Wait(), &exit)
		assert.Equal(t, fault.ExitInterrupted, exit.ExitCode(), c)
		assert.Less(t, time.Since(started), 30*time.Second)
	}
}

// TestTreeIsKept holds the rules of this folder: short files, every command described and grouped.
func TestTreeIsKept(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		limit := map[string]int{"main.go": 80}[name]
		if limit == 0 {
			limit = 120
		}
		if !strings.HasSuffix(name, "_test.go") {
			assert.LessOrEqual(t, bytes.Count(data, []byte("\n")), limit, name)
		}
	}
	for _, cmd := range newRootCmd().Commands() {
		assert.NotEmpty(t, cmd.Short, cmd.Name())
		if cmd.Name() != "help" && cmd.Name() != "completion" {
			assert.NotEmpty(t, cmd.GroupID, cmd.Name())
		}
	}
}

package recipe

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/runlock"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bench is one recipe in a folder of its own, with an Exec that records what ran.
type bench struct {
	t       *testing.T
	dir     string
	ran     []string
	resumed []string
	console bytes.Buffer
	version string
	exec    func(ctx context.Context, s *Stage, dir string) error
}

const chain = `name: chain
vars: {steps: 1}
stages:
  - {name: a, kind: sft, with: {model: "${recipe_dir}/model", data: "${recipe_dir}/rows.jsonl"}}
  - {name: b, kind: sft, with: {model: "${stage:a}", max_steps: "${steps}"}}
  - {name: c, kind: soup, with: {models: ["${stage:a}", "${stage:b}"]}}
`

func newBench(t *testing.T) *bench {
	b := &bench{t: t, dir: t.TempDir(), version: "1"}
	b.put("model/weights", "w")
	b.put("rows.jsonl", "{}")
	return b
}

func (b *bench) put(name, text string) {
	path := filepath.Join(b.dir, name)
	require.NoError(b.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(b.t, os.WriteFile(path, []byte(text), 0o644))
}

func (b *bench) out() string { return filepath.Join(b.dir, "out") }

func (b *bench) runner(vars ...string) *Runner {
	b.t.Helper()
	plan, err := Load(filepath.Join(b.dir, "chain.yaml"), []byte(chain), Params{Out: b.out(), Vars: vars, Kinds: testKinds})
	require.NoError(b.t, err)
	b.ran, b.resumed = nil, nil
	b.console.Reset()
	return &Runner{Plan: plan, Console: &b.console, Version: func(string) string { return b.version },
		Exec: func(ctx context.Context, s *Stage, dir string) error {
			b.ran = append(b.ran, s.Name)
			if s.Resume {
				b.resumed = append(b.resumed, s.Name)
			}
			if b.exec != nil {
				return b.exec(ctx, s, dir)
			}
			return b.work(s, dir)
		}}
}

// work is what a trainer leaves: a run folder with run.yaml.
func (b *bench) work(s *Stage, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, checkpoint.RunFile), []byte(s.Name), 0o644)
}

func (b *bench) run(vars ...string) error { return b.runner(vars...).Run(context.Background()) }

func TestRunSkipsWhatIsDone(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.run())
	assert.Equal(t, []string{"a", "b", "c"}, b.ran)
	assert.Regexp(t, `\[1/3\] a  running\n\[1/3\] a  done in 0\.\d s\n`, b.console.String())
	saved, err := os.ReadFile(filepath.Join(b.out(), "recipe.yaml"))
	require.NoError(t, err)
	assert.Equal(t, chain, string(saved))

	require.NoError(t, b.run())
	assert.Empty(t, b.ran)
	assert.Contains(t, b.console.String(), "3 stages, 0 run, 3 skipped")
	state, err := ReadState(b.out())
	require.NoError(t, err)
	assert.Equal(t, "chain", state.Recipe)
	for _, rec := range state.Stages {
		assert.Equal(t, Done, rec.Status)
		assert.Len(t, rec.Key, 64)
	}
}

func TestWhatMakesAStageRunAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *bench)
		vars   []string
		want   []string
	}{
		{"nothing", func(*bench) {}, nil, nil},
		{"an option", func(*bench) {}, []string{"steps=2"}, []string{"b", "c"}},
		{"input content", func(b *bench) { b.put("rows.jsonl", "{ }") }, nil, []string{"a", "b", "c"}},
		{"a file in an input folder", func(b *bench) { b.put("model/more", "x") }, nil, []string{"a", "b", "c"}},
		{"program version", func(b *bench) { b.version = "2" }, nil, []string{"a", "b", "c"}},
		{"a folder lost", func(b *bench) { require.NoError(b.t, os.RemoveAll(filepath.Join(b.out(), "stages", "b"))) }, nil, []string{"b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			require.NoError(t, b.run())
			c.change(b)
			require.NoError(t, b.run(c.vars...))
			assert.Equal(t, c.want, b.ran)
		})
	}
}

func TestMovedFoldersKeepTheirKeys(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.run())
	moved := filepath.Join(t.TempDir(), "elsewhere")
	require.NoError(t, os.Rename(b.dir, moved))
	b.dir = moved
	require.NoError(t, b.run())
	assert.Empty(t, b.ran)
}

func TestEarlierResultsAreMovedAsideAndFoundAgain(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.run())
	require.NoError(t, b.run("steps=2"))
	stale, err := filepath.Glob(filepath.Join(b.out(), "stale", "b-*", checkpoint.RunFile))
	require.NoError(t, err)
	assert.Len(t, stale, 1)
	assert.Contains(t, b.console.String(), "earlier result (other settings, inputs or version) moved to")
}

func TestFailureStopsAndNextRunResumes(t *testing.T) {
	b := newBench(t)
	b.exec = func(_ context.Context, s *Stage, dir string) error {
		if s.Name == "b" {
			return errors.Join(b.work(s, dir), errors.New("loss is not finite"))
		}
		return b.work(s, dir)
	}
	err := b.run()
	assert.EqualError(t, err, "stage b: loss is not finite")
	assert.Equal(t, fault.ExitFailed, fault.ExitCode(err))
	assert.Equal(t, []string{"a", "b"}, b.ran)
	state, err := ReadState(b.out())
	require.NoError(t, err)
	assert.Equal(t, []Status{Done, Failed, Waiting}, []Status{state.Stages[0].Status, state.Stages[1].Status, state.Stages[2].Status})
	assert.Equal(t, "loss is not finite", state.Stages[1].Error)

	b.exec = nil
	require.NoError(t, b.run())
	assert.Equal(t, []string{"b", "c"}, b.ran)
	assert.Equal(t, []string{"b"}, b.resumed)
}

func TestUnfinishedRunOfOtherSettingsIsNotResumed(t *testing.T) {
	b := newBench(t)
	b.exec = func(_ context.Context, s *Stage, dir string) error {
		return errors.Join(b.work(s, dir), errors.New("stop"))
	}
	require.Error(t, b.run())
	b.exec = nil
	b.put("rows.jsonl", "other")
	require.NoError(t, b.run())
	assert.Equal(t, []string{"a", "b", "c"}, b.ran)
	assert.Empty(t, b.resumed)
}

func TestStartThatLeftNoRunIsCleared(t *testing.T) {
	b := newBench(t)
	b.exec = func(_ context.Context, s *Stage, dir string) error {
		b.put("out/stages/a/half", "x")
		return errors.New("killed")
	}
	require.Error(t, b.run())
	b.exec = nil
	require.NoError(t, b.run())
	assert.Empty(t, b.resumed)
	assert.NoFileExists(t, filepath.Join(b.out(), "stages", "a", "half"))
}

func TestInterruptSavesStateAndExits130(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(context.Background())
	b.exec = func(ctx context.Context, s *Stage, dir string) error {
		cancel()
		return errors.Join(b.work(s, dir), ctx.Err())
	}
	err := b.runner().Run(ctx)
	assert.Equal(t, fault.ExitInterrupted, fault.ExitCode(err))
	assert.ErrorContains(t, err, "stage a: interrupted; the same command goes on from there")
	state, err := ReadState(b.out())
	require.NoError(t, err)
	assert.Equal(t, Interrupted, state.Stages[0].Status)

	// A stage that ends in spite of the signal counts; the next one does not start.
	ctx, cancel = context.WithCancel(context.Background())
	b.exec = nil
	r := b.runner()
	b.exec = func(_ context.Context, s *Stage, dir string) error { cancel(); return b.work(s, dir) }
	err = r.Run(ctx)
	assert.Equal(t, fault.ExitInterrupted, fault.ExitCode(err))
	assert.Equal(t, []string{"a"}, b.ran)
	assert.Equal(t, []string{"a"}, b.resumed)
}

func TestExecWithoutResultIsAFailure(t *testing.T) {
	b := newBench(t)
	b.exec = func(context.Context, *Stage, string) error { return nil }
	assert.ErrorContains(t, b.run(), "stage a: it reported success but made no folder")
}

func TestPreflight(t *testing.T) {
	b := newBench(t)
	require.NoError(t, os.Remove(filepath.Join(b.dir, "rows.jsonl")))
	requireInput(t, b.run(), "stage a reads "+filepath.Join(b.dir, "rows.jsonl")+": no such file")
	assert.NoDirExists(t, b.out(), "nothing is written before every check has passed")

	b = newBench(t)
	r := b.runner()
	r.Check = func(s *Stage) error {
		if s.Name == "c" {
			return errors.New("weights do not match")
		}
		return nil
	}
	requireInput(t, r.Run(context.Background()), "chain.yaml:6: stage c: weights do not match")
	assert.Empty(t, b.ran)
}

func TestPreviewChangesNothing(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.runner().Preview())
	assert.NoDirExists(t, b.out())
	assert.Contains(t, b.console.String(), "steps = 1")
	assert.Contains(t, b.console.String(), "[3/3] c  soup     would run, after a, b")

	require.NoError(t, b.run())
	require.NoError(t, b.runner("steps=2").Preview())
	assert.Contains(t, b.console.String(), "[1/3] a  sft      done, would be skipped")
	assert.Contains(t, b.console.String(), "[2/3] b  sft      would run, after a")
}

func TestRunFolderIsGuarded(t *testing.T) {
	b := newBench(t)
	b.put("out/thesis.txt", "precious")
	requireInput(t, b.run(), "holds thesis.txt but no state.json, so it is not a run folder")

	b = newBench(t)
	b.put("out/state.json", `{"recipe": "other"}`)
	requireInput(t, b.run(), "holds a run of the recipe other, not chain; choose another folder")

	b = newBench(t)
	b.put("out/state.json", `{"recipe`)
	requireInput(t, b.run(), "state.json: not a state file")

	b = newBench(t)
	require.NoError(t, os.MkdirAll(b.out(), 0o755))
	lock, err := runlock.Acquire(b.out())
	require.NoError(t, err)
	defer lock.Release()
	err = b.run()
	require.Error(t, err)
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	assert.Empty(t, b.ran)
}

func TestFolderNobodyRecordedIsKept(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.run())
	b.put("out/state.json", `{"recipe": "chain"}`)
	require.NoError(t, b.run())
	assert.FileExists(t, filepath.Join(b.out(), "stale", "a-unknown", checkpoint.RunFile))
}

func TestInside(t *testing.T) {
	assert.True(t, inside("out", "out/stages/a"))
	assert.True(t, inside("out", "./out"))
	assert.False(t, inside("out", "outer/x"))
	assert.False(t, inside("out", "data/..x"))
	assert.True(t, inside("out", "out/..x"))
}

func TestSeconds(t *testing.T) {
	assert.Equal(t, "0.8 s 12.3 s 3m20s", strings.Join([]string{seconds(.8), seconds(12.34), seconds(200.4)}, " "))
}

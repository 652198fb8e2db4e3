package trainers

import (
	"context"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/behind"
	"salsa/tensor"
)

// A run that cannot learn leaves the batch of every skipped step, and the last message names the last of them.
func TestSkippedStepIsKept(t *testing.T) {
	for _, name := range []string{"sft", "reward", "dpo"} {
		make := weighted[name]
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				dir := t.TempDir()
				tr, opts := make(t, dir)
				opts.MaxSkipped, opts.Seed = 1, 9
				spoil(t, tr)
				_, err := (&Loop{Options: opts, Out: dir, Quiet: true}).Run(context.Background(), tr)
				files, globErr := filepath.Glob(filepath.Join(dir, SkippedDir, "*.json"))
				require.NoError(t, globErr)
				require.ErrorContains(t, err, "look for a row that overflows in "+filepath.Join(dir, SkippedDir, "step-2-update-2.json"))
				require.Len(t, files, 2)
				var s skippedStep
				readJSON(t, files[0], &s)
				assert.Equal(t, []any{1, 1, uint64(9), "NaN"}, []any{s.Step, s.Update, s.Seed, s.Loss})
				rows := opts.BatchSize
				if name != "sft" {
					rows *= 2
				}
				require.Len(t, s.Rows, rows)
				for _, row := range s.Rows {
					assert.Regexp(t, `^[ab]\.jsonl:\d+$`, row.At)
					assert.NotEmpty(t, row.IDs)
					assert.NotEmpty(t, row.Targets)
					assert.Less(t, row.Targets[len(row.Targets)-1], len(row.IDs))
				}
			})
		})
	}
}

// spoil makes one weight of a trainer's network NaN.
func spoil(t *testing.T, tr Trainer) {
	t.Helper()
	params := tr.Params()
	p := params[len(params)-1]
	require.NoError(t, tensor.NoGrad(func() error {
		p.Tensor.Copy(p.Tensor.MulScalar(math.NaN()))
		return nil
	}))
}

// Of an online method the skipped step is of its samples: prompts with the answers that were drawn.
func TestSkippedSamplesAreKept(t *testing.T) {
	run(t, func() {
		o := tinyPPO()
		p := newPPO(t, tinyCast(t), o, nil)
		u := NewUpdate(p.Params(), &o.Common)
		defer u.Close()
		samples, err := p.experience(context.Background(), newStopwatch())
		require.NoError(t, err)
		p.step++
		samples[0].Advantages[0] = math.NaN()
		l := &Loop{Options: &o.Common, Out: t.TempDir(), Quiet: true, logs: &logs{lines: behind.New("test", 1)}}
		u.keep = l.keepSkipped
		_, err = p.Update(u, samples, true)
		require.NoError(t, err)
		require.NoError(t, l.logs.lines.Close())
		var s skippedStep
		readJSON(t, filepath.Join(l.Out, SkippedDir, "step-1-update-1.json"), &s)
		require.Len(t, s.Rows, len(samples))
		tokens := 0
		for _, row := range s.Rows {
			tokens += len(row.Targets)
		}
		want := 0
		for _, x := range samples {
			want += len(x.Completion)
		}
		assert.Equal(t, want, tokens)
	})
}

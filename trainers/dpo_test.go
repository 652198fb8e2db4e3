package trainers

// DPO against PyTorch's three steps, and runs that stop and go on; dpo_reference_test.go has the reference's numbers.

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/internal/metrics"
)

// goldenDPO is trainers/testdata/dpo/golden.json.
type goldenDPO struct {
	Beta      float64
	Optimizer goldenOptimizer
	Pairs     []struct {
		Chosen, Rejected []int
		PromptLen        int `json:"prompt_len"`
	}
	Order [][][]int
	Steps []struct {
		Loss     float64
		GradNorm float64 `json:"grad_norm"`
		Micro    []struct {
			PolicyChosen      []float64 `json:"policy_chosen"`
			PolicyRejected    []float64 `json:"policy_rejected"`
			ReferenceChosen   []float64 `json:"reference_chosen"`
			ReferenceRejected []float64 `json:"reference_rejected"`
			Margins           []float64
		}
	}
}

func readDPO(t *testing.T) (goldenDPO, []data.Pair) {
	t.Helper()
	var g goldenDPO
	readJSON(t, "testdata/dpo/golden.json", &g)
	pairs := make([]data.Pair, len(g.Pairs))
	for i, p := range g.Pairs {
		pairs[i] = data.Pair{Chosen: exampleOf(p.Chosen, p.PromptLen), Rejected: exampleOf(p.Rejected, p.PromptLen)}
	}
	return g, pairs
}

// sftFolder is a model folder with the weights that the golden SFT run ended with.
func sftFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for from, to := range map[string]string{llamaDir + "/config.json": "config.json", "testdata/sft/final.safetensors": "model.safetensors"} {
		raw, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, to), raw, 0o644))
	}
	return dir
}

// tinyDPO are quick settings.
func tinyDPO() DPOOptions {
	o := DefaultDPO()
	o.LearningRate, o.BatchSize, o.Epochs = 1e-3, 2, 2
	return o
}

func newDPO(t *testing.T, ref *Reference, pairs, eval []data.Pair, o DPOOptions) *DPO {
	t.Helper()
	d, err := NewDPO(loadModel(t, llamaDir, trained), ref, pairs, eval, o, saveModel)
	require.NoError(t, err)
	require.NoError(t, d.Prepare(context.Background()))
	return d
}

func TestGoldenDPO(t *testing.T) {
	for _, micro := range []int{0, 1, 3} {
		run(t, func() { goldenDPORun(t, micro) })
	}
}

func goldenDPORun(t *testing.T, micro int) {
	g, pairs := readDPO(t)
	o := DefaultDPO()
	o.Common, o.Beta = g.Optimizer.common(), g.Beta
	o.MicroBatchSize = micro
	ref, _ := counted(sftFolder(t), "")
	d := newDPO(t, ref, pairs, nil, o)
	start := weights(d.model)
	u := NewUpdate(d.Params(), &o.Common)
	defer u.Close()
	for i, want := range g.Steps {
		var batch []preference
		var margins, chosen, rejected []float64
		for j, part := range g.Order[i] {
			batch = append(batch, pick(d.pairs, part)...)
			m := want.Micro[j]
			margins, chosen, rejected = append(margins, m.Margins...), append(chosen, m.PolicyChosen...), append(rejected, m.PolicyRejected...)
			for k, at := range part {
				assert.InDelta(t, m.ReferenceChosen[k], d.pairs[at].ref.Chosen, 1e-4)
				assert.InDelta(t, m.ReferenceRejected[k], d.pairs[at].ref.Rejected, 1e-4)
			}
		}
		got, err := d.Update(u, batch)
		require.NoError(t, err)
		assert.InDelta(t, want.Loss, got["loss"], 1e-5, "loss of step %d", i)
		assert.InDelta(t, want.GradNorm, got["grad_norm"], 1e-4, "norm of step %d", i)
		assert.InDelta(t, mean(margins), got["rewards/margins"], 1e-5)
		assert.InDelta(t, mean(chosen), got["logps/chosen"], 1e-4)
		assert.InDelta(t, mean(rejected), got["logps/rejected"], 1e-4)
		right := 0.0
		for _, m := range margins {
			if m > 0 {
				right++
			}
		}
		assert.Equal(t, right/float64(len(margins)), got["rewards/accuracies"])
		assert.InDelta(t, got["rewards/chosen"]-got["rewards/rejected"], got["rewards/margins"], 1e-6)
	}
	requireUpdate(t, start, readWeights(t, "testdata/dpo/final.safetensors"), weights(d.model))
}

// Before the first step the policy is the reference: h = 0, loss log 2, and nobody is right.
func TestDPOStartsAtLogTwo(t *testing.T) {
	_, pairs := readDPO(t)
	run(t, func() {
		for _, loss := range []string{"sigmoid", "cdpo", "js", "forward_kl"} {
			o := tinyDPO()
			o.Loss, o.BatchSize, o.LabelSmoothing = loss, len(pairs), .1
			ref, _ := counted(llamaDir, "")
			d := newDPO(t, ref, pairs, nil, o)
			u := NewUpdate(d.Params(), &o.Common)
			defer u.Close()
			got, err := d.Update(u, d.pairs)
			require.NoError(t, err)
			assert.InDelta(t, math.Ln2, got["loss"], 1e-6, loss)
			assert.InDelta(t, 0, got["rewards/margins"], 1e-6, loss)
		}
	})
}

// Every loss learns: from the start policy it falls within ten steps, and the same seed gives the same bytes.
func TestDPOTenSteps(t *testing.T) {
	_, pairs := readDPO(t)
	for _, loss := range PairLossNames() {
		t.Run(loss, func(t *testing.T) {
			run(t, func() {
				first := tenSteps(t, loss, pairs)
				assert.Less(t, first[9], first[0])
				if loss == "sigmoid" || loss == "simpo" {
					assert.Equal(t, first, tenSteps(t, loss, pairs), "a second run")
				}
			})
		})
	}
}

// tenSteps returns the losses of ten steps on all pairs.
func tenSteps(t *testing.T, loss string, pairs []data.Pair) []float64 {
	o := tinyDPO()
	o.Loss, o.BatchSize, o.MaxSteps, o.MicroBatchSize = loss, len(pairs), 10, 4
	o.LabelSmoothing, o.LRSchedule, o.WarmupRatio = .1, "constant", 0
	var ref *Reference
	if o.NeedsReference() {
		ref, _ = counted(llamaDir, "")
	}
	d := newDPO(t, ref, pairs, nil, o)
	u := NewUpdate(d.Params(), &o.Common)
	defer u.Close()
	var losses []float64
	for range d.Steps() {
		res, err := d.Step(context.Background(), u)
		require.NoError(t, err)
		losses = append(losses, res.Scalars["loss"])
	}
	return losses
}

// Micro-batches change nothing, token means included.
func TestDPOMicroBatches(t *testing.T) {
	_, pairs := readDPO(t)
	for _, loss := range []string{"sigmoid", "rpo_mean", "cpo", "simpo"} {
		run(t, func() {
			var all []map[string]float64
			for _, micro := range []int{0, 1, 4} {
				o := tinyDPO()
				o.Loss, o.MicroBatchSize = loss, micro
				ref, _ := counted(llamaDir, "")
				d := newDPO(t, ref, pairs, nil, o)
				u := NewUpdate(d.Params(), &o.Common)
				defer u.Close()
				got, err := d.Update(u, d.pairs)
				require.NoError(t, err)
				all = append(all, got)
			}
			for _, got := range all[1:] {
				for k, v := range all[0] {
					assert.InDelta(t, v, got[k], 1e-5, "%s: %s", loss, k)
				}
			}
		})
	}
}

func TestDPORefusesPairs(t *testing.T) {
	_, pairs := readDPO(t)
	row := &data.Row{File: "pairs.jsonl", Line: 7}
	same := data.Pair{Chosen: pairs[0].Chosen, Rejected: pairs[0].Chosen}
	same.Chosen.Row = row
	silent := pairs[0]
	silent.Rejected = exampleOf(silent.Rejected.IDs, len(silent.Rejected.IDs))
	o := DefaultDPO()
	bad := DefaultDPO()
	bad.Beta = 0
	ref := &Reference{}
	for _, c := range []struct {
		ref         *Reference
		pairs, eval []data.Pair
		opts        DPOOptions
		want        string
	}{
		{ref, nil, nil, o, "no preference pairs are left"},
		{ref, pairs, []data.Pair{same}, o, "pairs.jsonl:7: the chosen and the rejected completion are the same tokens"},
		{ref, []data.Pair{pairs[0], silent}, nil, o, "pair 2: the rejected completion has no target token"},
		{nil, pairs, nil, o, "--loss sigmoid compares the policy with a reference; give --reference DIR"},
		{ref, pairs, nil, bad, "beta 0"},
	} {
		_, err := NewDPO(nil, c.ref, c.pairs, c.eval, c.opts, nil)
		require.ErrorContains(t, err, c.want)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
}

// The held-out metrics are those of an update on the same pairs.
func TestDPOFinish(t *testing.T) {
	_, pairs := readDPO(t)
	for _, loss := range []string{"sigmoid", "cpo", "ipo_mean"} {
		run(t, func() {
			o := tinyDPO()
			o.Loss, o.MicroBatchSize = loss, 4
			ref, _ := counted(sftFolder(t), "")
			d := newDPO(t, ref, pairs, pairs, o)
			got, err := d.Finish(context.Background())
			require.NoError(t, err)
			u := NewUpdate(d.Params(), &o.Common)
			defer u.Close()
			want, err := d.Update(u, d.pairs)
			require.NoError(t, err)
			for k, v := range got {
				assert.InDelta(t, want[strings.TrimPrefix(k, "eval_")], v, 1e-5, k)
			}
			assert.Len(t, got, 10)
			gone, cancel := context.WithCancel(context.Background())
			cancel()
			_, err = d.Finish(gone)
			require.ErrorIs(t, err, context.Canceled)
			d.eval = nil
			got, err = d.Finish(context.Background())
			require.NoError(t, err)
			assert.Empty(t, got)
		})
	}
}

func dpoJob(t *testing.T, dir string) (Trainer, *Common) {
	_, pairs := readDPO(t)
	o := tinyDPO()
	o.SaveEvery, o.EvalEvery, o.MicroBatchSize = 2, 2, 1
	o.Epochs = 3 // 4 pairs, 2 a step: 6 steps
	ref, _ := counted(llamaDir, filepath.Join(dir, "cache"))
	d := newDPO(t, ref, pairs[:4], pairs[4:], o)
	return d, &d.opts.Common
}

// However often a run is interrupted, it leaves the files of one that ran straight on.
func TestDPOResumes(t *testing.T) {
	run(t, func() {
		want, scalars := straight(t, dpoJob)
		require.Contains(t, scalars, "eval_rewards/accuracies")
		dir := t.TempDir()
		for _, step := range []int{3, 1} {
			ctx, cancel := context.WithCancel(context.Background())
			_, err := runLoop(ctx, t, dpoJob, dir, interruptAt(step, false, cancel))
			cancel()
			require.ErrorIs(t, err, fault.ErrInterrupted)
		}
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "cache")), "the cache may be lost")
		got, err := runLoop(context.Background(), t, dpoJob, dir, nil)
		require.NoError(t, err)
		requireSame(t, want, results(t, dir))
		assert.Equal(t, scalars, metrics.Reproducible(got))
	})
}

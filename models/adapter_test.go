package models_test

// Adapters against PEFT: the folders of testdata/adapters were written by it (see scripts/golden/adapters.py).

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

var trainCPU = models.Options{DType: tensor.Float32, Device: tensor.CPU, Train: true}

func TestAdaptersEqualPEFT(t *testing.T) {
	files, err := filepath.Glob("testdata/adapters/*/golden.json")
	require.NoError(t, err)
	require.Len(t, files, 5)
	for _, file := range files {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			run(t, func() {
				g := readGolden(t, file)
				base, err := models.BaseOf(dir)
				require.NoError(t, err)
				if g.Scores != nil {
					scorersEqualPEFT(t, dir, base, g)
					return
				}
				merged, live := load(t, dir, float32CPU), load(t, base, trainCPU)
				require.NoError(t, models.LoadAdapter(dir, base, live))
				for i, row := range g.Rows {
					near(t, g.LogProbs[i], ofRow(merged, row))
					near(t, g.LogProbs[i], ofRow(live, row))
				}
			})
		})
	}
}

func scorersEqualPEFT(t *testing.T, dir, base string, g golden) {
	t.Helper()
	merged, err := models.LoadScorer(dir, float32CPU)
	require.NoError(t, err)
	live, err := models.NewScorer(base, 3, trainCPU)
	require.NoError(t, err)
	require.NoError(t, models.LoadAdapter(dir, base, live))
	near(t, g.Scores, merged.Rewards(models.Collate(g.Rows)).Float64s())
	near(t, g.Scores, live.Rewards(models.Collate(g.Rows)).Float64s())
	_, err = models.Load(dir, float32CPU)
	requireInput(t, err, dir, "language model is wanted")
}

// ofRow returns the token log-probabilities of one row.
func ofRow(m models.Model, row []int) []float64 { return logProbs(m, [][]int{row})[0] }

func near(t *testing.T, want, got []float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		assert.InDelta(t, want[i], got[i], 1e-4, "%d", i)
	}
}

// stir gives the adapters values other than those that they begin with.
func stir(t *testing.T, m models.Model, seed uint64) {
	t.Helper()
	require.NoError(t, tensor.NoGrad(func() error {
		for _, p := range models.Trainable(m) {
			seed++
			p.Tensor.Copy(tensor.Randn(seed, p.Shape...).MulScalar(0.1))
		}
		return nil
	}))
}

// adapted is a model with stirred adapters.
func adapted(t *testing.T, dir string, c models.AdapterConfig) models.Model {
	t.Helper()
	m := load(t, dir, trainCPU)
	c.Base = dir
	require.NoError(t, models.Adapt(m, c))
	stir(t, m, 9)
	return m
}

func TestAdaptChangesNothingAtFirst(t *testing.T) {
	run(t, func() {
		m, plain := load(t, "testdata/llama-gqa", trainCPU), load(t, "testdata/llama-gqa", float32CPU)
		require.NoError(t, models.Adapt(m, models.AdapterConfig{Rank: 4, Alpha: 8}))
		ids := []int{1, 5, 9, 3}
		assert.Equal(t, ofRow(plain, ids), ofRow(m, ids))
		for p := range nn.Params(m) {
			assert.False(t, p.Tensor.RequiresGrad(), p.Name)
		}
		for _, p := range models.Trainable(m) {
			assert.True(t, p.Tensor.RequiresGrad(), p.Name)
		}
		assert.Equal(t, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", models.Trainable(m)[0].Name)
		for p := range nn.Adapters(m) {
			if p.Init != nn.Zeros {
				x := p.Tensor.Float64s()
				bound := slices.Max(x)
				want := 1 / math.Sqrt(float64(p.Shape[1]))
				assert.True(t, bound <= want && bound > 0.9*want && slices.Min(x) >= -want, "%s: Kaiming-uniform with a = √5", p.Name)
			}
		}
	})
}

// TestGradientsOfAdapters: only the adapters, and a scorer's head, get gradients.
func TestGradientsOfAdapters(t *testing.T) {
	run(t, func() {
		for _, checkpointed := range []bool{false, true} {
			opt := trainCPU
			opt.Checkpoint = checkpointed
			s, err := models.NewScorer("testdata/llama-gqa", 5, opt)
			require.NoError(t, err)
			require.NoError(t, models.Adapt(s, models.AdapterConfig{Rank: 2, Alpha: 2}))
			stir(t, s, 1)
			tensor.Backward(s.Rewards(models.Collate([][]int{{1, 4, 7}, {1, 8}})).Square().Sum())
			for _, p := range models.Trainable(s) {
				require.True(t, p.Tensor.Grad().Defined(), p.Name)
				assert.Positive(t, p.Tensor.Grad().Abs().Max().Item(), p.Name)
			}
			for p := range nn.Params(s) {
				assert.Equal(t, p.Name == "score.weight", p.Tensor.Grad().Defined(), p.Name)
			}
		}
	})
}

// TestDropoutIsRecomputed: a layer that is computed again for its gradient sees the noise that it saw before.
func TestDropoutIsRecomputed(t *testing.T) {
	run(t, func() {
		var grads [2][]float64
		for i, checkpointed := range []bool{false, true} {
			opt := trainCPU
			opt.Checkpoint = checkpointed
			m := load(t, "testdata/llama-gqa", opt)
			require.NoError(t, models.Adapt(m, models.AdapterConfig{Rank: 2, Alpha: 2, Dropout: 0.5}))
			stir(t, m, 1)
			first := models.Trainable(m)[0]
			first.Dropout.Begin(3, 1)
			rows := [][]int{{1, 4, 7, 9, 11}}
			tensor.Backward(models.LogProbs(m, models.Collate(rows), models.TargetsOf(rows, nil), 1).LogP.Sum())
			first.Dropout.End()
			grads[i] = first.Tensor.Grad().Float64s()
		}
		near(t, grads[0], grads[1])
		assert.NotZero(t, grads[0][0])
	})
}

func TestMergeAndUnmerge(t *testing.T) {
	run(t, func() {
		m := adapted(t, "testdata/llama-gqa", models.AdapterConfig{Rank: 4, Alpha: 8})
		ids := []int{1, 5, 9, 3, 17}
		before, stored := ofRow(m, ids), models.WeightsOf(load(t, "testdata/llama-gqa", float32CPU))
		for range 2 {
			require.NoError(t, nn.Merge(m))
			require.NoError(t, nn.Merge(m), "a second merge does nothing")
			near(t, before, ofRow(m, ids))
			for p := range nn.Params(m) {
				if strings.HasSuffix(p.Name, "_proj.weight") {
					was, err := stored.Read(p.Name)
					require.NoError(t, err)
					require.False(t, was.Equal(*p.Tensor), p.Name)
				}
			}
			nn.Unmerge(m)
			assert.Equal(t, before, ofRow(m, ids))
			for p := range nn.Params(m) {
				was, err := stored.Read(p.Name)
				require.NoError(t, err)
				require.True(t, was.Equal(*p.Tensor), p.Name)
			}
		}
	})
}

// TestAdapterFolders: a saved adapter is the same model, in place, as a PEFT folder and folded into a whole one.
func TestAdapterFolders(t *testing.T) {
	run(t, func() {
		dir, whole := t.TempDir(), t.TempDir()
		m := adapted(t, "testdata/llama-tied", models.AdapterConfig{Rank: 3, Alpha: 5, RSLoRA: true, Dropout: 0.1, Targets: []string{"q_proj", "mlp.down_proj"}})
		ids := []int{1, 5, 9, 3, 17}
		want := ofRow(m, ids)
		require.NoError(t, models.SaveAdapter(dir, m))
		require.NoError(t, models.Save(whole, m, models.SaveOptions{}))
		near(t, want, ofRow(load(t, dir, float32CPU), ids))
		near(t, want, ofRow(load(t, whole, float32CPU), ids))
		sameWeights(t, load(t, dir, float32CPU), load(t, whole, float32CPU))

		again := load(t, "testdata/llama-tied", trainCPU)
		require.NoError(t, models.LoadAdapter(dir, "testdata/llama-tied", again))
		assert.Equal(t, want, ofRow(again, ids))
		second := t.TempDir()
		require.NoError(t, models.SaveAdapter(second, again))
		for _, name := range []string{"adapter_model.safetensors"} {
			a, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			b, err := os.ReadFile(filepath.Join(second, name))
			require.NoError(t, err)
			assert.Equal(t, a, b)
		}
		var keys map[string]any
		raw, err := os.ReadFile(filepath.Join(second, "adapter_config.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &keys))
		assert.Equal(t, []any{"down_proj", "q_proj"}, keys["target_modules"])
		base, err := filepath.Abs("testdata/llama-tied")
		require.NoError(t, err)
		assert.Equal(t, base, keys["base_model_name_or_path"])
	})
}

// TestTwin: a second view of the weights costs none, and has adapters of its own.
func TestTwin(t *testing.T) {
	run(t, func() {
		m := adapted(t, "testdata/llama-gqa", models.AdapterConfig{Rank: 4, Alpha: 8})
		plain := load(t, "testdata/llama-gqa", float32CPU)
		ids := []int{1, 5, 9, 3}
		twin := models.Twin(m)
		assert.False(t, models.Adapted(twin))
		assert.Equal(t, ofRow(plain, ids), ofRow(twin, ids))
		s, err := models.ScorerOf(models.Twin(m), 4, trainCPU)
		require.NoError(t, err)
		require.NoError(t, models.Adapt(s, models.AdapterConfig{Rank: 2, Alpha: 2, Seed: 5}))
		assert.Equal(t, ofRow(plain, ids), ofRow(twin, ids), "adapters of one do not reach the other")
		at := map[string]tensor.Tensor{}
		for p := range nn.Params(m) {
			at[p.Name] = *p.Tensor
		}
		for p := range nn.Params(s) {
			if p.Name != "score.weight" {
				require.Equal(t, at[p.Name], *p.Tensor, p.Name)
			}
		}
	})
}

func TestBadAdapterOptions(t *testing.T) {
	run(t, func() {
		m := load(t, "testdata/llama-gqa", trainCPU)
		live := tensor.Live()
		for _, c := range []struct {
			config models.AdapterConfig
			want   []string
		}{
			{models.AdapterConfig{Rank: 0, Alpha: 1}, []string{"rank 0", "give 8"}},
			{models.AdapterConfig{Rank: 4}, []string{"alpha 0"}},
			{models.AdapterConfig{Rank: 4, Alpha: 4, Dropout: 1}, []string{"dropout 1"}},
			{models.AdapterConfig{Rank: 999, Alpha: 4}, []string{"rank 999", "self_attn.q_proj", "lower the rank"}},
			{models.AdapterConfig{Rank: 4, Alpha: 4, Targets: []string{"q_prj"}}, []string{`"q_prj"`, "did you mean `q_proj`?"}},
			{models.AdapterConfig{Rank: 4, Alpha: 4, Targets: []string{"lm_head"}}, []string{`"lm_head"`, "gate_proj"}},
		} {
			requireInput(t, models.Adapt(m, c.config), c.want...)
			assert.False(t, models.Adapted(m))
		}
		assert.Equal(t, live, tensor.Live())
	})
}

// TestBadAdapterFolders: what salsa does not compute, or what does not fit, is named.
func TestBadAdapterFolders(t *testing.T) {
	key := func(name string, value any) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, "adapter_config.json")
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			var keys map[string]any
			require.NoError(t, json.Unmarshal(raw, &keys))
			keys[name] = value
			raw, err = json.Marshal(keys)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, raw, 0o644))
		}
	}
	abs := func(name string) string {
		path, err := filepath.Abs("testdata/" + name)
		require.NoError(t, err)
		return path
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   []string
	}{
		"other type":    {key("peft_type", "IA3"), []string{`"peft_type"`, "IA3"}},
		"bias":          {key("bias", "all"), []string{`"bias"`, `"all"`}},
		"DoRA":          {key("use_dora", true), []string{`"use_dora"`}},
		"rank pattern":  {key("rank_pattern", map[string]int{"q_proj": 3}), []string{`"rank_pattern"`, "q_proj"}},
		"alpha pattern": {key("alpha_pattern", map[string]int{"q_proj": 3}), []string{`"alpha_pattern"`}},
		"unknown key":   {key("use_magic", true), []string{`"use_magic"`}},
		"PiSSA":         {key("init_lora_weights", "pissa"), []string{`"init_lora_weights"`, "pissa"}},
		"saved module":  {key("modules_to_save", []string{"embed_tokens"}), []string{`"modules_to_save"`, "embed_tokens"}},
		"task":          {key("task_type", "SEQ_2_SEQ_LM"), []string{`"task_type"`, "SEQ_2_SEQ_LM"}},
		"another rank":  {key("r", 5), []string{"shape [4", "instead of [5"}},
		"no base":       {key("base_model_name_or_path", "meta/llama"), []string{`"base_model_name_or_path"`, `"meta/llama"`, "path of the base"}},
		"smaller base":  {key("base_model_name_or_path", abs("gemma2-softcap")), []string{"does not fit its base", "instead of"}},
		"scorer as base": {key("base_model_name_or_path", abs("llama-score")), []string{"adapter of a language model",
			"LlamaForSequenceClassification"}},
		"adapter as base": {key("base_model_name_or_path", abs("adapters/llama-all")), []string{"itself an adapter", "salsa soup"}},
		"no weights": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "adapter_model.safetensors")))
		},
			[]string{"holds no adapter_model.safetensors"}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				dir := copyOf(t, "testdata/adapters/llama-all")
				key("base_model_name_or_path", abs("llama-gqa"))(t, dir)
				c.damage(t, dir)
				_, err := models.Load(dir, float32CPU)
				requireInput(t, err, append(c.want, dir)...)
			})
		})
	}
	run(t, func() { // the remedy that the API has for a base that moved
		dir := copyOf(t, "testdata/adapters/llama-all")
		opt := float32CPU
		opt.Base = "testdata/llama-gqa"
		sameWeights(t, load(t, "testdata/adapters/llama-all", float32CPU), load(t, dir, opt))
	})
}

package soup_test

// Shares by layer, the base beside the members, and what every operator keeps when it goes through a folder.

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
)

func rules(t *testing.T, n int, texts ...string) (out []soup.LayerRule) {
	t.Helper()
	for _, text := range texts {
		r, err := soup.ParseLayerRule(text, n, false)
		require.NoError(t, err, text)
		out = append(out, r)
	}
	return out
}

func TestLayerRules(t *testing.T) {
	shares := soup.ByLayer(rules(t, 2, "layers.0-1=0.7,0.3", "layers.12=1,0", `mlp\.down=0,2`, "embed_tokens|lm_head=1,3"), []float64{.5, .5})
	for name, want := range map[string][]float64{
		"model.layers.0.mlp.down_proj.weight": {.7, .3}, "model.layers.1.input_layernorm.weight": {.7, .3},
		"model.layers.12.input_layernorm.weight": {1, 0}, "model.layers.2.mlp.down_proj.weight": {0, 1},
		"model.embed_tokens.weight": {.25, .75}, "lm_head.weight": {.25, .75},
		"model.layers.10.input_layernorm.weight": {.5, .5}, "model.norm.weight": {.5, .5},
	} {
		assert.InDeltaSlice(t, want, shares(name), 1e-15, name)
	}
	for text, says := range map[string]string{
		"layers.0": "want WHICH=w,w", "=1,2": "want WHICH=w,w", "layers.0=a,b": `"a,b" is no list of numbers`,
		"layers.3-1=1,1": "FROM <= TO", "(=1,1": "nor a regular expression", "mlp=1": "1 weights for 2 soup members",
		"mlp=2,-1": "outside [0, 1]",
	} {
		_, err := soup.ParseLayerRule(text, 2, false)
		assert.ErrorContains(t, err, says, text)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err), text)
	}
	run(t, func() {
		m := open(t, member(t, "llama-gqa", 1, tensor.Float32), member(t, "llama-gqa", 2, tensor.Float32))
		require.NoError(t, m.CheckRules(rules(t, 2, "layers.0=1,1", "mlp=1,1")))
		assert.ErrorContains(t, m.CheckRules(rules(t, 2, "layers.77=1,1")), `"layers.77=1,1" decide about no weight`)
		assert.ErrorContains(t, m.CheckRules(rules(t, 2, "layers=1,1", "mlp=1,1")), `"mlp=1,1" decide about no weight`, "hidden by a rule before it")
	})
}

// opened opens members beside a base.
func opened(t *testing.T, base string, dirs ...string) *soup.Members {
	t.Helper()
	m, err := soup.OpenWithBase(base, dirs)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

// Every operator, on whole models with a tied head: the end of streaming is what a live model holds, one weight of each
// folder is in memory, and the head is written once.
func TestOperatorsStream(t *testing.T) {
	run(t, func() {
		base, a, b := member(t, "llama-tied", 1, tensor.Float32), member(t, "llama-tied", 2, tensor.BFloat16), member(t, "llama-tied", 3, tensor.Float32)
		m := opened(t, base, a, b)
		before := tensor.Live()
		all := operators(2)
		all["ties"], all["liti"] = soup.TIES(soup.Fixed(.5, .5), .2, 1, soup.AgreeingMean), soup.LITI(soup.Slerp(soup.Fixed(.3, .7)), .4)
		for name, r := range all {
			dir := filepath.Join(t.TempDir(), "soup")
			require.NoError(t, m.Write(t.Context(), dir, r, soup.WriteOptions{DType: tensor.Float32, Done: func(int64) {
				assert.LessOrEqual(t, tensor.Live()-before, 4, "%s: base, two members and the result", name)
			}}))
			files, err := safetensors.OpenDir(dir)
			require.NoError(t, err)
			_, _, head := files.Lookup("lm_head.weight")
			assert.False(t, head, name)
			require.NoError(t, tensor.Scope(func() error {
				live, err := models.Load(base, onCPU)
				require.NoError(t, err)
				require.NoError(t, m.Mix(live, r))
				stored, err := models.Load(dir, onCPU)
				require.NoError(t, err)
				x, y := models.WeightsOf(live), models.WeightsOf(stored)
				for _, weight := range x.Names() {
					p, err := x.Read(weight)
					require.NoError(t, err)
					q, err := y.Read(weight)
					require.NoError(t, err)
					assert.True(t, p.Equal(q), "%s of %s", weight, name)
				}
				return nil
			}))
		}
	})
}

func TestBaseMustFit(t *testing.T) {
	run(t, func() {
		a, b := member(t, "llama-tied", 1, tensor.Float32), member(t, "llama-tied", 2, tensor.Float32)
		_, err := soup.OpenWithBase(member(t, "llama-gqa", 3, tensor.Float32), []string{a, b})
		assert.ErrorContains(t, err, "cannot be the base of "+a)
		assert.ErrorContains(t, err, "give the model that the members were fine-tuned from")
		_, err = soup.OpenWithBase(filepath.Join(a, "nowhere"), []string{a, b})
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	})
}

// A soup that leaves the range of the type that it is stored in is refused, and nothing is left behind.
func TestOverflowIsRefused(t *testing.T) {
	run(t, func() {
		m := open(t, member(t, "llama-gqa", 1, tensor.Float32), member(t, "llama-gqa", 2, tensor.Float32))
		dir := filepath.Join(t.TempDir(), "soup")
		err := m.Write(t.Context(), dir, soup.Linear(soup.Fixed(1e8, 1-1e8)), soup.WriteOptions{DType: tensor.Float16})
		assert.ErrorContains(t, err, "not finite in float16")
		assert.NoDirExists(t, dir)
	})
}

// Adapters on a bfloat16 base are folded in float32 before they are mixed: two roundings would differ from one.
func TestAdaptersFoldBeforeRounding(t *testing.T) {
	run(t, func() {
		base := member(t, "llama-gqa", 1, tensor.BFloat16)
		a, b := adapter(t, base, 2), adapter(t, base, 3)
		const name = "model.layers.0.self_attn.q_proj.weight"
		dir := filepath.Join(t.TempDir(), "soup")
		m := open(t, a, b)
		require.NoError(t, m.Write(t.Context(), dir, soup.Linear(soup.Fixed(.5, .5)), soup.WriteOptions{DType: tensor.Float32}))
		stored, err := models.OpenCheckpoint(dir)
		require.NoError(t, err)
		defer stored.Close()
		got, err := stored.Read(name)
		require.NoError(t, err)
		exact, rounded := make([]float64, got.Numel()), make([]float64, got.Numel())
		for _, c := range m.Checkpoints {
			x, err := c.ReadExact(name)
			require.NoError(t, err)
			require.Equal(t, tensor.Float32, x.DType())
			y, err := c.Read(name)
			require.NoError(t, err)
			require.Equal(t, tensor.BFloat16, y.DType())
			require.True(t, x.To(tensor.BFloat16).Equal(y), "one adapter alone is rounded once either way")
			for i := range exact {
				exact[i] += x.Float64s()[i] / 2
				rounded[i] += y.Float64s()[i] / 2
			}
		}
		assert.InDeltaSlice(t, exact, got.Float64s(), 1e-7)
		off := 0.0
		for i, v := range got.Float64s() {
			off = max(off, v-rounded[i], rounded[i]-v)
		}
		assert.Greater(t, off, 1e-4, "the mean of rounded weights is another")
	})
}

// adapter writes a PEFT folder with random matrices on a base.
func adapter(t *testing.T, base string, seed uint64) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, tensor.Scope(func() error {
		m, err := models.Load(base, models.Options{Device: tensor.CPU, DType: tensor.BFloat16})
		require.NoError(t, err)
		require.NoError(t, models.Adapt(m, models.AdapterConfig{Rank: 2, Alpha: 2, Base: base, Targets: []string{"q_proj"}}))
		for i, p := range models.Trainable(m) {
			require.NoError(t, tensor.NoGrad(func() error {
				p.Tensor.Copy(tensor.Randn(tensor.Mix(seed, uint64(i)), p.Shape...).MulScalar(.2))
				return nil
			}))
		}
		return models.SaveAdapter(dir, m)
	}))
	return dir
}

func TestDirections(t *testing.T) {
	run(t, func() {
		a, b := member(t, "llama-gqa", 1, tensor.Float32), member(t, "llama-gqa", 2, tensor.Float32)
		m := open(t, a, b)
		for _, filter := range []bool{false, true} {
			u, err := m.NewDirection(7, filter)
			require.NoError(t, err)
			dir := filepath.Join(t.TempDir(), "moved")
			require.NoError(t, m.Write(t.Context(), dir, u.From(soup.Fixed(1, 0), 3), soup.WriteOptions{DType: tensor.Float64}))
			moved := open(t, a, dir)
			far, err := moved.Distance()
			require.NoError(t, err)
			assert.InDelta(t, 3, far, 1e-6, "the direction has norm 1")
			other := filepath.Join(t.TempDir(), "soup")
			require.NoError(t, m.Write(t.Context(), other, u.From(soup.Fixed(.5, .5), 3), soup.WriteOptions{DType: tensor.Float64}))
			between, err := open(t, dir, other).Distance()
			require.NoError(t, err)
			apart, err := m.Distance()
			require.NoError(t, err)
			assert.InDelta(t, apart/2, between, 1e-6, "both centres move along the same vector")
		}
		wide, err := m.NewDirection(7, true)
		require.NoError(t, err)
		w := tensor.Floats([]float32{3, 4, 0, 0}, 2, 2) // rows of norm 5 and 0
		dst := tensor.Zeros(tensor.Float64, tensor.CPU, 2, 2)
		in := soup.Inputs{Name: "w", Shape: []int{2, 2}, Members: []models.Source{models.SourceOf(w), models.SourceOf(w)}}
		require.NoError(t, wide.From(soup.Fixed(0, 0), 1).Into(dst, in))
		moved := dst.Float64s()
		assert.NotZero(t, moved[0])
		assert.Zero(t, moved[2]*moved[2]+moved[3]*moved[3], "a row of zeros stays")
	})
}

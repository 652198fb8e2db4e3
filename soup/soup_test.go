package soup_test

// Soups: worked numbers, the ends of the line between two members, and what a written soup holds.

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/safetensors"
	"salsa/models"
	"salsa/nn"
	"salsa/soup"
	"salsa/tensor"
	"salsa/tensor/tensortest"
)

// run is the frame of a tensor test.
var run = tensortest.Run

var onCPU = models.Options{Device: tensor.CPU}

// member writes a folder with the config of a test model and random weights.
func member(t *testing.T, config string, seed uint64, dtype tensor.DType) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, tensor.Scope(func() error {
		c, err := models.ReadConfig(filepath.Join("../models/testdata", config))
		require.NoError(t, err)
		m, err := models.New(c, seed, onCPU)
		require.NoError(t, err)
		return models.Save(dir, m, models.SaveOptions{DType: dtype})
	}))
	return dir
}

// open opens members that must fit.
func open(t *testing.T, dirs ...string) *soup.Members {
	t.Helper()
	m, err := soup.Open(dirs)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

// values reads all weights of a folder, as bytes of their stored type.
func values(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	c, err := models.OpenCheckpoint(dir)
	require.NoError(t, err)
	defer c.Close()
	out := map[string][]byte{}
	require.NoError(t, tensor.Scope(func() error {
		for _, name := range c.Names() {
			w, err := c.Read(name)
			require.NoError(t, err)
			out[name] = w.Bytes()
		}
		return nil
	}))
	return out
}

// written writes a soup and returns its folder.
func written(t *testing.T, weights []float64, opt soup.WriteOptions, dirs ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "soup")
	require.NoError(t, open(t, dirs...).Write(t.Context(), dir, soup.Linear(soup.Fixed(weights...)), opt))
	return dir
}

// mix returns one weight of a soup.
func mix(weights []float64, shape []int, members ...[]float32) tensor.Tensor {
	dst := tensor.Zeros(tensor.Float32, tensor.CPU, shape...)
	same := make([]models.Source, len(members))
	for i, m := range members {
		same[i] = models.SourceOf(tensor.Floats(m, shape...))
	}
	if err := soup.Linear(soup.Fixed(weights...)).Into(dst, soup.Inputs{Name: "w", Shape: shape, Members: same}); err != nil {
		panic(err)
	}
	return dst
}

// net is V·tanh(W·x) at x = [1, 0.5].
func net(w, v tensor.Tensor) []float64 {
	x := tensor.Floats([]float32{1, 0.5}, 1, 2)
	return x.Linear(w, tensor.Tensor{}).Tanh().Linear(v, tensor.Tensor{}).Float64s()
}

func TestLinearWorked(t *testing.T) {
	w1, w2, w3 := []float32{1, -1, .5, 2}, []float32{0, 1, 1.5, -.5}, []float32{.2, .4, -.3, 1}
	v1, v2 := []float32{1, 0, 0, 1, -1, 1}, []float32{.5, -.5, 1, 0, 0, .5}
	half := []float64{.5, .5}
	run(t, func() {
		at := func(w []float64) []float64 {
			return net(mix(w, []int{2, 2}, w1, w2), mix(w, []int{3, 2}, v1, v2))
		}
		f1, f2 := at([]float64{1, 0}), at([]float64{0, 1})
		assert.InDeltaSlice(t, []float64{0.462117, 0.905148, 0.443031}, f1, 1e-6)
		assert.InDeltaSlice(t, []float64{-0.193083, 0.462117, 0.424142}, f2, 1e-6)
		assert.InDeltaSlice(t, []float64{0.126631, 0.670972, 0.428811}, at(half), 1e-6, "the soup")
		for i, mean := range []float64{0.134517, 0.683633, 0.433586} {
			assert.InDelta(t, mean, (f1[i]+f2[i])/2, 1e-6, "the mean of outputs is another thing than the soup")
		}
		thirds, err := soup.Weights(nil, 3, false)
		require.NoError(t, err)
		assert.InDeltaSlice(t, []float64{0.4, 0.133333, 0.566667, 0.833333}, mix(thirds, []int{2, 2}, w1, w2, w3).Float64s(), 1e-6)
	})
}

// The reference of SALSA's toy decision: where logits are the parameters, the soup is the geometric mean, and not the
// mixture of probabilities.
func TestLinearReference(t *testing.T) {
	sft1, sft2 := []float32{2, 0, -1}, []float32{0, 1, .5}
	policy := tensorLogs([]float32{1.5, .2, -.5})
	for _, c := range []struct {
		alpha float64
		logp  []float64
		kl    float64
	}{
		{0, []float64{-1.680270, -0.680270, -1.180270}, 0.652645},
		{.25, []float64{-1.089005, -0.839005, -1.464005}, 0.290675},
		{.5, []float64{-0.638182, -1.138182, -1.888182}, 0.069148},
		{1, []float64{-0.169846, -2.169846, -3.169846}, 0.059403},
	} {
		run(t, func() {
			logits := mix([]float64{c.alpha, 1 - c.alpha}, []int{3}, sft1, sft2)
			got := tensorLogs(logits.Float32s())
			assert.InDeltaSlice(t, c.logp, got, 1e-6, "α = %g", c.alpha)
			assert.InDelta(t, c.kl, kl(policy, got), 1e-6, "α = %g", c.alpha)
		})
	}
	mixture := make([]float64, 3)
	p, q := tensorLogs(sft1), tensorLogs(sft2)
	for i := range mixture {
		mixture[i] = math.Log((math.Exp(p[i]) + math.Exp(q[i])) / 2)
	}
	assert.InDelta(t, 0.079549, kl(policy, mixture), 1e-6, "the mixture of probabilities is the wrong reference")
}

// tensorLogs is the log-softmax of a few logits, in float64.
func tensorLogs(logits []float32) []float64 {
	sum, out := 0.0, make([]float64, len(logits))
	for _, v := range logits {
		sum += math.Exp(float64(v))
	}
	for i, v := range logits {
		out[i] = float64(v) - math.Log(sum)
	}
	return out
}

func kl(p, q []float64) (sum float64) {
	for i := range p {
		sum += math.Exp(p[i]) * (p[i] - q[i])
	}
	return sum
}

func TestEndsAreMembersBitForBit(t *testing.T) {
	for _, dtype := range []tensor.DType{tensor.Float32, tensor.BFloat16, tensor.Float16} {
		t.Run(dtype.String(), func(t *testing.T) {
			run(t, func() {
				a, b := member(t, "llama-gqa", 1, dtype), member(t, "llama-gqa", 2, dtype)
				va, vb := values(t, a), values(t, b)
				require.NotEqual(t, va, vb)
				assert.Equal(t, va, values(t, written(t, []float64{1, 0}, soup.WriteOptions{}, a, b)), "α = 1")
				assert.Equal(t, vb, values(t, written(t, []float64{0, 1}, soup.WriteOptions{}, a, b)), "α = 0")
				assert.Equal(t, va, values(t, written(t, []float64{1}, soup.WriteOptions{}, a)), "one member")
				assert.Equal(t, va, values(t, written(t, []float64{.3, .7}, soup.WriteOptions{}, a, a)), "equal members")
				thirds, err := soup.Weights(nil, 3, false)
				require.NoError(t, err)
				assert.Equal(t, va, values(t, written(t, thirds, soup.WriteOptions{}, a, a, a)), "three equal members")
			})
		})
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	run(t, func() {
		a, b, c := member(t, "llama-mha", 1, tensor.Float32), member(t, "llama-mha", 2, tensor.Float32), member(t, "llama-mha", 3, tensor.Float32)
		w := []float64{.2, .3, .5}
		want := values(t, written(t, w, soup.WriteOptions{}, a, b, c))
		assert.Equal(t, want, values(t, written(t, []float64{.5, .2, .3}, soup.WriteOptions{}, c, a, b)))
		assert.Equal(t, want, values(t, written(t, []float64{.3, .5, .2}, soup.WriteOptions{}, b, c, a)))
		assert.NotEqual(t, want, values(t, written(t, w, soup.WriteOptions{}, b, a, c)), "weights belong to members")
	})
}

// Halves of bfloat16 numbers that are neighbours: their mean is not a bfloat16, and is kept where the soup is float32.
func TestBFloat16MembersAreSummedExactly(t *testing.T) {
	run(t, func() {
		a := tensor.Floats([]float32{1, 1}, 2).To(tensor.BFloat16)
		b := tensor.Floats([]float32{1.0078125, 3}, 2).To(tensor.BFloat16)
		dst := tensor.Zeros(tensor.Float32, tensor.CPU, 2)
		in := soup.Inputs{Name: "w", Shape: []int{2}, Members: []models.Source{models.SourceOf(a), models.SourceOf(b)}}
		require.NoError(t, soup.Linear(soup.Fixed(.5, .5)).Into(dst, in))
		assert.Equal(t, []float32{1.00390625, 2}, dst.Float32s())
	})
	run(t, func() {
		a, b := member(t, "llama-gqa", 1, tensor.BFloat16), member(t, "llama-gqa", 2, tensor.BFloat16)
		dir := written(t, []float64{.5, .5}, soup.WriteOptions{DType: tensor.Float32}, a, b)
		got, err := models.ReadConfig(dir)
		require.NoError(t, err)
		assert.Equal(t, tensor.Float32, got.DType, "config.json says the type that is stored")
		m := open(t, a, b, dir)
		for _, name := range m.Checkpoints[0].Names() {
			require.NoError(t, tensor.Scope(func() error {
				var v [3][]float64
				for i, c := range m.Checkpoints {
					w, err := c.Read(name)
					require.NoError(t, err)
					v[i] = w.Float64s()
				}
				for i, got := range v[2] {
					require.Equal(t, float64(float32((v[0][i]+v[1][i])/2)), got, "%s[%d]", name, i)
				}
				return nil
			}))
		}
	})
}

func TestMixIsWriteAndLoad(t *testing.T) {
	for _, config := range []string{"llama-gqa", "llama-tied", "qwen2-bias", "gemma2-softcap"} {
		t.Run(config, func(t *testing.T) {
			run(t, func() {
				a, b := member(t, config, 1, tensor.Float32), member(t, config, 2, tensor.Float32)
				w := []float64{.3, .7}
				live, err := soup.Expr{Dirs: []string{a, b}, Weights: w}.Load(onCPU)
				require.NoError(t, err)
				stored, err := models.Load(written(t, w, soup.WriteOptions{}, a, b), onCPU)
				require.NoError(t, err)
				x, y := models.WeightsOf(live), models.WeightsOf(stored)
				require.Equal(t, x.Names(), y.Names())
				for _, name := range x.Names() {
					p, err := x.Read(name)
					require.NoError(t, err)
					q, err := y.Read(name)
					require.NoError(t, err)
					assert.True(t, p.Equal(q), name)
				}
				again, err := models.Load(a, onCPU)
				require.NoError(t, err)
				first, err := models.WeightsOf(again).Read(x.Names()[0])
				require.NoError(t, err)
				mixed, err := x.Read(x.Names()[0])
				require.NoError(t, err)
				assert.False(t, first.Equal(mixed), "mixing into mapped weights leaves the member's file as it is")
			})
		})
	}
}

func TestWriteFolder(t *testing.T) {
	run(t, func() {
		a, b := member(t, "llama-tied", 1, tensor.Float32), member(t, "llama-tied", 2, tensor.Float32)
		for name, text := range map[string]string{
			"tokenizer.json": "{}", "tokenizer_config.json": `{"a":1}`, "chat_template.jinja": "{{ x }}", "notes.txt": "mine",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(a, name), []byte(text), 0o644))
		}
		before := tensor.Live()
		var pieces []int64
		dir := written(t, []float64{.5, .5}, soup.WriteOptions{MaxShardBytes: 20_000, Done: func(n int64) {
			pieces = append(pieces, n)
			assert.Equal(t, before, tensor.Live(), "no weight becomes a tensor")
		}}, a, b)
		for _, name := range []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} {
			want, err := os.ReadFile(filepath.Join(a, name))
			require.NoError(t, err)
			got, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err, name)
			if name == "config.json" || name == "generation_config.json" {
				assert.JSONEq(t, string(want), string(got), name)
			} else {
				assert.Equal(t, want, got, name)
			}
		}
		assert.NoFileExists(t, filepath.Join(dir, "notes.txt"))
		files, err := safetensors.OpenDir(dir)
		require.NoError(t, err)
		assert.Greater(t, len(files.Files), 1, "shards")
		_, _, head := files.Lookup("lm_head.weight")
		assert.False(t, head, "a tied head is written once, as the embedding")
		var total int64
		for _, name := range files.Names() {
			_, info, _ := files.Lookup(name)
			total += info.Size()
		}
		var sum int64
		for _, n := range pieces {
			sum += n
		}
		assert.Len(t, pieces, len(files.Names()), "one report per weight")
		assert.Equal(t, total, sum, "bytes reported and bytes of the weights")
		m, err := models.Load(dir, onCPU)
		require.NoError(t, err)
		assert.NotZero(t, nn.Count(m))
	})
}

func TestWriteKeepsWhatIsThereOnFailure(t *testing.T) {
	run(t, func() {
		a, b := member(t, "llama-gqa", 1, tensor.Float32), member(t, "llama-gqa", 2, tensor.Float32)
		path := filepath.Join(b, "model.safetensors")
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		copy(data[len(data)-4:], []byte{0, 0, 0x80, 0x7f}) // +Inf
		require.NoError(t, os.WriteFile(path, data, 0o644))
		dir := filepath.Join(t.TempDir(), "soup")
		err = open(t, a, b).Write(t.Context(), dir, soup.Linear(soup.Fixed(.5, .5)), soup.WriteOptions{})
		assert.ErrorContains(t, err, path)
		assert.ErrorContains(t, err, "not finite")
		assert.NoDirExists(t, dir, "no half of a soup is left")
	})
}

// TestWriteStops: an interrupt ends the mixing of a weight, whatever the operator, and leaves no half of a soup.
func TestWriteStops(t *testing.T) {
	run(t, func() {
		a, b := member(t, "llama-gqa", 1, tensor.Float32), member(t, "llama-gqa", 2, tensor.Float32)
		for name, r := range map[string]soup.Recipe{
			"linear": soup.Linear(soup.Fixed(.5, .5)), "ties": soup.TIES(soup.Fixed(.5, .5), .2, 1, soup.AgreeingMean),
			"slerp": soup.Slerp(soup.Fixed(.5, .5)),
		} {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				done, parent := 0, t.TempDir()
				err := open(t, a, b).Write(ctx, filepath.Join(parent, "soup"), r, soup.WriteOptions{Done: func(int64) {
					done++
					cancel()
				}})
				assert.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, 2, done, "the weight after the interrupt is the last that is begun")
				left, err := os.ReadDir(parent)
				require.NoError(t, err)
				assert.Empty(t, left)
			})
		}
	})
}

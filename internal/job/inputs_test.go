package job

// What a job decides before it computes.

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"salsa/data"
	"salsa/internal/demo"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSweepGrid(t *testing.T) {
	o := DefaultSoup()
	o.Members, o.EvalData = []string{"a", "b"}, []string{"rows.jsonl"}
	for _, c := range []struct {
		sweep string
		want  []float64
		err   string
	}{
		{"", nil, ""},
		{"0:1:0.5", []float64{0, .5, 1}, ""},
		{"0.1:0.4:0.1", []float64{.1, .2, .3, .4}, ""}, // sums of 0.1 miss .3 and .4
		{"0:1:0.4", []float64{0, .4, .8}, ""},
		{"1:1:1", []float64{1}, ""},
		{"0:1", nil, "want FROM:TO:STEP"},
		{"0:x:1", nil, `"x" is not a number`},
		{"1:0:0.1", nil, "want FROM <= TO"},
		{"0:1:0", nil, "want FROM <= TO"},
		{"0:1:nan", nil, "want FROM <= TO"},
		{"0:1:1e-9", nil, "at most 1000 steps"},
		{"-1:1:1", nil, "leaves [0, 1]; add --extrapolate"},
	} {
		o.Sweep = c.sweep
		got, err := o.grid()
		if c.err != "" {
			require.ErrorContains(t, err, c.err, c.sweep)
			assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, c.want, got, c.sweep)
	}
	o.Sweep, o.Extrapolate = "-1:1:1", true
	got, err := o.grid()
	require.NoError(t, err)
	assert.Equal(t, []float64{-1, 0, 1}, got)
}

// A prompt is held out of SFT, of the reward model and of PPO alike: the share looks at nothing but the prompt.
func TestHoldoutIsOfPrompts(t *testing.T) {
	held := 0
	for i := range 1000 {
		prompt := fmt.Sprintf("prompt %d", i)
		shapes := []data.Row{
			{Shape: data.ShapeDemo, Prompt: prompt, Completion: "x", File: "a", Line: 1},
			{Shape: data.ShapePair, Prompt: prompt, Chosen: "y", Rejected: "z", File: "b", Line: 2},
			{Shape: data.ShapePrompt, Prompt: prompt},
		}
		out := heldOut(&shapes[0], 0.2)
		for j := range shapes {
			require.Equal(t, out, heldOut(&shapes[j], 0.2))
			assert.False(t, heldOut(&shapes[j], 0), "a share of 0 holds nothing out")
			if out {
				assert.True(t, heldOut(&shapes[j], 0.3), "a larger share holds out all of a smaller one")
			}
		}
		if out {
			held++
		}
	}
	assert.InDelta(t, 200, held, 50) // four deviations
}

// base writes the demo's config and tokenizer into a new folder.
func base(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	require.NoError(t, demo.WriteBaseConfig(dir))
	return dir
}

func TestEncoderOfAFolder(t *testing.T) {
	dir := base(t)
	cfg, err := models.ReadConfig(dir)
	require.NoError(t, err)
	enc, err := newEncoder(dir, cfg, 0, "error")
	require.NoError(t, err)
	assert.Equal(t, []int{cfg.Context(), cfg.Vocab, demo.BOS, demo.EOS}, []int{enc.MaxLength, enc.Vocab, enc.BOS, enc.EOS})
	require.NoError(t, leaveRoom(enc, cfg, 14))
	assert.Equal(t, cfg.Context()-14, enc.MaxLength)
	require.NoError(t, leaveRoom(enc, cfg, 4))
	assert.Equal(t, cfg.Context()-14, enc.MaxLength, "a limit is never raised")
	assert.ErrorContains(t, leaveRoom(enc, cfg, cfg.Context()), "leaves no room for a prompt in the context of 64 tokens")
	assert.Equal(t, " hot", completionText(enc, append(enc.Tok.Encode(" hot", false), demo.EOS)))

	require.NoError(t, os.Remove(filepath.Join(dir, "tokenizer.json")))
	enc, err = newEncoder(dir, cfg, 0, "error")
	require.NoError(t, err)
	assert.Nil(t, enc.Tok, "a nil pointer in the interface would not be nil")
	assert.Empty(t, completionText(enc, []int{5}))
	assert.Empty(t, tokenizerOf(dir))
}

func TestSharesVocabulary(t *testing.T) {
	a, b := base(t), base(t)
	require.NoError(t, sharesVocabulary(a, b))
	raw, err := os.ReadFile(filepath.Join(b, "config.json"))
	require.NoError(t, err)
	other := append([]byte(`{"vocab_size": 999, "x": `), append(raw, '}')...)
	require.NoError(t, os.WriteFile(filepath.Join(b, "config.json"), other, 0o644))
	assert.Error(t, sharesVocabulary(a, b))
	require.NoError(t, os.WriteFile(filepath.Join(b, "config.json"), raw, 0o644))
	require.NoError(t, os.Remove(filepath.Join(b, "tokenizer.json")))
	assert.NoError(t, sharesVocabulary(a, b), "weights alone are judged by their size")
}

func TestCheckOutFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, checkOutFile(filepath.Join(dir, "new.jsonl")))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries, "looking leaves nothing behind")
	old := filepath.Join(dir, "old.jsonl")
	require.NoError(t, os.WriteFile(old, []byte("kept"), 0o644))
	require.NoError(t, checkOutFile(old))
	text, err := os.ReadFile(old)
	require.NoError(t, err)
	assert.Equal(t, "kept", string(text))
	assert.ErrorContains(t, checkOutFile(old, filepath.Join(dir, "none"), filepath.Join(dir, ".", "old.jsonl")), "old.jsonl: is --data too, and would be replaced")
	assert.ErrorContains(t, checkOutFile(dir), "is a folder")
	assert.ErrorContains(t, checkOutFile(filepath.Join(dir, "no", "x.jsonl")), "make it or choose another --out")
}

func TestCheckGold(t *testing.T) {
	prompts := []data.Prompt{{Row: &data.Row{Prompt: " hot salsa:", File: "p.jsonl", Line: 1}}, {Row: &data.Row{Prompt: "Hi", File: "p.jsonl", Line: 2}}}
	assert.NoError(t, checkGold("gold", "none", prompts))
	assert.NoError(t, checkGold("gold", "salsa", prompts[:1]))
	assert.ErrorContains(t, checkGold("gold", "salsa", prompts), "p.jsonl:2: --gold salsa: ")
}

// What may change between the parts of a run and what may not; the message names the option that did.
func TestSameRun(t *testing.T) {
	o := DefaultPPO()
	o.Model, o.Reference, o.RewardModel, o.Data.Data, o.Out = "m", "r", "w", []string{"d"}, t.TempDir()
	run, err := openRun(&o.Training, &o, o.Model)
	require.NoError(t, err)
	require.NoError(t, run.begin())
	run.close()
	path := filepath.Join(o.Out, "run.yaml")
	for _, c := range []struct {
		change func(o *PPOOptions)
		says   string
	}{
		{func(*PPOOptions) {}, ""},
		{func(o *PPOOptions) {
			o.Threads, o.Quiet, o.JSON, o.LogEvery, o.SaveEvery, o.KeepLast = 3, true, true, 7, 8, 9
		}, ""},
		{func(o *PPOOptions) { o.Threads, o.KLCoef = 3, 0.3 }, "run.yaml: the run was started with kl_coef 0.05 and is now resumed with 0.3"},
		{func(o *PPOOptions) { o.Quiet, o.Data.Data = true, []string{"d", "e"} }, "the run was started with data"},
		{func(o *PPOOptions) { o.DType = "bfloat16" }, "started with dtype float32 and is now resumed with bfloat16"},
	} {
		later := o
		c.change(&later)
		err := sameRun(path, &later)
		if c.says == "" {
			assert.NoError(t, err)
			continue
		}
		assert.ErrorContains(t, err, c.says)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(raw), "\nempty: error\n")
	require.NoError(t, os.WriteFile(path, bytes.ReplaceAll(raw, []byte("\nempty: error\n"), []byte("\nempty: drop\n")), 0o644))
	assert.NoError(t, sameRun(path, &o), "an option that the command hides changed nothing")
}

// A folder that another run is working in is said to be in use, not to be in the way.
func TestRunFolderInUse(t *testing.T) {
	o := DefaultPPO()
	o.Model, o.Reference, o.RewardModel, o.Data.Data, o.Out = "m", "r", "w", []string{"d"}, t.TempDir()
	run, err := openRun(&o.Training, &o, o.Model)
	require.NoError(t, err)
	require.NoError(t, run.begin())
	_, err = openRun(&o.Training, &o, o.Model)
	assert.ErrorContains(t, err, "in use")
	run.close()
	_, err = openRun(&o.Training, &o, o.Model)
	assert.ErrorContains(t, err, "--resume")
}

func TestPinReference(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	put := func(name, text string) string {
		member := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(member, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(member, "model.safetensors"), []byte(text), 0o644))
		return member
	}
	a, b := put("a", "A"), put("b", "B")
	expr := func(text string) soup.Expr {
		e, err := soup.ParseExpr(text, false)
		require.NoError(t, err)
		return e
	}
	path := filepath.Join(out, referenceFile)
	first, err := pin(path, "reference", expr(a+","+b+"@1,3"))
	require.NoError(t, err)
	assert.NoFileExists(t, path, "nothing is written before the run begins")
	require.NoError(t, os.WriteFile(path, first, 0o644))

	again, err := pin(path, "reference", expr(a+","+b+"@0.25,0.75"))
	require.NoError(t, err)
	assert.Equal(t, string(first), string(again))
	for _, other := range []string{a + "," + b, b + "," + a + "@1,3", a} {
		_, err = pin(path, "reference", expr(other))
		assert.ErrorContains(t, err, "has changed since the run began", other)
	}
	put("b", "B2")
	_, err = pin(path, "reference", expr(a+","+b+"@1,3"))
	assert.ErrorContains(t, err, "(member "+b+"); put the old weights back")
}

// A share that is too small for the rows is said: nothing would be measured, and nobody would know why.
func TestAHoldoutOfNothingIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(`{"prompt":"a","completion":"b"}`+"\n"), 0o644))
	load := func(share float64) string {
		d := Data{Data: []string{path}, Holdout: share}
		return saidAloud(t, func() {
			_, _, err := d.load(true)
			require.NoError(t, err)
		})
	}
	assert.Contains(t, load(1e-9), "--holdout 1e-09 holds out none of the 1 rows, so nothing of them is measured; raise it")
	assert.NotContains(t, load(0), "--holdout")
}

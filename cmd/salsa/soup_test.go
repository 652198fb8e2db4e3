package main

// The operators of salsa soup from the command line, and the probe around a soup.

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each operator writes a model that loads, and its special cases are the models they should be.
func TestSoupMethods(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	n := 0
	soup := func(line string) []byte {
		n++
		dir := fmt.Sprintf("%s/%d", out, n)
		w.do(t, "soup "+line+" --out "+dir)
		return weights(t, dir)
	}
	linear := soup("@sft1 @sft2")
	assert.Equal(t, linear, soup("--method linear @sft1 @sft2"), "the default")
	assert.Equal(t, linear, soup("--method task_arithmetic --base @base @sft1 @sft2"), "λ = 1")
	assert.Equal(t, linear, soup("--layer-weights .*=1,1 --weights 1,0 @sft1 @sft2"))
	first, second := soup("--weights 1,0 @sft1 @sft2"), soup("--weights 0,1 @sft1 @sft2")
	assert.Equal(t, second, soup("--method slerp --t 1 --base @base @sft1 @sft2"))
	assert.Equal(t, first, soup("--method slerp --t 0 @sft1 @sft2"))
	assert.Equal(t, second, soup("--method ema --mu 1 @sft1 @sft2"))
	assert.Equal(t, first, soup("--method model_stock --base @base @sft1"))
	for _, method := range []string{"ties", "dare_linear", "dare_ties"} {
		assert.Equal(t, first, soup("--method "+method+" --density 1 --base @base @sft1"), "%s of one member that loses nothing", method)
	}
	line := "--method dare_ties --density .5 --base @base @sft1 @sft2"
	a := soup(line)
	assert.Equal(t, a, soup(line+" --threads 1"), "same seed, same bytes")
	others := [][]byte{linear, a, soup(line + " --seed 1"), soup(line + " --rescale l1"), soup(line + " --consensus sum"), soup(line + " --lambda 2"),
		soup("--method ties --density .3 --base @base @sft1 @sft2"), soup("--method slerp --base @base @sft1 @sft2"),
		soup("--method slerp --base @base --liti .3 @sft1 @sft2"), soup("--layer-weights layers.0=.9,.1 @sft1 @sft2"),
		soup("--method model_stock --base @base @sft1 @sft2"), soup("--method ema @sft1 @sft2")}
	for i := range others {
		for j := range i {
			assert.NotEqual(t, others[i], others[j], "%d and %d: every option changes the soup", i, j)
		}
	}
	w.do(t, "score --model "+out+"/1 --data @demos.jsonl --out "+out+"/scores.jsonl")
}

// WARM averages reward models; TIES and the others mix them too.
func TestSoupOfRewardModels(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	w.do(t, "reward --model @sft1 --data @pairs.jsonl --max-steps 12 --batch-size 8 --learning-rate 0.005 --seed 9 --out "+out+"/rm2")
	w.do(t, "soup --out "+out+"/warm @rm "+out+"/rm2")
	w.do(t, "soup --method ties --density .5 --base @rm --out "+out+"/ties @rm "+out+"/rm2")
	for _, dir := range []string{"warm", "ties"} {
		w.do(t, "score --model "+out+"/"+dir+" --data @pairs.jsonl --out "+out+"/"+dir+".jsonl")
	}
	last := w.do(t, "soup --method greedy --greedy-metric accuracy --eval-data @pairs.jsonl --out "+out+"/greedy @rm "+out+"/rm2")
	assert.Greater(t, last["greedy_accuracy"], 0.8)
	assert.Contains(t, []float64{1, 2}, last["greedy_members"])
}

func TestGreedySoup(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	last := w.do(t, "soup --method greedy --eval-data @demos.jsonl --max-rows 8 --out "+out+"/g @base @sft1 @sft2")
	got := readJSON[struct {
		Kept  []int
		Steps []struct {
			Member       int
			Alone, Mixed float64
			Kept         bool
		}
	}](t, out+"/g/greedy.json")
	require.Len(t, got.Steps, 3)
	best := math.Inf(-1)
	for i, s := range got.Steps {
		if i > 0 {
			assert.GreaterOrEqual(t, got.Steps[i-1].Alone, s.Alone, "from the best down")
			assert.Equal(t, s.Mixed >= best, s.Kept)
		}
		assert.Equal(t, s.Kept, slices.Contains(got.Kept, s.Member))
		if s.Kept {
			best = s.Mixed
		}
	}
	assert.Equal(t, -best, last["greedy_loss"], "the loss has its own sign")
	shares := []string{"0", "0", "0"}
	for _, k := range got.Kept {
		shares[k] = "1"
	}
	w.do(t, "soup --weights "+shares[0]+","+shares[1]+","+shares[2]+" --out "+out+"/linear @base @sft1 @sft2")
	assert.Equal(t, weights(t, out+"/linear"), weights(t, out+"/g"))
}

func TestProbe(t *testing.T) {
	w, out := theWorld(), t.TempDir()
	const line = "soup --probe --probe-radii .5,2 --probe-directions 2 --eval-data @demos.jsonl --max-rows 6 --reward-model @rm --gold salsa --max-new-tokens 6 "
	last := w.do(t, line+"--out "+out+"/p @sft1 @sft2")
	type point struct {
		Centre                                    string
		Alpha, Radius, Length, Loss, Reward, Gold float64
		Direction                                 int
		KL                                        map[string]float64
	}
	type probe struct {
		Distance            float64
		Line, Centres, Ball []point
	}
	got := readJSON[probe](t, out+"/p/probe.json")
	require.Len(t, got.Line, 7)
	require.Len(t, got.Centres, 2)
	require.Len(t, got.Ball, 8)
	soup, first := got.Centres[0], got.Centres[1]
	assert.Equal(t, []float64{got.Line[3].Loss, got.Line[3].Reward}, []float64{soup.Loss, soup.Reward}, "α = ½ is the soup")
	assert.Equal(t, []float64{got.Line[5].Loss, got.Line[5].Reward}, []float64{first.Loss, first.Reward}, "α = 1 is the first")
	assert.Zero(t, first.KL["sft1"])
	assert.Equal(t, []float64{-.25, 1.25}, []float64{got.Line[0].Alpha, got.Line[6].Alpha})
	mean, n := 0.0, 0
	for _, p := range got.Ball {
		assert.InDelta(t, p.Radius*got.Distance, p.Length, 1e-9)
		assert.NotEqual(t, soup.Loss, p.Loss)
		if p.Centre == "soup" && p.Radius == 2 {
			mean, n = mean+p.Reward, n+1
		}
	}
	assert.InDelta(t, mean/float64(n), last["reward@soup+2"], 1e-12)
	assert.NotEqual(t, got.Ball[0].Loss, got.Ball[4].Loss, "another direction")
	assert.Equal(t, got.Line[0].Loss, last["loss@-0.25"])
	assert.FileExists(t, out+"/p/model.safetensors")

	w.do(t, line+"--out "+out+"/again @sft1 @sft2")
	assert.Equal(t, got, readJSON[probe](t, out+"/again/probe.json"), "same seed, same probe")
	w.do(t, line+"--probe-normalize filter --probe-alphas 0.5 --out "+out+"/filter @sft1 @sft2")
	filter := readJSON[probe](t, out+"/filter/probe.json")
	assert.Len(t, filter.Line, 1)
	assert.NotEqual(t, got.Ball[0].Loss, filter.Ball[0].Loss)
}

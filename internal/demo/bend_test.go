package demo

// A rehearsal of the whole demo without a neural network: comparisons of the cook's recipes train a linear reward
// model, and the best of n recipes by that model are judged by the gold reward.

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// linearReward scores a recipe by a weight per ingredient and one per ingredient and adjective.
type linearReward struct {
	general  [NumIngredients]float64
	specific [NumAdjectives][NumIngredients]float64
}

func (m *linearReward) score(p Prompt, r Recipe) float64 {
	s := 0.0
	for _, i := range r {
		s += m.general[i]
		for _, a := range p {
			s += m.specific[a][i]
		}
	}
	return s
}

// nudge adds g to the weights of each ingredient of the recipe.
func (m *linearReward) nudge(p Prompt, r Recipe, g float64) {
	for _, i := range r {
		m.general[i] += g
		for _, a := range p {
			m.specific[a][i] += g
		}
	}
}

// comparison is one labelled pair.
type comparison struct {
	prompt           Prompt
	chosen, rejected Recipe
}

// fit is stochastic gradient descent on −log σ(score(chosen) − score(rejected)), with a falling step.
func fit(pairs []comparison, epochs int, rate float64) *linearReward {
	m := &linearReward{}
	for e := range epochs {
		step := rate * (1 - float64(e)/float64(epochs))
		for _, c := range pairs {
			g := step / (1 + math.Exp(m.score(c.prompt, c.chosen)-m.score(c.prompt, c.rejected)))
			m.nudge(c.prompt, c.chosen, g)
			m.nudge(c.prompt, c.rejected, -g)
		}
	}
	return m
}

// reward is a learned reward model.
type reward interface {
	score(p Prompt, r Recipe) float64
}

// agrees is the share of pairs that the model orders as labelled.
func agrees(m reward, pairs []comparison) float64 {
	right := 0
	for _, c := range pairs {
		if m.score(c.prompt, c.chosen) > m.score(c.prompt, c.rejected) {
			right++
		}
	}
	return float64(right) / float64(len(pairs))
}

// compared draws n pairs of the cook's recipes and has them labelled.
func compared(t *testing.T, n int, seed uint64) ([]comparison, PairStats) {
	t.Helper()
	rng := stream(seed, "rehearsal")
	all := Combinations()
	var prompts, a, b []string
	for range n {
		p := shuffled(all, rng)
		prompts = append(prompts, p.Text())
		a = append(a, DefaultCook.Write(p, rng).Text())
		b = append(b, DefaultCook.Write(p, rng).Text())
	}
	rows, stats, err := label(ByTaste, prompts, a, b, seed)
	require.NoError(t, err)
	pairs := make([]comparison, len(rows))
	for i, row := range rows {
		p, _ := ParsePrompt(row.Prompt)
		chosen, _ := ParseRecipe(row.Chosen)
		rejected, _ := ParseRecipe(row.Rejected)
		pairs[i] = comparison{p, chosen, rejected}
	}
	return pairs, stats
}

// sample is a recipe seen by both rewards.
type sample struct{ proxy, gold, length float64 }

// bestOf returns the expected proxy, gold and length of the sample of highest proxy among n drawn without putting
// back, exactly: sample k in ascending order of proxy is the best with chance C(k,n−1)/C(N,n).
func bestOf(sorted []sample, n int) sample {
	var mean sample
	chance := float64(n) / float64(len(sorted)) // of the last
	for k := len(sorted) - 1; k >= n-1; k-- {
		mean.proxy += chance * sorted[k].proxy
		mean.gold += chance * sorted[k].gold
		mean.length += chance * sorted[k].length
		chance *= float64(k-n+1) / float64(max(k, 1))
	}
	return mean
}

func TestGoldBendsUnderBestOfN(t *testing.T) {
	pairs, stats := compared(t, 6000, 1)
	fresh, _ := compared(t, 1000, 2)
	proxy := fit(pairs, 6, 0.05)
	t.Logf("labels right %.3f (expected %.3f); model agrees with labels: trained %.3f, fresh %.3f",
		stats.Accuracy, stats.Expected, agrees(proxy, pairs), agrees(proxy, fresh))

	rng := stream(3, "best of n")
	const prompts, perPrompt = 40, 2048
	all := Combinations()
	var curve [11]sample
	for range prompts {
		p := shuffled(all, rng)
		drawn := make([]sample, perPrompt)
		for k := range drawn {
			r := DefaultCook.Write(p, rng)
			drawn[k] = sample{proxy.score(p, r), GoldOf(p, r, 0), float64(len(r))}
		}
		slices.SortFunc(drawn, func(a, b sample) int { return cmp.Compare(a.proxy, b.proxy) })
		for e := range curve {
			s := bestOf(drawn, 1<<e)
			curve[e].proxy += s.proxy / prompts
			curve[e].gold += s.gold / prompts
			curve[e].length += s.length / prompts
		}
	}
	for e, s := range curve {
		n := float64(int(1) << e)
		t.Logf("best of %4.0f: KL %.2f  proxy %6.2f  gold %.3f  ingredients %.1f", n, math.Log(n)-(n-1)/n, s.proxy, s.gold, s.length)
		if e > 0 {
			assert.Greater(t, s.proxy, curve[e-1].proxy, "the proxy only rises")
		}
	}
	peak := 0.0
	for _, s := range curve {
		peak = max(peak, s.gold)
	}
	assert.Greater(t, peak, curve[0].gold+0.08, "gold rises clearly")
	assert.Less(t, curve[10].gold, peak-0.06, "and falls later")
}

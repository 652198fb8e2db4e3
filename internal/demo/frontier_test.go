package demo

// The rehearsal's second act: a reward model with a hidden layer, and instead of best-of-n what PPO with a KL
// penalty of β strives for, the cook tilted by exp(reward/β), sampled exactly enough by Metropolis and Hastings.

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

const (
	hidden   = 24
	features = NumIngredients + NumAdjectives + 1 // counts, adjectives, 1
)

// netReward is w2·relu(w1·features).
type netReward struct {
	w1 [features][hidden]float64
	w2 [hidden]float64
}

// rows lists the features that are on, as often as they count.
func rows(p Prompt, r Recipe) []int {
	on := append([]int{features - 1}, r...)
	for _, a := range p {
		on = append(on, NumIngredients+a)
	}
	return on
}

func (m *netReward) layer(on []int) (h [hidden]float64) {
	for _, f := range on {
		for j := range h {
			h[j] += m.w1[f][j]
		}
	}
	for j := range h {
		h[j] = max(0, h[j])
	}
	return h
}

func (m *netReward) score(p Prompt, r Recipe) float64 {
	s := 0.0
	for j, x := range m.layer(rows(p, r)) {
		s += m.w2[j] * x
	}
	return s
}

// nudge moves the weights by g times the gradient of the score.
func (m *netReward) nudge(p Prompt, r Recipe, g float64) {
	on := rows(p, r)
	h := m.layer(on)
	for j := range h {
		if h[j] == 0 {
			continue
		}
		for _, f := range on {
			m.w1[f][j] += g * m.w2[j]
		}
		m.w2[j] += g * h[j]
	}
}

func fitNet(pairs []comparison, epochs int, rate float64, rng *rand.Rand) *netReward {
	m := &netReward{}
	for j := range hidden {
		m.w2[j] = rng.NormFloat64() / math.Sqrt(hidden)
		for f := range features {
			m.w1[f][j] = rng.NormFloat64() / 4
		}
	}
	for e := range epochs {
		step := rate * (1 - float64(e)/float64(epochs))
		for _, k := range rng.Perm(len(pairs)) {
			c := pairs[k]
			g := step / (1 + math.Exp(m.score(c.prompt, c.chosen)-m.score(c.prompt, c.rejected)))
			m.nudge(c.prompt, c.chosen, g)
			m.nudge(c.prompt, c.rejected, -g)
		}
	}
	return m
}

// logProb is the log of the chance that the cook writes exactly r, except that all lengths of MaxIngredients and
// beyond are one in Write: here lingering just goes on, which changes nothing that the test can see.
func logProb(c Cook, want Taste, r Recipe) float64 {
	if len(r) < c.MinLength || len(r) > MaxIngredients {
		return math.Inf(-1)
	}
	length := 0.0
	for more := range min(c.Spread, len(r)-c.MinLength) + 1 {
		length += math.Pow(c.Linger, float64(len(r)-c.MinLength-more)) * (1 - c.Linger) / float64(c.Spread+1)
	}
	sum, usual := math.Log(length), c.Weights(want)
	for k, i := range r {
		chance := c.Next(want, usual, r[:k])
		sum += math.Log(chance[i])
	}
	return sum
}

// chain is a Metropolis–Hastings walk over recipes.
type chain struct {
	p     Prompt
	m     reward
	at    Recipe
	logp  float64
	score float64
}

func (c *chain) step(tilt float64, rng *rand.Rand) {
	r, correction := slices.Clone(c.at), 0.0 // log of the chance to propose back over the chance to propose
	pantry := float64(NumIngredients)
	switch rng.IntN(3) {
	case 0:
		r, correction = slices.Insert(r, rng.IntN(len(r)+1), rng.IntN(NumIngredients)), math.Log(pantry)
	case 1:
		at := rng.IntN(len(r))
		r, correction = slices.Delete(r, at, at+1), -math.Log(pantry)
	default:
		r[rng.IntN(len(r))] = rng.IntN(NumIngredients)
	}
	logp := logProb(DefaultCook, c.p.Want(), r)
	if math.IsInf(logp, -1) {
		return
	}
	score := c.m.score(c.p, r)
	if math.Log(rng.Float64()) < logp-c.logp+tilt*(score-c.score)+correction {
		c.at, c.logp, c.score = r, logp, score
	}
}

func TestGoldBendsOverKL(t *testing.T) {
	rng := stream(1, "frontier")
	pairs, _ := compared(t, 6000, 1)
	fresh, _ := compared(t, 1000, 2)
	m := fitNet(pairs, 5, 0.03, rng)
	t.Logf("model agrees with labels: trained %.3f, fresh %.3f", agrees(m, pairs), agrees(m, fresh))
	assert.Greater(t, agrees(m, fresh), 0.7, "a good reward model")

	tilts := []float64{0, 0.5, 1, 2, 3, 5, 8, 12} // 1/β
	curve := make([]sample, len(tilts))
	const prompts, burn, keep = 10, 250, 600
	for range prompts {
		p := shuffled(Combinations(), rng)
		c := &chain{p: p, m: m, at: DefaultCook.Write(p, rng)}
		c.logp, c.score = logProb(DefaultCook, p.Want(), c.at), m.score(p, c.at)
		for k, tilt := range tilts {
			for range burn {
				c.step(tilt, rng)
			}
			for range keep {
				c.step(tilt, rng)
				curve[k].proxy += c.score / prompts / keep
				curve[k].gold += GoldOf(p, c.at, 0) / prompts / keep
				curve[k].length += float64(len(c.at)) / prompts / keep
			}
		}
	}
	peak, logZ := 0.0, 0.0
	for k, s := range curve {
		if k > 0 { // d log Z / d tilt is the mean score
			logZ += (tilts[k] - tilts[k-1]) * (s.proxy + curve[k-1].proxy) / 2
		}
		t.Logf("β %5.3f: KL %5.1f  proxy %6.2f  gold %6.3f  ingredients %4.1f", 1/tilts[k], tilts[k]*s.proxy-logZ, s.proxy, s.gold, s.length)
		peak = max(peak, s.gold)
	}
	assert.Greater(t, peak, curve[0].gold+0.1, "gold rises clearly")
	assert.Less(t, curve[len(curve)-1].gold, curve[0].gold, "and ends below where it began")
}

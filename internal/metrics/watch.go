// Healthy ranges: when a metric leaves the range that a good run stays in, the user is told once what it
// usually means and what to try. The rules look at the metrics alone, never at the clock.

package metrics

import (
	"fmt"
	"math"
)

// Hint is an advice on one metric.
type Hint struct {
	Step  int
	Key   string  // metric name
	Value float64 // its value at that step
	Text  string  // what it means and what to try
}

// String returns "objective/kl = 31.2 at step 40: …".
func (h Hint) String() string {
	return fmt.Sprintf("%s = %.4g at step %d: %s", h.Key, h.Value, h.Step, h.Text)
}

// history is what a rule may look at.
type history struct {
	value float64 // newest
	count int     // values so far, newest included
	start float64 // mean of the first `settle` values
	level float64 // moving average that forgets with a time constant of ten values
}

// settle is how many values make up a metric's start; rules on trends wait for twice as many.
const settle = 5

func (h *history) add(v float64) {
	h.value = v
	h.count++
	if h.count <= settle {
		h.start += (v - h.start) / float64(h.count)
		h.level = h.start
		return
	}
	h.level += (v - h.level) / 10
}

// now is the history as if the metric had always been what it is: a rule must hold here too, or the hint would name
// a value that is healthy again.
func (h *history) now() *history {
	at := *h
	at.level = at.value
	return &at
}

// trend reports whether enough values were seen to speak of a trend.
func (h *history) trend() bool { return h.count >= 2*settle }

// rule is one healthy range; bad tells that it was left.
type rule struct {
	key  string
	bad  func(h *history) bool
	text string
}

// anyKey marks the rule that holds for every metric.
const anyKey = ""

var rules = []rule{
	{anyKey, func(h *history) bool { return nonFinite(h.value) != "" },
		"not a finite number; lower the learning rate, use float32, or look at the batch of this step"},
	{"objective/kl", func(h *history) bool { return h.trend() && h.level > 20 && h.level > 3*math.Abs(h.start) },
		"the policy is far from its reference and may be gaming the reward; read samples, raise the KL coefficient or lower the learning rate"},
	{"objective/kl", func(h *history) bool { return h.trend() && h.level < -1 },
		"KL cannot stay negative; completions were not sampled from the policy that scores them (temperature, top-p, padding)"},
	{"policy/approxkl_avg", func(h *history) bool { return h.level > 0.1 },
		"one batch moves the policy far; lower the learning rate or the number of PPO epochs"},
	{"policy/clipfrac_avg", func(h *history) bool { return h.level > 0.5 },
		"most tokens hit the clip range, so most of the gradient is lost; lower the learning rate or the number of PPO epochs"},
	{"policy/entropy_avg", func(h *history) bool { return h.trend() && h.level < 0.2*h.start },
		"entropy collapse: the policy repeats a few answers; raise the KL coefficient or stop at an earlier checkpoint"},
	{"val/ratio", func(h *history) bool { return h.trend() && math.Abs(h.level-1) > 0.2 },
		"mean probability ratio far from 1; the update is too large for its clip range"},
	{"val/explained_var", func(h *history) bool { return h.count >= 20 && h.level < 0 },
		"the critic is worse than a constant; give it warm-up steps or a higher learning rate"},
	{"completions/clipped_ratio", func(h *history) bool { return h.trend() && h.level > 0.9 },
		"nearly no completion ends by itself; check that the SFT data teach the stop token, or allow longer completions"},
	{"frac_reward_zero_std", func(h *history) bool { return h.trend() && h.level > 0.8 },
		"nearly all groups score alike and teach nothing; raise the temperature or take harder prompts"},
	{"reward_length_corr", func(h *history) bool { return h.trend() && h.level > 0.8 },
		"the reward follows the length; compare with a length-controlled win rate before trusting it"},
	{"rollout/logp_diff_max", func(h *history) bool { return h.value > 0.5 },
		"sampling and training disagree on log-probabilities; use float32 or report a bug"},
	{"rewards/accuracies", func(h *history) bool { return h.count >= 50 && h.level < 0.5 },
		"chosen answers do not win after 50 steps; check that chosen and rejected are not swapped"},
	{"accuracy", func(h *history) bool { return h.count >= 50 && h.level < 0.5 },
		"the reward model is no better than a coin after 50 steps; raise the learning rate if the loss stays at 0.69, else check that chosen and rejected are not swapped"},
	{"grad_norm", func(h *history) bool { return h.trend() && h.level > 100 && h.level > 20*h.start },
		"gradients grow; lower the learning rate or lengthen the warm-up"},
}

// Watch applies the healthy ranges. The zero value is ready for use; it is not safe for concurrent use.
type Watch struct {
	seen  map[string]*history
	fired map[int]bool // by rule
	given []Hint
}

// Check looks at one row and returns the hints that it gives rise to: each rule speaks once a run.
func (w *Watch) Check(step int, scalars map[string]float64) []Hint {
	if w.seen == nil {
		w.seen, w.fired = map[string]*history{}, map[int]bool{}
	}
	var hints []Hint
	for _, key := range sortedKeys(scalars) {
		h := w.seen[key]
		if h == nil {
			h = &history{}
			w.seen[key] = h
		}
		h.add(scalars[key])
		for i, r := range rules {
			if (r.key == key || r.key == anyKey) && !w.fired[i] && r.bad(h) && r.bad(h.now()) {
				w.fired[i] = true
				hints = append(hints, Hint{Step: step, Key: key, Value: h.value, Text: r.text})
			}
		}
	}
	w.given = append(w.given, hints...)
	return hints
}

// Hints returns all hints so far, for the report.
func (w *Watch) Hints() []Hint { return w.given }

package trainers

// Rewards per token, advantages and the KL controller: plain arithmetic in float64, one sequence at a time.

import (
	"fmt"
	"math"
)

// KLPenalty returns the estimate of KL(π‖reference) per token from the log-probabilities of sampled tokens.
// With d = log π - log ref: k1 = d is unbiased and may be negative, k2 = d²/2 is biased with low variance,
// k3 = e^-d - 1 + d is unbiased and never negative (Schulman, "Approximating KL divergence").
func KLPenalty(estimator string, logp, ref []float64) ([]float64, error) {
	f, ok := klEstimators[estimator]
	if !ok {
		return nil, fmt.Errorf("KL estimator %q is not one of k1, k2, k3", estimator)
	}
	k := make([]float64, len(logp))
	for t := range logp {
		k[t] = f(logp[t] - ref[t])
	}
	return k, nil
}

var klEstimators = map[string]func(d float64) float64{
	"k1": func(d float64) float64 { return d },
	"k2": func(d float64) float64 { return d * d / 2 },
	"k3": func(d float64) float64 {
		d = math.Max(-maxLogRatio, math.Min(maxLogRatio, d))
		return math.Expm1(-d) + d
	},
}

// TokenRewards is R_t = -β k_t, plus the score at the last token, or with afterEOS one place after it (the "N+"
// form of summarize_from_feedback): then the result has one element more than kl. Without it kl must not be
// empty.
func TokenRewards(kl []float64, beta, score float64, afterEOS bool) []float64 {
	r := make([]float64, len(kl), len(kl)+1)
	for t, k := range kl {
		r[t] = -beta * k
	}
	if afterEOS {
		return append(r, score)
	}
	r[len(r)-1] += score
	return r
}

// GAE returns generalised advantages and returns: δ_t = R_t + γV_{t+1} - V_t, Â_t = δ_t + γλÂ_{t+1}, with V after
// the end 0, and ret_t = Â_t + V_t (Schulman et al., arXiv 1506.02438, eq. 16).
func GAE(rewards, values []float64, gamma, lambda float64) (adv, ret []float64) {
	n := len(rewards)
	adv, ret = make([]float64, n), make([]float64, n)
	var next, nextValue float64
	for t := n - 1; t >= 0; t-- {
		delta := rewards[t] + gamma*nextValue - values[t]
		next = delta + gamma*lambda*next
		nextValue = values[t]
		adv[t] = next
		ret[t] = next + values[t]
	}
	return adv, ret
}

// Whiten scales all values of all rows in place to unit variance (the population's, plus 1e-8), and to mean 0 if
// shift is set; else the mean is kept.
func Whiten(rows [][]float64, shift bool) {
	mean, variance := moments(rows)
	scale := 1 / math.Sqrt(variance+1e-8)
	for _, row := range rows {
		for t := range row {
			row[t] = (row[t] - mean) * scale
			if !shift {
				row[t] += mean
			}
		}
	}
}

// moments returns the mean and the population variance of all values.
func moments(rows [][]float64) (mean, variance float64) {
	n := 0
	for _, row := range rows {
		for _, v := range row {
			mean += v
			n++
		}
	}
	if n == 0 {
		return 0, 0
	}
	mean /= float64(n)
	for _, row := range rows {
		for _, v := range row {
			variance += (v - mean) * (v - mean)
		}
	}
	return mean, variance / float64(n)
}

// KLController holds the coefficient β of the KL penalty, fixed or adapted to a target (Ziegler et al., arXiv
// 1909.08593, section 2.2).
type KLController struct {
	Beta    float64 `json:"beta"`
	target  float64 // 0: fixed
	horizon float64
}

// NewKLController makes a controller; target 0 keeps β fixed.
func NewKLController(beta, target, horizon float64) *KLController {
	return &KLController{Beta: beta, target: target, horizon: horizon}
}

// Update moves β after a batch of n sequences whose mean sequence KL (the sum of k1 over tokens) was kl:
// e = clip(kl/target - 1, ±0.2), β ← β(1 + e·n/horizon).
func (c *KLController) Update(kl float64, n int) {
	if c.target == 0 {
		return
	}
	e := math.Max(-0.2, math.Min(0.2, kl/c.target-1))
	c.Beta *= 1 + e*float64(n)/c.horizon
}

// ScoreNorm is the affine map score ← gain·r + bias that gives scores a wanted mean and spread.
type ScoreNorm struct {
	Gain float64 `json:"gain"`
	Bias float64 `json:"bias"`
}

// FitScoreNorm maps scores of mean mu and standard deviation sigma to mean 0 and deviation 1:
// gain = 1/sigma, bias = -gain·mu. A spread of zero is an error: such a reward model says nothing.
func FitScoreNorm(scores []float64, wantMean, wantStd float64) (ScoreNorm, error) {
	mean, variance := moments([][]float64{scores})
	largest := 0.0
	for _, r := range scores {
		largest = math.Max(largest, math.Abs(r))
	}
	if !isFinite(variance) || math.Sqrt(variance) <= 1e-6*largest { // equal scores may differ in the last bits
		return ScoreNorm{}, fmt.Errorf("the reward model gives all %d samples the same score %g; train it longer or choose another", len(scores), mean)
	}
	gain := wantStd / math.Sqrt(variance)
	return ScoreNorm{Gain: gain, Bias: wantMean - gain*mean}, nil
}

// Apply maps a score.
func (s ScoreNorm) Apply(r float64) float64 { return s.Gain*r + s.Bias }

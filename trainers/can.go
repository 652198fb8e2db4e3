package trainers

// One-shot safety alignment (Huang et al., arXiv 2405.19544): maximise E[r] - β·KL(π‖π_ref) under E[g] ≥ b̄. The dual of
// this problem is one convex function of one number λ, an average over stored completions of the reference; its minimum
// λ* is found before anything is trained, and one alignment to r + λ*·g follows. All of it is plain arithmetic.

import (
	"math"

	"salsa/internal/fault"
	"salsa/tensor"
)

// DualSamples are the scores of one prompt's completions, all drawn from the reference at temperature 1.
type DualSamples struct {
	Reward []float64 // r, one per completion
	Safety []float64 // g, one per completion, the higher the safer
}

// Dual is D(λ) = β·E_x log E_{y~ref} exp((r + λ(g - b̄))/β), both means over stored samples (eq. 6 of the paper). For
// PeCAN r and g are the log-ratios s_r = log π_r/π_ref and s_g of two aligned models, β is 1 and b̄ is
// b/β - KL(π_ref‖π_g), see LogRatioTarget.
type Dual struct {
	Prompts []DualSamples // at least one, each with at least one completion
	Beta    float64       // > 0
	Target  float64       // b̄, the least mean safety
}

// DualPoint is all that is known of the optimum π_λ(y) ∝ π_ref(y)·exp((r + λg)/β) at one λ. Reward, Safety and KL are
// predictions: expectations under π_λ by reweighting the reference's samples.
type DualPoint struct {
	Lambda    float64 `json:"lambda"`
	Value     float64 `json:"dual"`             // D(λ)
	Slope     float64 `json:"slope"`            // D'(λ) = E_λ[g] - b̄
	Curvature float64 `json:"curvature"`        // D''(λ) = E_x Var_λ[g]/β
	Reward    float64 `json:"reward"`           // E_λ[r]
	Safety    float64 `json:"safety"`           // E_λ[g]
	KL        float64 `json:"kl"`               // KL(π_λ‖π_ref); the log of the samples per prompt bounds it
	Effective float64 `json:"effective_sample"` // mean over prompts of 1/Σw²: how many samples carry the weight
}

// Check refuses duals that no minimum can be found for: no samples, sides of unequal length, numbers that are not finite.
func (d *Dual) Check() error {
	if len(d.Prompts) == 0 {
		return fault.Inputf("the dual has no samples; give at least one prompt")
	}
	if !(d.Beta > 0) || math.IsInf(d.Beta, 0) {
		return fault.Inputf("beta %g: the penalty on the KL must be positive; 0.1 is usual", d.Beta)
	}
	if !isFinite(d.Target) {
		return fault.Inputf("safety target %g is not a number; give a finite one", d.Target)
	}
	for i, p := range d.Prompts {
		if len(p.Reward) == 0 || len(p.Reward) != len(p.Safety) {
			return fault.Inputf("prompt %d has %d rewards and %d safety scores; give one of each per completion, at least one", i+1, len(p.Reward), len(p.Safety))
		}
		for j := range p.Reward {
			if !isFinite(p.Reward[j]) || !isFinite(p.Safety[j]) {
				return fault.Inputf("prompt %d, completion %d: reward %g and safety %g; both must be finite", i+1, j+1, p.Reward[j], p.Safety[j])
			}
		}
	}
	return nil
}

// weighed is one prompt's share of a DualPoint: moments under its weights.
type weighed struct{ logMean, reward, safety, variance, effective float64 }

// weigh fills w with the softmax of (r + λg)/β over the prompt's samples and returns the moments under it.
func (s *DualSamples) weigh(lambda, beta float64, w []float64) weighed {
	top := math.Inf(-1)
	for i := range w {
		w[i] = (s.Reward[i] + lambda*s.Safety[i]) / beta
		top = max(top, w[i])
	}
	total, squares := 0.0, 0.0
	for i := range w {
		w[i] = math.Exp(w[i] - top)
		total += w[i]
	}
	m := weighed{logMean: top + math.Log(total/float64(len(w)))}
	for i := range w {
		w[i] /= total
		m.reward += w[i] * s.Reward[i]
		m.safety += w[i] * s.Safety[i]
		squares += w[i] * w[i]
	}
	for i := range w {
		gap := s.Safety[i] - m.safety
		m.variance += w[i] * gap * gap
	}
	m.effective = 1 / squares
	return m
}

// At returns D, its derivatives and what π_λ is predicted to reach. A log-sum-exp keeps it exact for scores of any size.
func (d *Dual) At(lambda float64) DualPoint {
	p, n := DualPoint{Lambda: lambda}, float64(len(d.Prompts))
	var w []float64
	for i := range d.Prompts {
		s := &d.Prompts[i]
		if cap(w) < len(s.Reward) {
			w = make([]float64, len(s.Reward))
		}
		m := s.weigh(lambda, d.Beta, w[:len(s.Reward)])
		p.Value += d.Beta * m.logMean / n
		p.Curvature += m.variance / d.Beta / n
		p.Reward += m.reward / n
		p.Safety += m.safety / n
		p.KL += ((m.reward+lambda*m.safety)/d.Beta - m.logMean) / n
		p.Effective += m.effective / n
	}
	p.Value -= lambda * d.Target
	p.Slope = p.Safety - d.Target
	return p
}

// Expected returns E_λ[r] and E_λ[g] of every prompt: what an interval over prompts is made of.
func (d *Dual) Expected(lambda float64) (reward, safety []float64) {
	for i := range d.Prompts {
		s := &d.Prompts[i]
		m := s.weigh(lambda, d.Beta, make([]float64, len(s.Reward)))
		reward, safety = append(reward, m.reward), append(safety, m.safety)
	}
	return reward, safety
}

// Reach is the mean over prompts of the safest sample: no λ predicts more, and none finite predicts as much.
func (d *Dual) Reach() float64 {
	sum := 0.0
	for i := range d.Prompts {
		best := math.Inf(-1)
		for _, g := range d.Prompts[i].Safety {
			best = max(best, g)
		}
		sum += best
	}
	return sum / float64(len(d.Prompts))
}

// ReferenceSafety is E_ref[g], the mean over prompts of the samples' mean safety.
func (d *Dual) ReferenceSafety() float64 {
	sum := 0.0
	for i := range d.Prompts {
		sum += meanOf(d.Prompts[i].Safety)
	}
	return sum / float64(len(d.Prompts))
}

func meanOf(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}

// maxLambda is where the search for λ* ends: weights have long collapsed onto the safest sample.
const maxLambda = 1e12

// Solve returns λ*, the minimum of D over λ ≥ 0. D' rises monotonically, so its root is bracketed and cannot be missed
// or overshot: descent with a step above 2/D"(λ) and Newton's method both cycle here. A constraint that already holds at
// λ = 0 gives 0. A target that the samples cannot reach is an input error that names the largest reachable value.
func (d *Dual) Solve() (float64, error) {
	if err := d.Check(); err != nil {
		return 0, err
	}
	if d.At(0).Slope >= 0 {
		return 0, nil
	}
	reach := d.Reach()
	low, high := 0.0, 1.0
	for d.At(high).Slope < 0 {
		if low, high = high, 2*high; high > maxLambda || d.Target >= reach {
			return 0, fault.Inputf("safety %.6g cannot be reached: choosing the safest of each prompt's stored samples gives %.6g; lower the bound below that, or draw more samples", d.Target, reach)
		}
	}
	return d.root(low, high), nil
}

// root finds D' = 0 in [low, high], at whose ends D' is below 0 and not below 0: Newton's steps where they stay inside
// the bracket and halve it at least, bisection elsewhere.
func (d *Dual) root(low, high float64) float64 {
	x, width := (low+high)/2, high-low
	for range 200 {
		p := d.At(x)
		if p.Slope < 0 {
			low = x
		} else {
			high = x
		}
		if p.Slope == 0 || high-low <= 1e-13*(1+high) {
			break
		}
		next := x - p.Slope/p.Curvature
		if !(next > low && next < high) || math.Abs(next-x) > width/2 {
			next = (low + high) / 2
		}
		if width = math.Abs(next - x); width <= 1e-15*(1+high) {
			break
		}
		x = next
	}
	return x
}

// LogRatioTarget is the b̄ of PeCAN's dual: b/β - KL(π_ref‖π_g), with the KL estimated by the mean of -s_g over the
// reference's samples (eq. 9 of the paper). kl may come out negative when there are few samples.
func LogRatioTarget(prompts []DualSamples, bound, beta float64) (target, kl float64) {
	d := Dual{Prompts: prompts}
	kl = -d.ReferenceSafety()
	return bound/beta - kl, kl
}

// PseudoPreference is P(y_1 ≻ y_0) = σ((r_1 - r_0) + λ(g_1 - g_0)), the label of a pair for the one alignment that
// follows the dual. The scores are not divided by β: the alignment's own β does that.
func PseudoPreference(lambda, reward0, safety0, reward1, safety1 float64) float64 {
	return 1 / (1 + math.Exp((reward0-reward1)+lambda*(safety0-safety1)))
}

// PseudoPair is a labelled pair of one prompt's completions.
type PseudoPair struct{ Chosen, Rejected int }

// PseudoPairs pairs a prompt's completions in the order of their sampling, first with second and so on, at most limit
// pairs, and labels each with a Bernoulli draw of PseudoPreference. Pairs for which same is true say nothing and are
// left out. The draws are a function of seed, prompt and pair, so no pair depends on another.
func (s *DualSamples) PseudoPairs(lambda float64, limit int, seed uint64, prompt int, same func(i, j int) bool) []PseudoPair {
	var out []PseudoPair
	for i := 0; i+1 < len(s.Reward) && len(out) < limit; i += 2 {
		if same(i, i+1) {
			continue
		}
		p := PseudoPreference(lambda, s.Reward[i], s.Safety[i], s.Reward[i+1], s.Safety[i+1])
		pair := PseudoPair{Chosen: i, Rejected: i + 1}
		if tensor.NewRNG(tensor.Mix(seed, uint64(prompt)), uint64(i)).Float64() < p {
			pair = PseudoPair{Chosen: i + 1, Rejected: i}
		}
		out = append(out, pair)
	}
	return out
}

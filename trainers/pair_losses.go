package trainers

// The pairwise losses: each a pure function of the summed log-probabilities of a pair's two completions under the
// policy and the reference. A new one is a function here, a line of the table and a row of worked numbers in the test.
//
// Letters: a(y) = log π(y|x) - log π_ref(y|x) is a completion's log-ratio, h = a(y_w) - a(y_l) the pair's, w the chosen
// and l the rejected completion.

import (
	"maps"
	"slices"

	"salsa/tensor"
)

// Pair is what one model says of a batch of pairs. Sums run over all target tokens, EOS included.
type Pair struct {
	Chosen, Rejected       tensor.Tensor // [B] Σ_t log π(y_t|x,y_<t)
	ChosenLen, RejectedLen tensor.Tensor // [B] number of target tokens, same dtype

	// MeanChosenLen is the mean of ChosenLen over the whole optimizer step, not just this micro-batch: a token mean of
	// -log π(y_w) over the step is the pair mean of -log π(y_w) / MeanChosenLen.
	MeanChosenLen float64
}

// PairSettings are the numbers that losses depend on.
type PairSettings struct {
	Beta           float64 `yaml:"beta" help:"strength β of the pull to the reference; τ of ipo"`
	LabelSmoothing float64 `yaml:"label_smoothing" help:"cdpo, robust: share ε of the pairs whose labels are taken to be swapped"`
	Alpha          float64 `yaml:"alpha" help:"alpha: order of the divergence, between 0 (sigmoid) and 1 (forward_kl)"`
	Gamma          float64 `yaml:"gamma" help:"hinge, hinge_norm, sigmoid_norm: scale γ; simpo: margin γ; negative: the paper's"`
	Eta            float64 `yaml:"eta" help:"rpo, rpo_mean: weight η of the imitation of the chosen completion"`
	Delta          float64 `yaml:"delta" help:"slic: margin δ of the log-probabilities"`
	Lambda         float64 `yaml:"lambda" help:"slic, cpo: weight λ of the imitation of the chosen completion; negative: the loss's own"`
}

// PairLoss gives the loss of each pair, [B]; the step's loss is their mean. ref is empty for reference-free losses.
type PairLoss func(pi, ref Pair, s PairSettings) tensor.Tensor

// pairMethod is a line of the table of losses.
type pairMethod struct {
	loss          PairLoss
	free          bool    // reads no reference
	mean          bool    // compares means over tokens, not sums
	uses          string  // the keys it reads beside beta, separated by blanks
	gamma, lambda float64 // the paper's values, where the loss reads them
}

// pairMethods maps the names of --loss to what they stand for.
var pairMethods = map[string]pairMethod{
	"sigmoid":      {loss: SigmoidLoss},
	"sigmoid_mean": {loss: SigmoidMeanLoss, mean: true},
	"cdpo":         {loss: ConservativeLoss, uses: "label_smoothing"},
	"robust":       {loss: RobustLoss, uses: "label_smoothing"},
	"ipo":          {loss: IPOLoss},
	"ipo_mean":     {loss: IPOMeanLoss, mean: true},
	"hinge":        {loss: HingeLoss, free: true, uses: "gamma", gamma: 0.05},
	"hinge_norm":   {loss: HingeNormLoss, uses: "gamma", gamma: 0.05},
	"sigmoid_norm": {loss: SigmoidNormLoss, uses: "gamma", gamma: 0.05},
	"forward_kl":   {loss: ForwardKLLoss},
	"js":           {loss: JSLoss},
	"alpha":        {loss: AlphaLoss, uses: "alpha"},
	"rpo":          {loss: RPOLoss, uses: "eta"},
	"rpo_mean":     {loss: RPOMeanLoss, uses: "eta"},
	"slic":         {loss: SLiCLoss, free: true, uses: "delta lambda"},
	"cpo":          {loss: CPOLoss, free: true, uses: "lambda", lambda: 1},
	"simpo":        {loss: SimPOLoss, free: true, mean: true, uses: "gamma", gamma: 0.5},
}

// PairLossNames lists the values of --loss in alphabetical order.
func PairLossNames() []string { return slices.Sorted(maps.Keys(pairMethods)) }

// maxExponent bounds what is exponentiated: e^80 and its product with any β in use are finite in fp32.
const maxExponent = 80

// logRatios returns a(y_w) and a(y_l), [B] each.
func logRatios(pi, ref Pair) (w, l tensor.Tensor) {
	return pi.Chosen.Sub(ref.Chosen), pi.Rejected.Sub(ref.Rejected)
}

// logRatio returns h = a(y_w) - a(y_l), [B].
func logRatio(pi, ref Pair) tensor.Tensor {
	w, l := logRatios(pi, ref)
	return w.Sub(l)
}

// meanLogRatio returns h with each side's log-ratio divided by its tokens, [B].
func meanLogRatio(pi, ref Pair) tensor.Tensor {
	w, l := logRatios(pi, ref)
	return w.Div(pi.ChosenLen).Sub(l.Div(pi.RejectedLen))
}

// logistic is -log σ(z) = softplus(-z).
func logistic(z tensor.Tensor) tensor.Tensor { return z.LogSigmoid().Neg() }

// hinge is max(0, z).
func hinge(z tensor.Tensor) tensor.Tensor { return z.Relu() }

// tokenNLL is each pair's share of the mean of -log π over the chosen tokens of the whole step.
func tokenNLL(pi Pair) tensor.Tensor { return pi.Chosen.DivScalar(-pi.MeanChosenLen) }

// SigmoidLoss is DPO, -log σ(βh) (Rafailov et al., arXiv 2305.18290, eq. 7).
func SigmoidLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	return logistic(logRatio(pi, ref).MulScalar(s.Beta))
}

// SigmoidMeanLoss is length-normalised DPO: h of per-token means (Lambert et al., Tülu 3, arXiv 2411.15124).
// TRL calls it sigmoid_norm, which here is RSO's.
func SigmoidMeanLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	return logistic(meanLogRatio(pi, ref).MulScalar(s.Beta))
}

// ConservativeLoss is cDPO, -(1-ε) log σ(βh) - ε log σ(-βh): labels are swapped with probability ε (Mitchell,
// "A note on DPO with noisy preferences", 2023).
func ConservativeLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	z := logRatio(pi, ref).MulScalar(s.Beta)
	return logistic(z).MulScalar(1 - s.LabelSmoothing).Add(logistic(z.Neg()).MulScalar(s.LabelSmoothing))
}

// RobustLoss is rDPO, [-(1-ε) log σ(βh) + ε log σ(-βh)] / (1-2ε): DPO's loss without the bias of swapped labels
// (Chowdhury et al., arXiv 2403.00409).
func RobustLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	z := logRatio(pi, ref).MulScalar(s.Beta)
	biased := logistic(z).MulScalar(1 - s.LabelSmoothing).Sub(logistic(z.Neg()).MulScalar(s.LabelSmoothing))
	return biased.DivScalar(1 - 2*s.LabelSmoothing)
}

// IPOLoss is (h - 1/(2β))² of summed log-probabilities (Azar et al., arXiv 2310.12036, eq. 17; β is its τ).
func IPOLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	return logRatio(pi, ref).AddScalar(-1 / (2 * s.Beta)).Square()
}

// IPOMeanLoss is IPOLoss of per-token means, as the authors confirmed to TRL that they had used.
func IPOMeanLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	return meanLogRatio(pi, ref).AddScalar(-1 / (2 * s.Beta)).Square()
}

// HingeLoss is max(0, 1 - γ(log π(y_w) - log π(y_l))), without a reference (Liu et al., RSO, arXiv 2309.06657).
func HingeLoss(pi, _ Pair, s PairSettings) tensor.Tensor {
	return hinge(pi.Chosen.Sub(pi.Rejected).MulScalar(-s.Gamma).AddScalar(1))
}

// HingeNormLoss is max(0, 1 - γh) (RSO, arXiv 2309.06657).
func HingeNormLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	return hinge(logRatio(pi, ref).MulScalar(-s.Gamma).AddScalar(1))
}

// SigmoidNormLoss is -log σ(γh): DPO's loss, its scale apart from the sampler's β (RSO, arXiv 2309.06657).
func SigmoidNormLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	return logistic(logRatio(pi, ref).MulScalar(s.Gamma))
}

// ForwardKLLoss is f-DPO for the forward KL: f'(u) = -1/u, so -log σ(β(e^{-a(y_l)} - e^{-a(y_w)})) (Wang et al., arXiv
// 2309.16240).
func ForwardKLLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	s.Alpha = 1
	return AlphaLoss(pi, ref, s)
}

// JSLoss is f-DPO for the Jensen–Shannon divergence: f'(u) = log(2u/(1+u)) = log 2 + log σ(a), and the constant cancels
// (Wang et al., arXiv 2309.16240).
func JSLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	w, l := logRatios(pi, ref)
	return logistic(w.LogSigmoid().Sub(l.LogSigmoid()).MulScalar(s.Beta))
}

// AlphaLoss is f-DPO for the α-divergence: f'(u) = (1-u^{-α})/α = -expm1(-αa)/α (Wang et al., arXiv 2309.16240;
// TRL's coefficient is 1-α). Beyond e^80 the score saturates, where fp32 would overflow.
func AlphaLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	w, l := logRatios(pi, ref)
	score := func(a tensor.Tensor) tensor.Tensor {
		return a.MulScalar(-s.Alpha).ClampMax(maxExponent).Expm1().DivScalar(-s.Alpha)
	}
	return logistic(score(w).Sub(score(l)).MulScalar(s.Beta))
}

// RPOLoss is -log σ(βh) - ηβ log π(y_w), log π summed (Liu et al., arXiv 2405.16436, eq. 4.8).
func RPOLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	return SigmoidLoss(pi, ref, s).Sub(pi.Chosen.MulScalar(s.Eta * s.Beta))
}

// RPOMeanLoss is DPO's loss plus η times the step's mean of -log π over chosen tokens: TRL's rpo_alpha, whose scale has
// nothing to do with RPOLoss's.
func RPOMeanLoss(pi, ref Pair, s PairSettings) tensor.Tensor {
	return SigmoidLoss(pi, ref, s).Add(tokenNLL(pi).MulScalar(s.Eta))
}

// SLiCLoss is max(0, δ - log π(y_w) + log π(y_l)) - λ log π(y_w), the chosen completion in the place of the SFT target
// (Zhao et al., SLiC-HF, arXiv 2305.10425).
func SLiCLoss(pi, _ Pair, s PairSettings) tensor.Tensor {
	return hinge(pi.Rejected.Sub(pi.Chosen).AddScalar(s.Delta)).Sub(pi.Chosen.MulScalar(s.Lambda))
}

// CPOLoss is -log σ(β(log π(y_w) - log π(y_l))) plus λ times the step's mean of -log π over chosen tokens (Xu et al.,
// arXiv 2401.08417).
func CPOLoss(pi, _ Pair, s PairSettings) tensor.Tensor {
	return logistic(pi.Chosen.Sub(pi.Rejected).MulScalar(s.Beta)).Add(tokenNLL(pi).MulScalar(s.Lambda))
}

// SimPOLoss is -log σ(β·Δ - γ), Δ the difference of the per-token means of log π (Meng et al., arXiv 2405.14734, eq. 6).
func SimPOLoss(pi, _ Pair, s PairSettings) tensor.Tensor {
	delta := pi.Chosen.Div(pi.ChosenLen).Sub(pi.Rejected.Div(pi.RejectedLen))
	return logistic(delta.MulScalar(s.Beta).AddScalar(-s.Gamma))
}

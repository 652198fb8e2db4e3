package trainers

// PPO's arithmetic against ppo.golden.json: float64 and autograd in PyTorch, through the functions that train.

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/tensor"
)

// goldenPPO is one case of ppo.golden.json.
type goldenPPO struct {
	Options struct {
		KL               string
		KLCoef           float64 `json:"kl_coef"`
		Gamma, Lam       float64
		ScoreAt          string  `json:"score_at"`
		MissingEOS       string  `json:"missing_eos"`
		MissingEOSValue  float64 `json:"missing_eos_value"`
		WhitenRewards    bool    `json:"whiten_rewards"`
		WhitenAdvantages bool    `json:"whiten_advantages"`
		ClipRange        float64
		ClipRangeValue   float64 `json:"cliprange_value"`
		VFCoef           float64 `json:"vf_coef"`
	}
	Input struct {
		Lengths               []int
		Width                 int
		Ended                 []bool
		Scores                []float64
		Old, Ref, New, Values [][]float64
		NewValues             [][]float64 `json:"new_values"`
	}
	Expect struct {
		KL, Rewards, Returns, Advantages [][]float64
		Raw                              [][]float64 `json:"advantages_raw"`
		KLSum                            []float64   `json:"kl_sum"`
		PolicyLoss                       float64     `json:"policy_loss"`
		ValueLoss                        float64     `json:"value_loss"`
		Loss                             float64
		PolicyClipfrac                   float64 `json:"policy_clipfrac"`
		ValueClipfrac                    float64 `json:"value_clipfrac"`
		ApproxKL                         float64
		RatioMean                        float64     `json:"ratio_mean"`
		GradLogProbs                     [][]float64 `json:"grad_logprobs"`
		GradValues                       [][]float64 `json:"grad_values"`
	}
}

func (g goldenPPO) options() PPOOptions {
	o := DefaultPPO()
	in := g.Options
	o.KLEstimator, o.KLCoef, o.Gamma, o.Lambda = in.KL, in.KLCoef, in.Gamma, in.Lam
	o.ScoreAt = map[string]string{"eos": "eos", "eos+1": "after_eos"}[in.ScoreAt]
	o.MissingEOS, o.MissingPenalty = in.MissingEOS, in.MissingEOSValue
	if in.MissingEOS == "replace" {
		o.MissingPenalty = -in.MissingEOSValue // the golden value is the new score
	}
	o.WhitenRewards, o.WhitenAdv = in.WhitenRewards, in.WhitenAdvantages
	o.ClipRange, o.ClipRangeValue, o.VFCoef = in.ClipRange, in.ClipRangeValue, in.VFCoef
	o.MaxNewTokens = g.Input.Width
	return o
}

// samples builds what a rollout would have left.
func (g goldenPPO) samples(o PPOOptions) []Sample {
	out := make([]Sample, len(g.Input.Lengths))
	for i, n := range g.Input.Lengths {
		out[i] = Sample{
			Completion: make([]int, n), Ended: g.Input.Ended[i], Raw: g.Input.Scores[i],
			LogProbs: g.Input.Old[i], RefLogProbs: g.Input.Ref[i], Values: g.Input.Values[i],
		}
		out[i].Score = o.finalScore(out[i].Raw, nil, out[i].Ended)
	}
	return out
}

func column(samples []Sample, of func(*Sample) []float64) [][]float64 {
	out := make([][]float64, len(samples))
	for i := range samples {
		out[i] = of(&samples[i])
	}
	return out
}

func eachPPOCase(t *testing.T, fn func(t *testing.T, g goldenPPO)) {
	var cases map[string]json.RawMessage
	readJSON(t, "testdata/ppo.golden.json", &cases)
	delete(cases, "versions")
	require.Len(t, cases, 12)
	for name, raw := range cases {
		t.Run(name, func(t *testing.T) {
			var g goldenPPO
			require.NoError(t, json.Unmarshal(raw, &g))
			fn(t, g)
		})
	}
}

func TestGoldenAdvantages(t *testing.T) {
	eachPPOCase(t, func(t *testing.T, g goldenPPO) {
		o := g.options()
		o.WhitenAdv = false
		samples := g.samples(o)
		require.NoError(t, advantagesOf(samples, o, o.KLCoef))
		for i, s := range samples {
			assert.InDelta(t, g.Expect.KLSum[i], sum(s.KL), 1e-7)
		}
		nearRows(t, g.Expect.KL, column(samples, func(s *Sample) []float64 { return s.KL }), 1e-7, "kl")
		nearRows(t, g.Expect.Rewards, column(samples, func(s *Sample) []float64 { return s.Rewards }), 1e-7, "rewards")
		nearRows(t, g.Expect.Raw, column(samples, func(s *Sample) []float64 { return s.Advantages }), 1e-7, "raw advantages")
		nearRows(t, g.Expect.Returns, column(samples, func(s *Sample) []float64 { return s.Returns }), 1e-7, "returns")

		samples = g.samples(g.options())
		require.NoError(t, advantagesOf(samples, g.options(), o.KLCoef))
		nearRows(t, g.Expect.Advantages, column(samples, func(s *Sample) []float64 { return s.Advantages[:len(s.Completion)] }), 1e-7, "advantages")
		nearRows(t, g.Expect.Returns, column(samples, func(s *Sample) []float64 { return s.Returns }), 1e-7, "returns")
	})
}

func TestGoldenLosses(t *testing.T) {
	eachPPOCase(t, func(t *testing.T, g goldenPPO) {
		run(t, func() {
			o, x := g.options(), g.Expect
			now, old := flat(g.Input.New...).RequireGrad(true), flat(g.Input.Old...)
			pg, ratio, clipped := ClippedPolicy(now, old, flat(x.Advantages...), o.ClipRange)
			values := flat(g.Input.NewValues...).RequireGrad(true)
			vf, valueClipped := ClippedValue(values, flat(g.Input.Values...), flat(x.Returns...), o.ClipRangeValue)
			loss := pg.Mean().Add(vf.Mean().MulScalar(o.VFCoef))
			tensor.Backward(loss)

			got := []float64{pg.Mean().Item(), vf.Mean().Item(), loss.Item(), clipped.Mean().Item(), valueClipped.Mean().Item(),
				now.Sub(old).Square().Mean().Item() / 2, ratio.Mean().Item()}
			want := []float64{x.PolicyLoss, x.ValueLoss, x.Loss, x.PolicyClipfrac, x.ValueClipfrac, x.ApproxKL, x.RatioMean}
			near(t, want, got, 1e-6, "policy, value, loss, clipfracs, approxkl, ratio")
			near(t, flat(x.GradLogProbs...).Float64s(), now.Grad().Float64s(), 1e-7, "gradient of the log-probs")
			near(t, flat(x.GradValues...).Float64s(), values.Grad().Float64s(), 1e-7, "gradient of the values")
		})
	})
}

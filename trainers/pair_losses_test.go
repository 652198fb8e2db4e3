package trainers

// The pairwise losses against the worked numbers of METHODS.md §6, §7, §8 and §11 (float64, computed elsewhere), their
// gradients against finite differences, their limits, and the settings that are refused.

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
	"salsa/tensor"
)

// Fixture P: two pairs, summed log-probabilities and lengths.
var (
	fixtureW, fixtureL       = []float64{-12, -20}, []float64{-15, -18}
	fixtureRefW, fixtureRefL = []float64{-12.5, -19.2}, []float64{-14, -18.3}
	fixtureLenW, fixtureLenL = []float64{8, 10}, []float64{10, 6}
)

// pairOf builds a Pair of doubles with the fixture's lengths.
func pairOf(w, l []float64) Pair {
	return Pair{Chosen: flat(w), Rejected: flat(l), ChosenLen: flat(fixtureLenW), RejectedLen: flat(fixtureLenL), MeanChosenLen: mean(fixtureLenW)}
}

// settings are the defaults of a loss with some numbers replaced.
func settings(t *testing.T, loss string, set func(*PairSettings)) PairSettings {
	t.Helper()
	o := DefaultDPO()
	o.Loss = loss
	if set != nil {
		set(&o.PairSettings)
	}
	require.NoError(t, o.Validate())
	o.Settle()
	return o.PairSettings
}

// onFixture returns the loss of each pair of fixture P.
func onFixture(loss string, s PairSettings) []float64 {
	return pairMethods[loss].loss(pairOf(fixtureW, fixtureL), pairOf(fixtureRefW, fixtureRefL), s).Float64s()
}

// pairRow is a worked example on fixture P, β = 0.1 unless set.
type pairRow struct {
	loss string
	set  func(*PairSettings)
	each []float64 // per pair, where worked out
	mean float64
}

var pairRows = []pairRow{
	{"sigmoid", nil, []float64{0.620957, 0.749659}, 0.685308},
	{"sigmoid_mean", nil, []float64{0.685055, 0.699668}, 0.692362},
	{"cdpo", func(s *PairSettings) { s.LabelSmoothing = .1 }, []float64{0.635957, 0.738659}, 0.687308},
	{"robust", func(s *PairSettings) { s.LabelSmoothing = .1 }, []float64{0.602207, 0.763409}, 0.682808},
	{"ipo", nil, []float64{12.25, 37.21}, 24.73},
	{"ipo_mean", nil, []float64{23.401406, 26.316900}, 24.859153},
	{"hinge", nil, []float64{.85, 1.1}, .975},
	{"hinge", func(s *PairSettings) { s.Gamma = .05 }, []float64{.85, 1.1}, .975},
	{"hinge_norm", func(s *PairSettings) { s.Gamma = .05 }, []float64{.925, 1.055}, .99},
	{"hinge_norm", func(s *PairSettings) { s.Gamma = .8 }, []float64{0, 1.88}, .94},
	{"sigmoid_norm", func(s *PairSettings) { s.Gamma = .05 }, []float64{0.656350, 0.721025}, 0.688688},
	{"forward_kl", nil, []float64{0.593124, 0.770136}, 0.681630},
	{"js", nil, []float64{0.652068, 0.724460}, 0.688264},
	{"alpha", func(s *PairSettings) { s.Alpha = .3 }, []float64{0.614942, 0.754472}, 0.684707},
	{"alpha", func(s *PairSettings) { s.Alpha = .5 }, []float64{0.609934, 0.758249}, 0.684092},
	{"alpha", func(s *PairSettings) { s.Alpha = .7 }, nil, 0.683278}, // TRL's coefficient .3
	{"rpo", func(s *PairSettings) { s.Eta = .005 }, []float64{0.626957, 0.759659}, 0.693308},
	{"rpo_mean", func(s *PairSettings) { s.Eta = .005 }, nil, 0.694197},
	{"slic", func(s *PairSettings) { s.Delta = 1 }, []float64{0, 3}, 1.5},
	{"slic", func(s *PairSettings) { s.Delta = 20 }, []float64{17, 22}, 19.5},
	{"slic", func(s *PairSettings) { s.Delta, s.Lambda = 1, .1 }, []float64{1.2, 5}, 3.1},
	{"cpo", func(s *PairSettings) { s.Lambda = 0 }, []float64{0.554355, 0.798139}, 0.676247},
	{"cpo", nil, nil, 2.454025},
	{"simpo", func(s *PairSettings) { s.Beta, s.Gamma = 2, .5 }, []float64{0.974077, 0.201413}, 0.587745},
}

func TestPairLossesWorked(t *testing.T) {
	worked := map[string]bool{}
	for _, c := range pairRows {
		worked[c.loss] = true
		t.Run(c.loss, func(t *testing.T) {
			run(t, func() {
				got := onFixture(c.loss, settings(t, c.loss, c.set))
				if c.each != nil {
					near(t, c.each, got, 1e-6, "loss")
				}
				assert.InDelta(t, c.mean, mean(got), 1e-6)
			})
		})
	}
	for _, name := range PairLossNames() {
		assert.True(t, worked[name], "%s has no worked numbers", name)
	}
}

// In float32 the losses of fixture P are those of float64.
func TestPairLossesInSinglePrecision(t *testing.T) {
	single := func(p Pair) Pair {
		p.Chosen, p.Rejected = p.Chosen.To(tensor.Float32), p.Rejected.To(tensor.Float32)
		p.ChosenLen, p.RejectedLen = p.ChosenLen.To(tensor.Float32), p.RejectedLen.To(tensor.Float32)
		return p
	}
	run(t, func() {
		for _, c := range pairRows {
			got := pairMethods[c.loss].loss(single(pairOf(fixtureW, fixtureL)), single(pairOf(fixtureRefW, fixtureRefL)), settings(t, c.loss, c.set)).Float64s()
			assert.InEpsilon(t, c.mean, mean(got), 3e-6, c.loss)
		}
	})
}

// The scores of f-DPO, and DPO's gradient on the chosen completion.
func TestPairLossesWorkedInside(t *testing.T) {
	run(t, func() {
		pi := pairOf(fixtureW, fixtureL)
		pi.Chosen.RequireGrad(true)
		pi.Rejected.RequireGrad(true)
		tensor.Backward(SigmoidLoss(pi, pairOf(fixtureRefW, fixtureRefL), PairSettings{Beta: .1}).Sum())
		near(t, []float64{-0.046257, -0.052747}, pi.Chosen.Grad().Float64s(), 1e-6, "gradient on the chosen log-probability")
		near(t, []float64{0.046257, 0.052747}, pi.Rejected.Grad().Float64s(), 1e-6, "gradient on the rejected one")
	})
}

// Every reduction of one loss to another on fixture P (METHODS.md §17).
func TestPairLossReductions(t *testing.T) {
	for _, c := range []struct {
		name, a string
		setA    func(*PairSettings)
		b       string
		setB    func(*PairSettings)
		scale   float64 // a = scale·b
		tol     float64
	}{
		{"cDPO without swaps", "cdpo", nil, "sigmoid", nil, 1, 1e-12},
		{"robust without swaps", "robust", nil, "sigmoid", nil, 1, 1e-12},
		{"RPO without imitation", "rpo", func(s *PairSettings) { s.Eta = 0 }, "sigmoid", nil, 1, 1e-12},
		{"token-mean RPO without imitation", "rpo_mean", func(s *PairSettings) { s.Eta = 0 }, "sigmoid", nil, 1, 1e-12},
		{"RSO at γ = β", "sigmoid_norm", func(s *PairSettings) { s.Gamma = .1 }, "sigmoid", nil, 1, 1e-12},
		{"α → 0", "alpha", func(s *PairSettings) { s.Alpha = 1e-6 }, "sigmoid", nil, 1, 1e-6},
		{"α → 1", "alpha", func(s *PairSettings) { s.Alpha = 1 - 1e-9 }, "forward_kl", nil, 1, 1e-8},
		{"hinge is SLiC at δ = 1/γ, scaled", "hinge", func(s *PairSettings) { s.Gamma = .05 }, "slic", func(s *PairSettings) { s.Delta = 20 }, .05, 1e-12},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func() {
				want := onFixture(c.b, settings(t, c.b, c.setB))
				for i := range want {
					want[i] *= c.scale
				}
				near(t, want, onFixture(c.a, settings(t, c.a, c.setA)), c.tol, "loss")
			})
		})
	}
	run(t, func() { // a reference that says the same of both completions is none
		same := pairOf([]float64{-7, -7}, []float64{-7, -7})
		s := PairSettings{Beta: .1, Gamma: .3}
		pi := pairOf(fixtureW, fixtureL)
		near(t, HingeLoss(pi, Pair{}, s).Float64s(), HingeNormLoss(pi, same, s).Float64s(), 1e-12, "hinge")
		near(t, CPOLoss(pi, Pair{}, s).Float64s(), SigmoidLoss(pi, same, s).Float64s(), 1e-12, "CPO's preference term")
	})
}

// What holds for all losses that compare with the reference: at the start, swapped, and as β goes to 0.
func TestPairLossLimits(t *testing.T) {
	run(t, func() {
		ref := pairOf(fixtureRefW, fixtureRefL)
		s := PairSettings{Beta: .1, Gamma: .05, Alpha: .4, LabelSmoothing: .2}
		for _, name := range []string{"sigmoid", "sigmoid_mean", "cdpo", "robust", "sigmoid_norm", "forward_kl", "js", "alpha", "rpo", "rpo_mean"} {
			loss := pairMethods[name].loss
			near(t, []float64{math.Ln2, math.Ln2}, loss(ref, ref, s).Float64s(), 1e-12, name+" at π = π_ref")
			tiny := PairSettings{Beta: 1e-12, Gamma: 1e-12, Alpha: .4, LabelSmoothing: .2}
			near(t, []float64{math.Ln2, math.Ln2}, loss(pairOf(fixtureW, fixtureL), ref, tiny).Float64s(), 1e-9, name+" at β → 0")
		}
		for _, name := range []string{"ipo", "ipo_mean"} {
			near(t, []float64{25, 25}, pairMethods[name].loss(ref, ref, s).Float64s(), 1e-12, name+" at π = π_ref")
		}
		near(t, []float64{1, 1}, HingeNormLoss(ref, ref, s).Float64s(), 1e-12, "hinge_norm at π = π_ref")

		pi := pairOf(fixtureW, fixtureL)
		swap := func(p Pair) Pair { p.Chosen, p.Rejected = p.Rejected, p.Chosen; return p }
		minus := logRatio(pi, ref).Neg().Float64s()
		near(t, minus, logRatio(swap(pi), swap(ref)).Float64s(), 1e-12, "h of swapped pairs")
		difference := SigmoidLoss(swap(pi), swap(ref), s).Sub(SigmoidLoss(pi, ref, s)).Float64s()
		near(t, []float64{.15, -.11}, difference, 1e-12, "softplus(z) - softplus(-z) = z")
	})
}

// The gradient of every loss, on both completions, against central differences.
func TestPairLossGradients(t *testing.T) {
	const step = 1e-5
	for _, c := range pairRows {
		t.Run(c.loss, func(t *testing.T) {
			run(t, func() {
				s := settings(t, c.loss, c.set)
				ref := pairOf(fixtureRefW, fixtureRefL)
				loss := pairMethods[c.loss].loss
				pi := pairOf(fixtureW, fixtureL)
				pi.Chosen.RequireGrad(true)
				pi.Rejected.RequireGrad(true)
				tensor.Backward(loss(pi, ref, s).Sum())
				at := func(dw, dl float64) []float64 {
					w, l := []float64{fixtureW[0] + dw, fixtureW[1] + dw}, []float64{fixtureL[0] + dl, fixtureL[1] + dl}
					return loss(pairOf(w, l), ref, s).Float64s()
				}
				slope := func(up, down []float64) []float64 {
					return []float64{(up[0] - down[0]) / (2 * step), (up[1] - down[1]) / (2 * step)}
				}
				near(t, slope(at(step, 0), at(-step, 0)), pi.Chosen.Grad().Float64s(), 1e-6, "gradient on the chosen log-probability")
				near(t, slope(at(0, step), at(0, -step)), pi.Rejected.Grad().Float64s(), 1e-6, "gradient on the rejected one")
			})
		})
	}
}

// Log-ratios that no exponential in float32 survives give finite losses and gradients.
func TestPairLossesDoNotOverflow(t *testing.T) {
	for _, name := range PairLossNames() {
		t.Run(name, func(t *testing.T) {
			run(t, func() {
				far := func(w, l []float32) Pair {
					return Pair{Chosen: tensor.Floats(w, 2), Rejected: tensor.Floats(l, 2), ChosenLen: tensor.Floats([]float32{9, 9}, 2),
						RejectedLen: tensor.Floats([]float32{9, 9}, 2), MeanChosenLen: 9}
				}
				pi := far([]float32{-900, -1}, []float32{-1, -900})
				pi.Chosen.RequireGrad(true)
				pi.Rejected.RequireGrad(true)
				s := settings(t, name, func(s *PairSettings) { s.LabelSmoothing = .1 })
				loss := pairMethods[name].loss(pi, far([]float32{-1, -900}, []float32{-900, -1}), s)
				tensor.Backward(loss.Sum())
				all := append(loss.Float64s(), pi.Chosen.Grad().Float64s()...)
				for _, v := range append(all, pi.Rejected.Grad().Float64s()...) {
					assert.True(t, isFinite(v), "%g", v)
				}
			})
		})
	}
}

func TestDPOSettings(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		loss string
		set  func(*DPOOptions)
		want string // "" is accepted
	}{
		{"sigmoid", nil, ""},
		{"sigmoid", func(o *DPOOptions) { o.Beta = 0 }, "beta 0: at 0 the loss teaches nothing"},
		{"sigmoid", func(o *DPOOptions) { o.Beta = -1 }, "use a positive --beta"},
		{"ipo", func(o *DPOOptions) { o.Beta = nan }, "use a positive --beta"},
		{"ipo", func(o *DPOOptions) { o.Beta = math.Inf(1) }, "use a positive --beta"},
		{"sigmiod", nil, `loss "sigmiod": no such pairwise loss; choose one of alpha, cdpo,`},
		{"robust", func(o *DPOOptions) { o.LabelSmoothing = .5 }, "label_smoothing 0.5: with half of the labels swapped"},
		{"cdpo", func(o *DPOOptions) { o.LabelSmoothing = -.1 }, "--label-smoothing of at least 0"},
		{"robust", func(o *DPOOptions) { o.LabelSmoothing = .49 }, ""},
		{"alpha", func(o *DPOOptions) { o.Alpha = 0 }, "alpha 0: must lie between 0 and 1; those ends are --loss sigmoid"},
		{"alpha", func(o *DPOOptions) { o.Alpha = 1 }, "--loss forward_kl"},
		{"alpha", func(o *DPOOptions) { o.Alpha = nan }, "alpha NaN"},
		{"rpo", func(o *DPOOptions) { o.Eta = -.1 }, "eta -0.1: would unlearn"},
		{"rpo_mean", func(o *DPOOptions) { o.Eta = math.Inf(1) }, "use an --eta of 0 or more"},
		{"rpo", func(o *DPOOptions) { o.Eta = 0 }, ""},
		{"hinge", func(o *DPOOptions) { o.Gamma = 0 }, "gamma 0: scales the loss; use a positive --gamma"},
		{"simpo", func(o *DPOOptions) { o.Gamma = 0 }, ""},
		{"simpo", func(o *DPOOptions) { o.Gamma = nan }, "gamma NaN: is a margin"},
		{"slic", func(o *DPOOptions) { o.Delta = 0 }, "delta 0: is a margin"},
		{"cpo", func(o *DPOOptions) { o.Lambda = nan }, "use a finite --lambda"},
		{"sigmoid", func(o *DPOOptions) { o.Alpha, o.Eta, o.LabelSmoothing = 7, -1, 3 }, ""}, // not read: Idle tells
	} {
		o := DefaultDPO()
		o.Loss = c.loss
		if c.set != nil {
			c.set(&o)
		}
		err := o.Validate()
		if c.want == "" {
			assert.NoError(t, err, c.loss)
			continue
		}
		assert.ErrorContains(t, err, c.want)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
}

func TestDPOSettingsOfTheLoss(t *testing.T) {
	o := DefaultDPO()
	for loss, want := range map[string][2]float64{"hinge": {.05, 0}, "simpo": {.5, 0}, "cpo": {0, 1}} {
		p := o
		p.Loss = loss
		p.Settle()
		assert.Equal(t, want, [2]float64{p.Gamma, p.Lambda}, loss)
	}
	p := o
	p.Loss, p.Gamma, p.Lambda = "simpo", 0, .25
	p.Settle()
	assert.Equal(t, [2]float64{0, .25}, [2]float64{p.Gamma, p.Lambda}, "what is given stays")

	assert.Empty(t, o.Idle())
	o.LabelSmoothing, o.Gamma = .1, .3
	assert.Equal(t, []string{"--gamma has no effect on --loss sigmoid; hinge, hinge_norm, sigmoid_norm, simpo read it",
		"--label-smoothing has no effect on --loss sigmoid; cdpo, robust read it"}, o.Idle())
	o = DefaultDPO()
	o.Loss = "cdpo"
	assert.Equal(t, []string{"--loss cdpo with --label-smoothing 0 is plain sigmoid"}, o.Idle())
}

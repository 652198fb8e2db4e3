package trainers

// The options of preference optimisation on pairs: defaults, what each loss reads, and what is refused.

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"salsa/internal/fault"
)

// DPOOptions are the options of all pairwise losses.
type DPOOptions struct {
	Common
	Loss         string `yaml:"loss" arg:"NAME" help:"pairwise loss; sigmoid is DPO's"`
	PairSettings `group:"Loss"`
	EvalEvery    int `yaml:"eval_every" help:"steps between measurements on the held-out pairs; 0: only at the end" check:">=0"`
}

// DefaultDPO returns DPO with TRL's defaults. A negative gamma or lambda stands for the loss's own.
func DefaultDPO() DPOOptions {
	o := DPOOptions{Common: DefaultCommon(), Loss: "sigmoid",
		PairSettings: PairSettings{Beta: 0.1, Alpha: 0.5, Gamma: -1, Eta: 0.005, Delta: 1, Lambda: -1}}
	o.LearningRate, o.WarmupRatio = 1e-6, 0.1
	return o
}

// Choices implements options.Chooser: the table of losses is the only list of their names.
func (o *DPOOptions) Choices(key string) []string {
	if key == "loss" {
		return PairLossNames()
	}
	return nil
}

// NeedsReference tells whether the loss reads a reference.
func (o *DPOOptions) NeedsReference() bool { return !pairMethods[o.Loss].free }

// Settle replaces a negative gamma or lambda by the loss's own value.
func (o *DPOOptions) Settle() {
	m := pairMethods[o.Loss]
	if o.Gamma < 0 {
		o.Gamma = m.gamma
	}
	if o.Lambda < 0 {
		o.Lambda = m.lambda
	}
}

// Validate checks what the tags cannot: every setting that the loss reads.
func (o *DPOOptions) Validate() error {
	m, ok := pairMethods[o.Loss]
	if !ok {
		return fault.Inputf("loss %q: no such pairwise loss; choose one of %s", o.Loss, strings.Join(PairLossNames(), ", "))
	}
	if !(o.Beta > 0) || math.IsInf(o.Beta, 0) {
		return fault.Inputf("beta %g: at 0 the loss teaches nothing and below it the wrong side; use a positive --beta, 0.1 is usual", o.Beta)
	}
	settled := *o
	settled.Settle()
	for _, rule := range settled.rules() {
		if rule.bad && slices.Contains(strings.Fields(m.uses), rule.key) {
			return fault.Inputf("%s %g: %s", rule.key, rule.value, rule.remedy)
		}
	}
	return nil
}

// settingRule says when a setting is refused by the losses that read it.
type settingRule struct {
	key    string
	value  float64
	bad    bool
	remedy string
}

// rules lists the settings' rules; negated comparisons refuse NaN too.
func (o *DPOOptions) rules() []settingRule {
	gamma := settingRule{"gamma", o.Gamma, !(o.Gamma > 0) || math.IsInf(o.Gamma, 0), "scales the loss; use a positive --gamma, 0.05 is the paper's"}
	if o.Loss == "simpo" {
		gamma.bad, gamma.remedy = !(o.Gamma >= 0) || math.IsInf(o.Gamma, 0), "is a margin; use a finite --gamma of 0 or more"
	}
	return []settingRule{
		gamma,
		{"label_smoothing", o.LabelSmoothing, !(o.LabelSmoothing >= 0 && o.LabelSmoothing < 0.5),
			"with half of the labels swapped they say nothing; use a --label-smoothing of at least 0 and below 0.5"},
		{"alpha", o.Alpha, !(o.Alpha > 0 && o.Alpha < 1), "must lie between 0 and 1; those ends are --loss sigmoid and --loss forward_kl"},
		{"eta", o.Eta, !(o.Eta >= 0) || math.IsInf(o.Eta, 0), "would unlearn the chosen completions; use an --eta of 0 or more, 0.005 is the paper's"},
		{"delta", o.Delta, !(o.Delta > 0) || math.IsInf(o.Delta, 0), "is a margin; use a positive --delta"},
		{"lambda", o.Lambda, math.IsNaN(o.Lambda) || math.IsInf(o.Lambda, 0), "weighs the imitation of the chosen completion; use a finite --lambda"},
	}
}

// Idle says which settings were given and have no effect on the loss, in words for the user; call it before Settle.
func (o *DPOOptions) Idle() []string {
	standard, uses := DefaultDPO(), strings.Fields(pairMethods[o.Loss].uses)
	was := standard.rules()
	var notes []string
	for i, rule := range o.rules() {
		if rule.value != was[i].value && !slices.Contains(uses, rule.key) {
			flag := "--" + strings.ReplaceAll(rule.key, "_", "-")
			notes = append(notes, fmt.Sprintf("%s has no effect on --loss %s; %s read it", flag, o.Loss, strings.Join(readers(rule.key), ", ")))
		}
	}
	if slices.Contains(uses, "label_smoothing") && o.LabelSmoothing == 0 {
		notes = append(notes, fmt.Sprintf("--loss %s with --label-smoothing 0 is plain sigmoid", o.Loss))
	}
	return notes
}

// readers lists the losses that read a setting.
func readers(key string) []string {
	var names []string
	for _, name := range PairLossNames() {
		if slices.Contains(strings.Fields(pairMethods[name].uses), key) {
			names = append(names, name)
		}
	}
	return names
}

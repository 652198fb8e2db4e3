package trainers

// AIHF: joint learning from demonstrations and preferences (Li et al., arXiv 2406.06874). The paper's objective is
// w·E_D[log π] + E_P[log σ(r(y_w) - r(y_l))], with π the optimal policy of the reward r; its theorems and tables were not
// at hand, so the forms here are a reconstruction from the abstract, the reviews and a sibling code base (METHODS.md §12).
// Here are the options, the demonstrations and the losses; aihf_pairs.go has the direct and the self-play form,
// aihf_alternate.go the alternation of reward model and policy.

import (
	"math"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/tensor"
)

// AIHFOptions are the options of all three forms.
type AIHFOptions struct {
	Form             string  `yaml:"form" enum:"direct,self-play,alternate" help:"direct: SFT and DPO losses in one; self-play: demonstrations are preferred to own answers (SPIN), and DPO; alternate: rounds of reward-model and policy updates"`
	WeightDemo       float64 `yaml:"weight_demo" help:"weight of the demonstrations' loss; direct: of -log π summed over a demonstration's tokens, so about 0.1"`
	WeightPreference float64 `yaml:"weight_preference" help:"weight of the preference pairs' loss; at 0 the pairs only set how long an epoch is"`
	DemoBatchSize    int     `yaml:"demo_batch_size" help:"demonstrations per update" check:">=1,<=1000000"`
	Beta             float64 `yaml:"beta" help:"direct, self-play: strength β of the pull to the reference, and to the round's opponent"`
	RoundSteps       int     `yaml:"round_steps" help:"self-play, alternate: steps of a round, at whose start own answers are drawn anew" check:">=1"`

	Policy          string  `yaml:"policy" enum:"ppo,apa" help:"alternate: how the policy learns; apa is the squared form of salsa apa"`
	APALambda       float64 `yaml:"temperature_lambda" help:"alternate with --policy apa: λ that advantages are divided by" check:">0"`
	RewardUpdates   int     `yaml:"reward_updates" help:"alternate: updates of the reward model per round" check:">=1"`
	PreferenceBatch int     `yaml:"preference_batch_size" help:"alternate: preference pairs per update of the reward model" check:">=1,<=1000000"`
	RewardLR        float64 `yaml:"reward_learning_rate" help:"alternate: learning rate of the reward model, constant" check:">=0"`
	RewardLoss      string  `yaml:"reward_loss" enum:"end,window" help:"alternate: compare rewards at the last token, or averaged from the first token that differs"`

	PPOOptions
}

// DefaultAIHF returns the settings of the sibling code where it has any (METHODS.md §12).
func DefaultAIHF() AIHFOptions {
	o := AIHFOptions{Form: "direct", WeightDemo: 0.1, WeightPreference: 1, DemoBatchSize: 16, Beta: 0.1, RoundSteps: 16,
		Policy: "ppo", APALambda: 0.1, RewardUpdates: 16, PreferenceBatch: 16, RewardLR: 1e-6, RewardLoss: "end", PPOOptions: DefaultPPO()}
	o.PPOEpochs, o.LearningRate, o.Temperature = 2, 1e-6, 1
	return o
}

// Validate checks what the tags cannot.
func (o *AIHFOptions) Validate() error {
	for _, w := range []struct {
		key, flag string
		value     float64
	}{{"weight_demo", "--weight-demo", o.WeightDemo}, {"weight_preference", "--weight-preference", o.WeightPreference}} {
		if !(w.value >= 0) || math.IsInf(w.value, 0) {
			return fault.Inputf("%s %g: below 0 the data would be unlearned; use a finite %s of 0 or more", w.key, w.value, w.flag)
		}
	}
	if o.WeightDemo == 0 && o.WeightPreference == 0 {
		return fault.Inputf("weight_demo and weight_preference are both 0, so nothing is learned; raise --weight-demo or --weight-preference")
	}
	if o.Form != "alternate" && (!(o.Beta > 0) || math.IsInf(o.Beta, 0)) {
		return fault.Inputf("beta %g: at 0 the loss teaches nothing and below it the wrong side; use a positive --beta, 0.1 is usual", o.Beta)
	}
	if o.Form == "alternate" {
		return o.PPOOptions.Validate()
	}
	return nil
}

// demoStream keeps the random streams of answers to demonstrations' prompts apart from those of the rollout.
const demoStream = 0x64656d6f

// demonstrations are a walk over examples whose prompts can be answered anew.
type demonstrations struct {
	rows    []data.Example
	prompts []data.Prompt
	answers []data.Example // the rows with the last turn's answer alone as target
	order   data.Walk
}

// newDemonstrations finds the prompt of each row's last answer. The order has a seed of its own, so that it does not
// follow that of the pairs.
func newDemonstrations(rows []data.Example, c Common) (d demonstrations, err error) {
	if len(rows) == 0 {
		return d, fault.Inputf("no demonstrations are left after encoding; check --demos and --max-length")
	}
	d.rows = rows
	for i := range rows {
		from, to := LastAnswer(&rows[i])
		if to == 0 {
			return d, fault.Inputf("%s: the demonstration has no target token; raise --max-length, or remove the row", placeOf(data.Pair{Chosen: rows[i]}, i))
		}
		p := data.Prompt{IDs: rows[i].IDs[:from:from], Row: rows[i].Row}
		d.prompts = append(d.prompts, p)
		d.answers = append(d.answers, p.Answered(rows[i].IDs[from:to]))
	}
	c = c.ForDemos()
	d.order, err = walkOver(&c, rows, func(x data.Example) *data.Row { return x.Row })
	return d, err
}

// ForDemos are the options of the walk over AIHF's demonstrations.
func (c Common) ForDemos() Common {
	c.Seed = tensor.Mix(c.Seed, demoStream)
	return c
}

// LastAnswer is the range [from, to) of the last run of target tokens; 0, 0 if there is none.
func LastAnswer(x *data.Example) (from, to int) {
	for to = len(x.IDs); to > 0 && !x.Mask[to-1]; {
		to--
	}
	for from = to; from > 0 && x.Mask[from-1]; {
		from--
	}
	return from, to
}

// against makes preference pairs of the demonstrations at the given indices, preferred to the own answers.
func (d *demonstrations) against(at []int, own [][]int) []data.Pair {
	pairs := make([]data.Pair, len(at))
	for i, k := range at {
		pairs[i] = data.Pair{Chosen: d.answers[k], Rejected: d.prompts[k].Answered(own[i])}
	}
	return pairs
}

// JointBradleyTerry is w_d·Σ -log σ(r(demo) - r(own)) + w_p·Σ -log σ(r_w - r_l), the reward model's loss (METHODS.md
// §12 (1)) before it is divided by the number of pairs: a scalar from [D] and [P] fp32 rewards.
func JointBradleyTerry(demo, own, chosen, rejected tensor.Tensor, weightDemo, weightPreference float64) tensor.Tensor {
	return logistic(demo.Sub(own)).Sum().MulScalar(weightDemo).Add(logistic(chosen.Sub(rejected)).Sum().MulScalar(weightPreference))
}

// WindowBradleyTerry is the mean over a window of tokens of -log σ(c_t - r_t), c and r [T] the rewards along the two
// answers from the first token that differs on (METHODS.md §12 (5)): a scalar.
func WindowBradleyTerry(chosen, rejected tensor.Tensor) tensor.Tensor {
	return logistic(chosen.Sub(rejected)).Mean()
}

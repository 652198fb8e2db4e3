package trainers

// AIHF's alternation: each round draws own answers to the demonstrations' prompts, teaches the reward model to prefer
// the demonstrations to them and the chosen completions to the rejected ones, and lets the policy learn from that reward
// model by PPO or APA. A reconstruction, see aihf.go.

import (
	"context"
	"encoding/json"
	"path/filepath"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// RewardDir is the folder of the reward model inside a checkpoint of AIHF's alternation.
const RewardDir = "reward"

// AIHFAlternate is the trainer: a policy method with a reward model that learns too.
type AIHFAlternate struct {
	Trainer // the policy's method, PPO or APA
	run     *Online
	set     AIHFOptions
	scorer  *models.Scorer
	demos   demonstrations
	pairs   []data.Pair
	order   data.Walk // of pairs
}

// NewAIHFAlternate makes the trainer. The cast's reward model must be a single one that can learn; the policy answers the
// demonstrations' prompts. save writes policy, value network and reward model (in RewardDir) into a folder; log may be nil.
func NewAIHFAlternate(cast Cast, demos []data.Example, pairs []data.Pair, opts AIHFOptions, log *SampleLog, save PartsFunc) (*AIHFAlternate, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	live, ok := cast.Reward.(ModelRewarder)
	if !ok {
		return nil, fault.Inputf("--form alternate trains the reward model; give one folder of salsa reward as --reward-model")
	}
	if len(pairs) == 0 {
		return nil, fault.Inputf("no preference pairs are left after encoding; check --data and --max-length")
	}
	a := &AIHFAlternate{set: opts, scorer: live.Scorer, pairs: pairs}
	var err error
	if a.demos, err = newDemonstrations(demos, opts.Common); err != nil {
		return nil, err
	}
	if a.order, err = walkOver(&opts.Common, pairs, pairOrigin); err != nil {
		return nil, err
	}
	if opts.Policy == "apa" {
		apa, err := NewAPA(cast, a.demos.prompts, opts.apa(), log, save)
		if err != nil {
			return nil, err
		}
		a.Trainer, a.run = apa, &apa.Online
		return a, nil
	}
	ppo, err := NewPPO(cast, a.demos.prompts, opts.PPOOptions, log, save)
	if err != nil {
		return nil, err
	}
	a.Trainer, a.run = ppo, &ppo.Online
	return a, nil
}

// apa are the options of the policy's updates by APA; its value loss is a plain squared error.
func (o *AIHFOptions) apa() APAOptions {
	a := DefaultAPA()
	a.OnlineOptions, a.CriticOptions, a.Lambda = o.OnlineOptions, o.CriticOptions, o.APALambda
	a.ClipRangeValue = DefaultAPA().ClipRangeValue
	return a
}

// OnPhase sets who is told what goes on inside a step.
func (a *AIHFAlternate) OnPhase(say func(string)) { a.run.OnPhase(say) }

// Params implements Trainer: the policy's, the value network's and the reward model's. An update steps those that its
// loss reaches.
func (a *AIHFAlternate) Params() []nn.Param {
	return append(a.Trainer.Params(), prefixed("reward.", a.scorer)...)
}

// Step implements Trainer: one step of the policy, with the reward model's updates before it at the start of a round.
func (a *AIHFAlternate) Step(ctx context.Context, u *Update) (Result, error) {
	if a.run.step%a.set.RoundSteps != 0 {
		return a.Trainer.Step(ctx, u)
	}
	learned, err := a.learnReward(ctx, u)
	if err != nil {
		return Result{}, err
	}
	a.run.norm = nil // scores of the new reward model have another scale
	// The reward model has moved: an interrupt must not make this step look as if it had not been taken.
	res, err := a.Trainer.Step(context.WithoutCancel(ctx), u)
	if err != nil {
		return Result{}, err
	}
	for k, v := range learned {
		res.Scalars[k] = v
	}
	return res, nil
}

// rewarded is a pair of the reward model's loss: a demonstration over an own answer, or a preference.
type rewarded struct {
	data.Pair
	weight float64
	demo   bool
}

// learnReward runs a round's updates of the reward model at its own learning rate. ctx counts while answers are drawn.
func (a *AIHFAlternate) learnReward(ctx context.Context, u *Update) (map[string]float64, error) {
	var shown []data.Pair
	n := a.set.DemoBatchSize
	if a.set.WeightDemo > 0 {
		at := a.demos.order.Next(a.set.RewardUpdates * n)
		samples, err := a.run.draw(ctx, a.run.cast.Policy, pick(a.demos.prompts, at), 1, a.run.step, demoStream)
		if err != nil {
			return nil, err
		}
		_, own := splitSamples(samples)
		shown = a.demos.against(at, own)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	a.run.say("reward model")
	policyLR := u.LR
	defer func() { u.LR = policyLR }()
	u.LR = a.set.RewardLR
	sum := newAverage()
	for i := range a.set.RewardUpdates {
		var batch []rewarded
		if a.set.WeightDemo > 0 {
			for _, p := range shown[i*n : (i+1)*n] {
				batch = append(batch, rewarded{p, a.set.WeightDemo, true})
			}
		}
		if a.set.WeightPreference > 0 {
			for _, p := range pick(a.pairs, a.order.Next(a.set.PreferenceBatch)) {
				batch = append(batch, rewarded{p, a.set.WeightPreference, false})
			}
		}
		scalars, err := a.updateReward(u, batch)
		if err != nil {
			return nil, err
		}
		sum.add(scalars)
	}
	learned := sum.means()
	delete(learned, "skipped_steps") // the policy's updates report it
	return learned, nil
}

// updateReward takes one optimizer step of the reward model on JointBradleyTerry divided by the number of pairs.
func (a *AIHFAlternate) updateReward(u *Update, batch []rewarded) (map[string]float64, error) {
	batch = byLength(batch, func(w rewarded) int { return pairLength(w.Pair) })
	parts := split(len(batch), a.set.micro(len(batch)))
	counts := map[bool]float64{}
	for _, w := range batch {
		counts[w.demo]++
	}
	u.holds(sidesOf(batch, func(w rewarded) data.Pair { return w.Pair }))
	all, err := u.Do(len(parts), func(i int) (tensor.Tensor, Stats) {
		return a.rewardLoss(batch[parts[i][0]:parts[i][1]], counts)
	})
	if err != nil {
		return nil, err
	}
	scalars := map[string]float64{"loss/reward": all["loss"], "reward/grad_norm": all["grad_norm"]}
	for _, kind := range []bool{true, false} {
		if counts[kind] == 0 {
			continue
		}
		for _, k := range rewardKeys(kind) {
			scalars[k] = all[k]
		}
	}
	return scalars, nil
}

// rewardKeys names loss, accuracy and margin of the demonstrations' or the preferences' pairs.
func rewardKeys(demo bool) [3]string {
	if demo {
		return [3]string{"loss/demo", "demo/rewards/accuracies", "demo/rewards/margins"}
	}
	return [3]string{"loss/preference", "rewards/accuracies", "rewards/margins"}
}

// rewardLoss is part's share of the loss, with the same share of the metrics of each kind of pair; counts are how many
// of each kind the whole update has.
func (a *AIHFAlternate) rewardLoss(part []rewarded, counts map[bool]float64) (tensor.Tensor, Stats) {
	loss, margins := a.compare(part) // [b] each
	weights, stats := make([]float32, len(part)), Stats{}
	for i, w := range part {
		weights[i] = float32(w.weight / (counts[true] + counts[false]))
	}
	right := margins.Gt(0).To(tensor.Float32) // equal rewards are not correct
	for _, kind := range []bool{true, false} {
		if counts[kind] == 0 {
			continue
		}
		of := make([]float32, len(part))
		for i, w := range part {
			if w.demo == kind {
				of[i] = float32(1 / counts[kind])
			}
		}
		mine := tensor.Floats(of, len(of)).OnDevice(loss.Device())
		for j, x := range []tensor.Tensor{loss.Detach(), right, margins} {
			stats[rewardKeys(kind)[j]] = x.Mul(mine).Sum()
		}
	}
	return loss.Mul(tensor.Floats(weights, len(weights)).OnDevice(loss.Device())).Sum(), stats
}

// compare returns each pair's Bradley–Terry loss and, without gradient, its margin at the last tokens: [b] fp32 each.
// With --reward-loss window the loss is WindowBradleyTerry; a shorter answer keeps its last token's reward to the end of
// the longer one.
func (a *AIHFAlternate) compare(part []rewarded) (loss, margins tensor.Tensor) {
	b := len(part)
	rows, width := make([][]int, 2*b), 0
	for i, w := range part {
		rows[i], rows[b+i] = w.Chosen.IDs, w.Rejected.IDs
		width = max(width, pairLength(w.Pair))
	}
	if a.set.RewardLoss == "end" {
		all := a.scorer.Rewards(models.Collate(rows)) // [2b]
		margin := all.Narrow(0, 0, b).Sub(all.Narrow(0, b, b))
		return logistic(margin), margin.Detach()
	}
	flat := a.scorer.Values(models.Collate(rows), nil).Reshape(-1) // [2b, T] -> [2b*T]
	at := func(index []int) tensor.Tensor {
		return flat.IndexSelect(0, tensor.Ints(index, len(index)).OnDevice(flat.Device()))
	}
	var losses, ends []tensor.Tensor
	for i, w := range part {
		chosen, rejected := window(w.Pair, i*width, (b+i)*width)
		c, r := at(chosen), at(rejected)
		losses = append(losses, WindowBradleyTerry(c, r).Reshape(1))
		ends = append(ends, c.Sub(r).Detach().Narrow(0, len(chosen)-1, 1))
	}
	return tensor.Cat(0, losses...), tensor.Cat(0, ends...)
}

// window lists the places of a pair's tokens from the first that differs to the longer side's end; equal answers have
// one, the last. The sides' rows begin at places w and l.
func window(p data.Pair, w, l int) (chosen, rejected []int) {
	x, y := p.Chosen.IDs, p.Rejected.IDs
	from := 0
	for from < min(len(x), len(y))-1 && x[from] == y[from] {
		from++
	}
	for t := from; t < max(len(x), len(y)); t++ {
		chosen, rejected = append(chosen, w+min(t, len(x)-1)), append(rejected, l+min(t, len(y)-1))
	}
	return chosen, rejected
}

// aihfState is what a checkpoint holds beside weights and optimizer.
type aihfState struct {
	Policy json.RawMessage `json:"policy"`
	Demos  json.RawMessage `json:"demos"`
	Pairs  json.RawMessage `json:"pairs"`
}

// State implements Trainer.
func (a *AIHFAlternate) State() ([]byte, error) {
	var st aihfState
	var err error
	if st.Policy, err = a.Trainer.State(); err != nil {
		return nil, err
	}
	if st.Demos, err = a.demos.order.State(); err != nil {
		return nil, err
	}
	if st.Pairs, err = a.order.State(); err != nil {
		return nil, err
	}
	return json.Marshal(st)
}

// Restore implements Trainer.
func (a *AIHFAlternate) Restore(raw []byte) error {
	var st aihfState
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	if err := a.Trainer.Restore(st.Policy); err != nil {
		return err
	}
	if err := a.demos.order.Restore(st.Demos); err != nil {
		return err
	}
	return a.order.Restore(st.Pairs)
}

// Load implements Trainer: the reward model lies beside what the policy's method saves.
func (a *AIHFAlternate) Load(dir string) error {
	if err := a.Trainer.Load(dir); err != nil {
		return err
	}
	return loadInto(filepath.Join(dir, RewardDir), a.scorer)
}

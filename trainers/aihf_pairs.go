package trainers

// AIHF's direct and self-play forms: preference pairs teach by DPO's loss, and beside them demonstrations by their
// likelihood (direct) or by being preferred to what the policy itself said at the start of the round (self-play; Chen et
// al., SPIN, arXiv 2401.01335). A reconstruction, see aihf.go.

import (
	"context"
	"encoding/json"
	"fmt"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/tensor"
)

// AIHFPairs is the trainer of both forms.
type AIHFPairs struct {
	*DPO
	set   AIHFOptions
	demos demonstrations // empty if their weight is 0
	draws Online         // draws own answers
	round []selfPlayed   // what is left of the round's demonstrations; self-play only
}

// selfPlayed is all that a round keeps of its opponent, the policy at the round's start: its answer to a demonstration's
// prompt, and its log-probabilities of both. So the opponent's weights need not be kept.
type selfPlayed struct {
	Demo      int     `json:"demo"` // index of the demonstration
	Own       []int   `json:"own"`
	DemoLogPi float64 `json:"demo_logp"` // Σ_t log π_opp, nats
	OwnLogPi  float64 `json:"own_logp"`
}

// NewAIHFPairs makes the trainer. demos may be empty if their weight is 0; stops end own answers; ref, pairs, eval and
// save are as in NewDPO.
func NewAIHFPairs(m models.Model, ref *Reference, demos []data.Example, pairs, eval []data.Pair, stops []int, opts AIHFOptions, save SaveFunc) (*AIHFPairs, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	set := DPOOptions{Common: opts.Common, Loss: "sigmoid", PairSettings: DefaultDPO().PairSettings}
	set.Beta = opts.Beta
	d, err := NewDPO(m, ref, pairs, eval, set, save)
	if err != nil {
		return nil, err
	}
	d.idle = opts.WeightPreference == 0
	a := &AIHFPairs{DPO: d, set: opts}
	a.draws = Online{set: &a.set.OnlineOptions, cast: Cast{Stops: stops}}
	if opts.WeightDemo == 0 {
		return a, nil
	}
	if opts.Form == "self-play" && len(stops) == 0 {
		return nil, fault.Inputf("the policy has no EOS token: neither generation_config.json nor config.json has eos_token_id; add it")
	}
	a.demos, err = newDemonstrations(demos, opts.Common)
	return a, err
}

// OnPhase sets who is told what goes on inside a step.
func (a *AIHFPairs) OnPhase(say func(string)) { a.draws.OnPhase(say) }

// Step implements Trainer: one update on a batch of pairs and one of demonstrations.
func (a *AIHFPairs) Step(ctx context.Context, u *Update) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	if err := a.Prepare(ctx); err != nil {
		return Result{}, err
	}
	demos, err := a.nextDemos(ctx)
	if err != nil {
		return Result{}, err
	}
	batch := pick(a.pairs, a.order.Next(a.opts.BatchSize))
	scalars, err := a.Update(u, batch, demos)
	if err != nil {
		return Result{}, err
	}
	tokens := 0
	for _, x := range a.computed(batch, demos) {
		tokens += len(x.IDs)
	}
	a.step++
	a.tokens += tokens
	scalars["epoch"], scalars["num_tokens"] = a.order.Epochs(), float64(a.tokens)
	if a.set.WeightDemo > 0 {
		scalars["epoch/demo"] = a.demos.order.Epochs()
	}
	return Result{Scalars: scalars, Tokens: tokens}, nil
}

// nextDemos returns the step's demonstrations; in the direct form they have no rejected side.
func (a *AIHFPairs) nextDemos(ctx context.Context) ([]preference, error) {
	n := a.set.DemoBatchSize
	if a.set.WeightDemo == 0 {
		return nil, nil
	}
	if a.set.Form == "direct" {
		out := make([]preference, n)
		for i, k := range a.demos.order.Next(n) {
			out[i].Chosen = a.demos.rows[k]
		}
		return out, nil
	}
	if a.step%a.set.RoundSteps == 0 {
		if err := a.beginRound(ctx); err != nil {
			return nil, err
		}
	}
	out := make([]preference, n)
	for i, s := range a.round[:n] {
		out[i] = preference{a.demos.against([]int{s.Demo}, [][]int{s.Own})[0], RefLogProbs{s.DemoLogPi, s.OwnLogPi}}
	}
	a.round = a.round[n:]
	return out, nil
}

// beginRound makes the policy of now the opponent: it answers the prompts of the round's demonstrations, and judges both.
func (a *AIHFPairs) beginRound(ctx context.Context) error {
	at := a.demos.order.Next(a.set.RoundSteps * a.set.DemoBatchSize)
	samples, err := a.draws.draw(ctx, a.model, pick(a.demos.prompts, at), 1, a.step, demoStream)
	if err != nil {
		return err
	}
	_, own := splitSamples(samples)
	pairs, known := a.demos.against(at, own), make([]RefLogProbs, len(at))
	for _, part := range split(len(at), a.opts.micro(a.opts.BatchSize)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		here := make([]int, 0, part[1]-part[0])
		for i := part[0]; i < part[1]; i++ {
			here = append(here, i)
		}
		if err := refPart(a.model, pairs, here, known); err != nil {
			return fmt.Errorf("opponent: %w", err)
		}
	}
	a.round = make([]selfPlayed, len(at))
	for i := range a.round {
		a.round[i] = selfPlayed{at[i], own[i], known[i].Chosen, known[i].Rejected}
	}
	return nil
}

// Update takes one optimizer step on w_p times the mean loss of the pairs plus w_d times that of the demonstrations. A
// stream of weight 0 is not computed.
func (a *AIHFPairs) Update(u *Update, batch, demos []preference) (map[string]float64, error) {
	batch = byLength(batch, func(p preference) int { return pairLength(p.Pair) })
	demos = byLength(demos, func(p preference) int { return pairLength(p.Pair) })
	var pairParts, demoParts [][2]int
	if a.set.WeightPreference > 0 {
		pairParts = split(len(batch), a.opts.micro(len(batch)))
	}
	if a.set.WeightDemo > 0 {
		demoParts = split(len(demos), a.opts.micro(len(demos)))
	}
	pairs, shown := sizeOf(batch), sizeOf(demos)
	u.holds(func() []data.Example { return a.computed(batch, demos) })
	return u.Do(len(pairParts)+len(demoParts), func(i int) (tensor.Tensor, Stats) {
		if i < len(pairParts) {
			loss, stats := a.loss(batch[pairParts[i][0]:pairParts[i][1]], pairs)
			stats["loss/preference"] = loss
			return loss.MulScalar(a.set.WeightPreference), stats
		}
		part := demoParts[i-len(pairParts)]
		loss, stats := a.demoLoss(demos[part[0]:part[1]], shown)
		stats["loss/demo"] = loss
		return loss.MulScalar(a.set.WeightDemo), stats
	})
}

// computed lists the rows of an update: both sides of the pairs, and the demonstrations with their own answers, if any.
func (a *AIHFPairs) computed(batch, demos []preference) (rows []data.Example) {
	if a.set.WeightPreference > 0 {
		rows = sidesOf(batch, preference.pair)()
	}
	for _, d := range demos {
		rows = append(rows, d.Chosen)
		if a.set.Form == "self-play" {
			rows = append(rows, d.Rejected)
		}
	}
	return rows
}

// demoLoss is part's share in the mean over demonstrations, unweighted: -Σ_t log π (direct), or -log σ(β[(log π - log
// π_opp)(demo) - (log π - log π_opp)(own)]) (self-play; METHODS.md §12 (1)), which is log 2 where both are the same.
func (a *AIHFPairs) demoLoss(part []preference, whole pairSize) (tensor.Tensor, Stats) {
	if a.set.Form == "self-play" {
		s, opp := readPairs(a.model, part, 1, whole)
		of := pairMetrics(s, opp, a.set.Beta, false, whole)
		stats := Stats{}
		for _, k := range []string{"rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected"} {
			stats["demo/"+k] = of[k]
		}
		return SigmoidLoss(s.sums, opp, a.opts.PairSettings).Sum().DivScalar(float64(whole.pairs)), stats
	}
	rows := make([]data.Example, len(part))
	for i := range part {
		rows[i] = part[i].Chosen
	}
	in, at := collate(rows)
	s := models.LogProbs(a.model, in, at, 1) // [N]
	return s.LogP.Sum().DivScalar(-float64(whole.pairs)), Stats{
		"demo/mean_token_accuracy": s.Correct.Sum().DivScalar(float64(whole.chosen)),
		"demo/nll_loss":            s.LogP.Detach().Sum().DivScalar(-float64(whole.chosen)),
	}
}

// aihfPairsState is what a checkpoint holds beside weights and optimizer.
type aihfPairsState struct {
	Pairs json.RawMessage `json:"pairs"`
	Demos json.RawMessage `json:"demos,omitempty"`
	Round []selfPlayed    `json:"round,omitempty"`
}

// State implements Trainer.
func (a *AIHFPairs) State() ([]byte, error) {
	pairs, err := a.DPO.State()
	if err != nil {
		return nil, err
	}
	st := aihfPairsState{Pairs: pairs, Round: a.round}
	if a.set.WeightDemo > 0 {
		if st.Demos, err = a.demos.order.State(); err != nil {
			return nil, err
		}
	}
	return json.Marshal(st)
}

// Restore implements Trainer.
func (a *AIHFPairs) Restore(raw []byte) error {
	var st aihfPairsState
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	a.round = st.Round
	if a.set.WeightDemo > 0 {
		if err := a.demos.order.Restore(st.Demos); err != nil {
			return err
		}
	}
	return a.DPO.Restore(st.Pairs)
}

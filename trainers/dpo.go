package trainers

// Direct preference optimisation (Rafailov et al., arXiv 2305.18290) and its relatives: a policy learns from pairs of
// completions by one of the losses of pair_losses.go, measured against the log-probabilities of a frozen reference.

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/profile"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// preference is a pair with what the reference says of it; without a reference ref is zero.
type preference struct {
	data.Pair
	ref RefLogProbs
}

func (p preference) pair() data.Pair { return p.Pair }

// DPO is the trainer of all pairwise losses.
type DPO struct {
	opts   DPOOptions
	method pairMethod
	model  models.Model
	ref    *Reference // nil once read, or not needed
	pairs  []preference
	eval   []preference // held out; may be empty
	order  data.Walk
	save   SaveFunc
	step   int
	tokens int // seen so far

	idle bool // no step computes the loss of pairs, whose weight is 0
}

// NewDPO makes the trainer. ref may be nil for losses that need none, and is not read for them; its log-probabilities
// are computed by Prepare. save is how the model is written.
func NewDPO(m models.Model, ref *Reference, pairs, eval []data.Pair, opts DPOOptions, save SaveFunc) (*DPO, error) {
	opts.Settle()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if len(pairs) == 0 {
		return nil, fault.Inputf("no preference pairs are left after encoding; check --data and --max-length")
	}
	if err := CheckPairs(slices.Concat(pairs, eval)); err != nil {
		return nil, err
	}
	order, err := walkOver(&opts.Common, pairs, pairOrigin)
	if err != nil {
		return nil, err
	}
	d := &DPO{opts: opts, method: pairMethods[opts.Loss], model: m, pairs: without(pairs), eval: without(eval),
		save: save, order: order}
	if d.method.free {
		return d, nil
	}
	if d.ref = ref; ref == nil {
		return nil, fault.Inputf("--loss %s compares the policy with a reference; give --reference DIR, usually the model that training starts from", opts.Loss)
	}
	return d, nil
}

// without makes preferences of pairs whose reference is not known yet.
func without(pairs []data.Pair) []preference {
	out := make([]preference, len(pairs))
	for i, p := range pairs {
		out[i].Pair = p
	}
	return out
}

// Prepare computes the reference's log-probabilities of the pairs that the run's steps take and of those held out, or
// reads them from disk. The first step does it too; called before, it leaves the first step's time alone.
func (d *DPO) Prepare(ctx context.Context) error {
	if d.ref == nil {
		return nil
	}
	wanted, err := d.taken()
	if err != nil {
		return err
	}
	all := make([]*preference, 0, len(d.pairs)+len(d.eval))
	for i := range d.pairs {
		all = append(all, &d.pairs[i])
	}
	for i := range d.eval {
		wanted = append(wanted, len(all))
		all = append(all, &d.eval[i])
	}
	pairs := make([]data.Pair, len(all))
	for i, p := range all {
		pairs[i] = p.Pair
	}
	known, err := d.ref.LogProbs(ctx, pairs, wanted)
	if err != nil {
		return err
	}
	for i, p := range all {
		p.ref = known[i]
	}
	d.ref = nil
	return nil
}

// taken lists, in order, the pairs that the steps of the run compute, from the first step on: a run that goes on asks for
// the same ones as before its end.
func (d *DPO) taken() ([]int, error) {
	if d.idle {
		return []int{}, nil // not nil, which is all
	}
	origins := make([]*data.Row, len(d.pairs))
	for i, p := range d.pairs {
		origins[i] = pairOrigin(p.Pair)
	}
	steps, err := d.opts.EachStep(origins, d.opts.BatchSize, 0)
	if err != nil {
		return nil, err
	}
	seen, left := make([]bool, len(d.pairs)), len(d.pairs)
	for batch := range steps {
		for _, i := range batch {
			if !seen[i] {
				seen[i] = true
				left--
			}
		}
		if left == 0 {
			break
		}
	}
	return slices.DeleteFunc(indices(len(seen)), func(i int) bool { return !seen[i] }), nil
}

// CheckPairs refuses pairs that cannot teach a preference.
func CheckPairs(pairs []data.Pair) error {
	for i, p := range pairs {
		for _, side := range []struct {
			name string
			data.Example
		}{{"chosen", p.Chosen}, {"rejected", p.Rejected}} {
			if side.Targets() == 0 {
				return fault.Inputf("%s: the %s completion has no target token; raise --max-length, or remove the row", placeOf(p, i), side.name)
			}
		}
		if SamePair(p) {
			return fault.Inputf("%s: the chosen and the rejected completion are the same tokens, so neither is preferred; remove the row, or drop such rows with --identical drop", placeOf(p, i))
		}
	}
	return nil
}

// SamePair reports whether a pair's completions are the same tokens.
func SamePair(p data.Pair) bool {
	return slices.Equal(p.Chosen.IDs, p.Rejected.IDs) && slices.Equal(p.Chosen.Mask, p.Rejected.Mask)
}

// placeOf names a pair's row in messages; i is its index.
func placeOf(p data.Pair, i int) string {
	if p.Chosen.Row != nil {
		return p.Chosen.Row.At()
	}
	return fmt.Sprintf("pair %d", i+1)
}

// Params implements Trainer.
func (d *DPO) Params() []nn.Param { return prefixed("", d.model) }

// Steps implements Trainer.
func (d *DPO) Steps() int { return d.opts.StepCount(d.order.Len(), d.opts.BatchSize) }

// Step implements Trainer.
func (d *DPO) Step(ctx context.Context, u *Update) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	if err := d.Prepare(ctx); err != nil {
		return Result{}, err
	}
	batch := pick(d.pairs, d.order.Next(d.opts.BatchSize))
	scalars, err := d.Update(u, batch)
	if err != nil {
		return Result{}, err
	}
	tokens := 0
	for _, p := range batch {
		tokens += len(p.Chosen.IDs) + len(p.Rejected.IDs)
	}
	d.step++
	d.tokens += tokens
	scalars["epoch"], scalars["num_tokens"] = d.order.Epochs(), float64(d.tokens)
	if every := d.opts.EvalEvery; every > 0 && d.step%every == 0 {
		// The weights have moved: an interrupt must not make this step look as if it had not been taken.
		held, err := d.heldOut(context.WithoutCancel(ctx))
		if err != nil {
			return Result{}, err
		}
		for k, v := range held {
			scalars[k] = v
		}
	}
	return Result{Scalars: scalars, Tokens: tokens}, nil
}

// Update takes one optimizer step on the mean loss of batch.
func (d *DPO) Update(u *Update, batch []preference) (map[string]float64, error) {
	batch = byLength(batch, func(p preference) int { return pairLength(p.Pair) })
	parts := split(len(batch), d.opts.micro(len(batch)))
	whole := sizeOf(batch)
	u.holds(sidesOf(batch, preference.pair))
	return u.Do(len(parts), func(i int) (tensor.Tensor, Stats) {
		return d.loss(batch[parts[i][0]:parts[i][1]], whole)
	})
}

// pairSize counts what means are taken over.
type pairSize struct{ pairs, chosen, targets int }

func sizeOf[T interface{ pair() data.Pair }](batch []T) pairSize {
	s := pairSize{pairs: len(batch)}
	for i := range batch {
		p := batch[i].pair()
		s.chosen += p.Chosen.Targets()
		s.targets += p.Chosen.Targets() + p.Rejected.Targets()
	}
	return s
}

// pairLength is the longer side of a pair.
func pairLength(p data.Pair) int { return max(len(p.Chosen.IDs), len(p.Rejected.IDs)) }

// loss is the share of part in the mean loss over whole, with the same share of the metrics.
func (d *DPO) loss(part []preference, whole pairSize) (tensor.Tensor, Stats) {
	s, ref := readPairs(d.model, part, 1, whole)
	loss := d.method.loss(s.sums, ref, d.opts.PairSettings).Sum().DivScalar(float64(whole.pairs))
	return loss, pairMetrics(s, ref, d.opts.Beta, d.method.mean, whole)
}

// readPairs scores part by m at a temperature, with gradient, and lays the reference's numbers beside it.
func readPairs(m models.Model, part []preference, temperature float64, whole pairSize) (s pairScores, ref Pair) {
	pairs := make([]data.Pair, len(part))
	w, l := make([]float32, len(part)), make([]float32, len(part))
	for i, p := range part {
		pairs[i], w[i], l[i] = p.Pair, float32(p.ref.Chosen), float32(p.ref.Rejected)
	}
	s = scorePairs(m, pairs, temperature)
	s.sums.MeanChosenLen = float64(whole.chosen) / float64(whole.pairs)
	ref = s.sums // lengths are the same
	ref.Chosen = tensor.Floats(w, len(w)).OnDevice(s.sums.Chosen.Device())
	ref.Rejected = tensor.Floats(l, len(l)).OnDevice(s.sums.Chosen.Device())
	return s, ref
}

// pairMetrics are TRL's, as shares of whole. A reward is β times what the loss compares: the log-ratio to the reference, or
// the log-probability where there is none, summed or averaged over tokens.
func pairMetrics(s pairScores, ref Pair, beta float64, mean bool, whole pairSize) Stats {
	w, l := s.sums.Chosen.Detach(), s.sums.Rejected.Detach()
	rw, rl := w.Sub(ref.Chosen).MulScalar(beta), l.Sub(ref.Rejected).MulScalar(beta)
	if mean {
		rw, rl = rw.Div(ref.ChosenLen), rl.Div(ref.RejectedLen)
	}
	share := func(x tensor.Tensor, n int) tensor.Tensor { return x.To(tensor.Float64).Sum().DivScalar(float64(n)) }
	return Stats{
		"rewards/chosen":      share(rw, whole.pairs),
		"rewards/rejected":    share(rl, whole.pairs),
		"rewards/margins":     share(rw.Sub(rl), whole.pairs),
		"rewards/accuracies":  share(rw.GtTensor(rl).To(tensor.Float32), whole.pairs), // equal rewards are not correct
		"logps/chosen":        share(w, whole.pairs),
		"logps/rejected":      share(l, whole.pairs),
		"nll_loss":            share(w.Neg(), whole.chosen),
		"entropy":             share(s.tokens.Entropy.Detach(), whole.targets),
		"mean_token_accuracy": share(s.tokens.Correct.Narrow(0, 0, s.chosen), whole.chosen), // of the chosen completions
	}
}

// pairScores is one model's view of a micro-batch of pairs.
type pairScores struct {
	sums   Pair                // [b]; MeanChosenLen is the caller's to set
	tokens tensor.TargetScores // [N] per target token, those of all chosen completions first
	chosen int                 // number of the chosen completions' targets
}

// scorePairs reads both sides of all pairs in one forward pass; the LM head runs on the targets alone.
func scorePairs(m models.Model, pairs []data.Pair, temperature float64) pairScores {
	b := len(pairs)
	rows, lens := make([]data.Example, 2*b), make([]float32, 2*b)
	for i, p := range pairs {
		rows[i], rows[b+i] = p.Chosen, p.Rejected
		lens[i], lens[b+i] = float32(p.Chosen.Targets()), float32(p.Rejected.Targets())
	}
	in, at := collate(rows)
	s := pairScores{tokens: models.LogProbs(m, in, at, temperature), chosen: countTargets(rows[:b])}
	sums := at.SumRows(s.tokens.LogP, 2*b)                              // [2b]
	length := tensor.Floats(lens, 2*b).OnDevice(s.tokens.LogP.Device()) // [2b]
	s.sums = Pair{Chosen: sums.Narrow(0, 0, b), Rejected: sums.Narrow(0, b, b),
		ChosenLen: length.Narrow(0, 0, b), RejectedLen: length.Narrow(0, b, b)}
	return s
}

// Finish implements Finisher: loss and metrics on the held-out pairs.
func (d *DPO) Finish(ctx context.Context) (map[string]float64, error) {
	if err := d.Prepare(ctx); err != nil {
		return nil, err
	}
	return d.heldOut(ctx)
}

// heldOut returns the metrics of the held-out pairs under eval_ names; none if there are no such pairs.
func (d *DPO) heldOut(ctx context.Context) (map[string]float64, error) {
	defer profile.Begin(profile.Evaluate).End()
	sums, out := map[string]float64{}, map[string]float64{}
	whole := sizeOf(d.eval)
	for _, part := range split(len(d.eval), d.opts.micro(d.opts.BatchSize)) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err := tensor.NoGrad(func() error {
			loss, stats := d.loss(d.eval[part[0]:part[1]], whole)
			accumulate(sums, loss, stats)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for k, v := range sums {
		out["eval_"+k] = v
	}
	return out, nil
}

// dpoState is what a checkpoint holds beside weights and optimizer.
type dpoState struct {
	Step   int             `json:"step"`
	Tokens int             `json:"tokens"`
	Order  json.RawMessage `json:"order"`
}

// State implements Trainer.
func (d *DPO) State() ([]byte, error) {
	order, err := d.order.State()
	if err != nil {
		return nil, err
	}
	return json.Marshal(dpoState{d.step, d.tokens, order})
}

// Restore implements Trainer.
func (d *DPO) Restore(raw []byte) error {
	var st dpoState
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	d.step, d.tokens = st.Step, st.Tokens
	return d.order.Restore(st.Order)
}

// Parts implements Trainer.
func (d *DPO) Parts() ([]checkpoint.Part, error) { return keep(d.model, d.save) }

// Load implements Trainer.
func (d *DPO) Load(dir string) error { return loadInto(dir, d.model) }

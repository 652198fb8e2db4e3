package trainers

// How an online method reads its policy on a micro-batch, and what its loss may look at.

import (
	"salsa/models"
	"salsa/tensor"
)

// extent counts what the means of a mini-batch are taken over.
type extent struct {
	sequences, tokens int
	places            int // of values: one more than tokens for every score that stands after the EOS
}

// forward is the policy's view of a micro-batch, or of some of its tokens where the method learns token by token; now
// carries the gradient.
type forward struct {
	part     []Sample       // of the micro-batch
	at       models.Targets // of its completions' tokens
	from, to int            // those that are viewed, N of them
	now, old tensor.Tensor  // [N] fp32 log-probabilities of the policy: as it is, and as it sampled
	entropy  tensor.Tensor  // [N]
	whole    extent         // of the mini-batch
}

// of lays one per-token series of the samples end to end as a constant: [N] fp32.
func (f *forward) of(series func(*Sample) []float64) tensor.Tensor {
	return flatten(f.part, f.now.Device(), series).Narrow(0, f.from, f.to-f.from)
}

// advantages are those of the chosen tokens, [N] fp32.
func (f *forward) advantages() tensor.Tensor {
	return f.of(func(s *Sample) []float64 { return s.Advantages[:len(s.Completion)] })
}

// perToken is the share of a sum over tokens in the mini-batch's mean.
func (f *forward) perToken(x tensor.Tensor) tensor.Tensor {
	return x.Sum().MulScalar(1 / float64(f.whole.tokens))
}

// policyLoss is the method's loss of the policy on a micro-batch, with the metrics that all methods have. seen is called
// with every view that the loss is taken of.
func (r *Online) policyLoss(part []Sample, whole extent, seen func(f forward)) (tensor.Tensor, Stats) {
	in, at := collate(examplesOf(part))
	stats := Stats{}
	loss := func(from, to int, s tensor.TargetScores) tensor.Tensor {
		f := forward{part: part, at: at, from: from, to: to, now: s.LogP, entropy: s.Entropy, whole: whole}
		f.old = f.of(func(s *Sample) []float64 { return s.LogProbs })
		seen(f)
		loss, share := r.method.loss(f)
		share["policy/approxkl_avg"] = f.perToken(f.now.Sub(f.old).Square()).MulScalar(0.5)
		share["policy/entropy_avg"] = f.perToken(f.entropy)
		stats.add(share)
		return loss
	}
	if r.method.tokenwise() {
		return models.LogProbsLoss(r.cast.Policy, in, at, r.set.Temperature, loss), stats
	}
	scores := models.LogProbs(r.cast.Policy, in, at, r.set.Temperature) // its Checkpoints must live until Backward
	return tensor.Scoped(func() tensor.Tensor { return loss(0, len(at.Rows), scores) }), stats
}

// flatten lays one per-token series of all samples end to end as a constant: [N] fp32.
func flatten(samples []Sample, dev tensor.Device, of func(*Sample) []float64) tensor.Tensor {
	var flat []float32
	for i := range samples {
		for _, v := range of(&samples[i]) {
			flat = append(flat, float32(v))
		}
	}
	return tensor.Floats(flat, len(flat)).OnDevice(dev)
}

// unlearned makes of a term one of loss 0 and without gradient, with the same metrics.
func unlearned(term func(i int) (tensor.Tensor, Stats)) func(i int) (tensor.Tensor, Stats) {
	return func(i int) (zero tensor.Tensor, stats Stats) {
		err := tensor.NoGrad(func() error {
			_, stats = term(i)
			for _, s := range stats {
				s.Keep()
			}
			return nil
		})
		if err != nil {
			panic(err)
		}
		return tensor.Scalar(0), stats
	}
}

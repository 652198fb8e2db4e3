package trainers

// Supervised fine-tuning: the token-global mean of -log π over the completion's tokens.

import (
	"context"
	"math"
	"slices"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/profile"
	"salsa/models"
	"salsa/nn"
	"salsa/tensor"
)

// SFTOptions are the options of supervised fine-tuning.
type SFTOptions struct {
	Common          `group:"Optimizer"`
	Packing         bool   `yaml:"packing" help:"lay several rows end to end up to --max-length; they do not see one another"`
	PackingStrategy string `yaml:"packing_strategy" enum:"bfd,bfd_split,wrapped" help:"best fit, cutting what is too long; best fit, splitting it; or one stream, chopped"`
	EvalEvery       int    `yaml:"eval_every" help:"steps between measurements of the held-out loss; 0: only at the end" check:">=0"`
}

// DefaultSFT returns the defaults of `salsa sft`.
func DefaultSFT() SFTOptions {
	o := SFTOptions{Common: DefaultCommon(), PackingStrategy: "bfd"}
	o.LearningRate, o.LRSchedule, o.WarmupRatio = 2e-5, "cosine", 0.1
	return o
}

// SFT fine-tunes a model on examples.
type SFT struct {
	opts   SFTOptions
	model  models.Model
	rows   []packed
	eval   []data.Example // held out; may be empty
	order  data.Walk
	save   SaveFunc
	step   int
	tokens int // seen so far
}

// SaveFunc returns a model as the parts of a Hugging Face folder.
type SaveFunc func(m models.Model) []checkpoint.Part

// NewSFT makes the trainer; save is how the model is written. With packing, rows are filled up to maxLength tokens.
func NewSFT(m models.Model, examples, eval []data.Example, opts SFTOptions, maxLength int, save SaveFunc) (*SFT, error) {
	if len(examples) == 0 {
		return nil, fault.Inputf("no training rows are left after encoding; check --data and --max-length")
	}
	if countTargets(examples) == 0 {
		return nil, fault.Inputf("no row of --data has a target token: every token is masked out of the loss")
	}
	rows, err := packRows(examples, opts, maxLength)
	if err != nil {
		return nil, err
	}
	order, err := walkOver(&opts.Common, rows, packed.origin)
	if err != nil {
		return nil, err
	}
	return &SFT{opts: opts, model: m, rows: rows, eval: eval, save: save, order: order}, nil
}

// Params implements Trainer.
func (s *SFT) Params() []nn.Param { return prefixed("", s.model) }

// Steps implements Trainer.
func (s *SFT) Steps() int { return s.opts.StepCount(s.order.Len(), s.opts.BatchSize) }

// Step implements Trainer.
func (s *SFT) Step(ctx context.Context, u *Update) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	batch := pick(s.rows, s.order.Next(s.opts.BatchSize))
	scalars, err := s.update(u, batch)
	if err != nil {
		return Result{}, err
	}
	tokens := 0
	for _, row := range batch {
		tokens += row.tokens()
	}
	s.step++
	s.tokens += tokens
	scalars["epoch"], scalars["num_tokens"] = s.order.Epochs(), float64(s.tokens)
	if every := s.opts.EvalEvery; every > 0 && s.step%every == 0 && len(s.eval) > 0 {
		// The weights have moved: an interrupt must not make this step look as if it had not been taken.
		if scalars["eval_loss"], err = s.evalLoss(context.WithoutCancel(ctx)); err != nil {
			return Result{}, err
		}
	}
	return Result{Scalars: scalars, Tokens: tokens}, nil
}

// Update takes one optimizer step on batch: loss = -Σ log π(y_t|·) / N with N the targets of the whole batch, not
// a mean of micro-batch means.
func (s *SFT) Update(u *Update, batch []data.Example) (map[string]float64, error) {
	return s.update(u, unpacked(batch))
}

func (s *SFT) update(u *Update, batch []packed) (map[string]float64, error) {
	batch = byLength(batch, packed.tokens)
	total := 0
	for _, row := range batch {
		total += countTargets(row)
	}
	if total == 0 {
		return nil, fault.Inputf("a batch of %d rows has no target token; raise --batch-size or drop rows without a completion", len(batch))
	}
	parts := split(len(batch), s.opts.micro(len(batch)))
	u.holds(func() []data.Example { return slices.Concat(batch...) })
	return u.Do(len(parts), func(i int) (tensor.Tensor, Stats) {
		in, at := collatePacked(batch[parts[i][0]:parts[i][1]])
		return NLL(s.model, in, at, total)
	})
}

// NLL is the share of a micro-batch in the mean negative log-likelihood over total target tokens.
func NLL(m models.Model, in models.Input, at models.Targets, total int) (tensor.Tensor, Stats) {
	if len(at.Rows) == 0 { // a micro-batch of masked rows contributes nothing
		return tensor.Scalar(0).RequireGrad(true), nil
	}
	scale, stats := 1/float64(total), Stats{}
	loss := models.LogProbsLoss(m, in, at, 1, func(_, _ int, s tensor.TargetScores) tensor.Tensor {
		stats.add(Stats{"entropy": s.Entropy.Sum().MulScalar(scale), "mean_token_accuracy": s.Correct.Sum().MulScalar(scale)})
		return s.LogP.Sum().MulScalar(-scale)
	})
	return loss, stats
}

// Finish implements Finisher: the held-out loss and perplexity.
func (s *SFT) Finish(ctx context.Context) (map[string]float64, error) {
	if len(s.eval) == 0 {
		return map[string]float64{}, nil
	}
	loss, err := s.evalLoss(ctx)
	return map[string]float64{"eval_loss": loss, "eval_perplexity": math.Exp(loss)}, err
}

func (s *SFT) evalLoss(ctx context.Context) (float64, error) {
	return HeldOutLoss(ctx, s.model, s.eval, s.opts.micro(s.opts.BatchSize))
}

// HeldOutLoss returns the mean -log π over all target tokens of examples.
func HeldOutLoss(ctx context.Context, m models.Model, examples []data.Example, micro int) (float64, error) {
	defer profile.Begin(profile.Evaluate).End()
	sum, n := 0.0, 0
	for _, part := range split(len(examples), micro) {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		err := tensor.NoGrad(func() error {
			in, at := collate(examples[part[0]:part[1]])
			if len(at.Rows) > 0 {
				sum -= models.LogProbs(m, in, at, 1).LogP.To(tensor.Float64).Sum().Item()
				n += len(at.Rows)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if n == 0 {
		return 0, fault.Inputf("the held-out rows have no target token")
	}
	return sum / float64(n), nil
}

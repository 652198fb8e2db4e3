package job

// salsa score: log-probabilities of given completions under a model, or rewards under a reward model.

import (
	"context"
	"fmt"
	"os"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
)

// ScoreOptions are the options of `salsa score`.
type ScoreOptions struct {
	Model     string   `yaml:"model" required:"true" input:"path" arg:"DIR" help:"language model or reward model"`
	Reference string   `yaml:"reference" arg:"DIR[,DIR...][@w,w...]" help:"also write log-probs under this model or soup"`
	Data      []string `yaml:"data" required:"true" input:"path" arg:"FILES" help:"rows with a prompt and a completion; of preference pairs the chosen one is scored"`
	Out       string   `yaml:"out" required:"true" arg:"FILE" help:"a .jsonl file, a row for each row of --data; one that is there is replaced" hash:"-"`
	BatchSize int      `yaml:"batch_size" help:"sequences at once" check:">=1,<=1000000"`
	MaxLength int      `yaml:"max_length" help:"longest sequence; 0: the model's context" unit:"tokens" check:">=0"`
	Base
}

// DefaultScore returns the defaults.
func DefaultScore() ScoreOptions { return ScoreOptions{BatchSize: 16, Base: defaultBase()} }

// InputPaths lists the folders inside the reference expression.
func (o *ScoreOptions) InputPaths() []string {
	return memberDirs(o.Reference)
}

// scored is a row of the output; what does not apply is left out.
type scored struct {
	TokenLogProbs    *[]float64 `json:"token_logprobs,omitempty"`
	LogProb          *float64   `json:"logprob,omitempty"`
	RefTokenLogProbs *[]float64 `json:"ref_token_logprobs,omitempty"`
	RefLogProb       *float64   `json:"ref_logprob,omitempty"`
	Reward           *float64   `json:"reward,omitempty"`
}

// Score runs the job. No eos is added: what is scored is what stands in the row.
func Score(ctx context.Context, o *ScoreOptions) (scalars map[string]float64, err error) {
	cfg, ref, err := o.preflight()
	if err != nil {
		return nil, err
	}
	enc, err := newEncoder(o.Model, cfg, o.MaxLength, "")
	if err != nil {
		return nil, err
	}
	enc.EOS, enc.Empty = -1, data.EmptyKeep
	rows, err := readRows(o.Data, "", !o.Quiet)
	if err != nil {
		return nil, err
	}
	examples, err := encode(rows, "rows", !o.Quiet, enc.SFT)
	if err != nil {
		return nil, err
	}
	out := make([]scored, len(examples))
	err = compute(&o.Base, func(opt models.Options) error {
		if cfg.Scores {
			return o.rewards(ctx, opt, examples, out)
		}
		if err := o.logProbs(ctx, soup.Expr{Dirs: []string{o.Model}}, opt, examples, func(i int, lp []float64, sum float64) {
			out[i].TokenLogProbs, out[i].LogProb = &lp, &sum
		}); err != nil || o.Reference == "" {
			return err
		}
		return o.logProbs(ctx, ref, opt, examples, func(i int, lp []float64, sum float64) {
			out[i].RefTokenLogProbs, out[i].RefLogProb = &lp, &sum
		})
	})
	if err != nil {
		return nil, err
	}
	return map[string]float64{"rows": float64(len(out))}, writeRows(o.Out, out)
}

// preflight opens all folders by their headers and looks at the place of the output.
func (o *ScoreOptions) preflight() (*models.Config, soup.Expr, error) {
	cfg, err := models.Check(o.Model, models.AnyKind)
	if err != nil {
		return nil, soup.Expr{}, err
	}
	if err := checkOutFile(o.Out, o.Data...); err != nil || o.Reference == "" {
		return cfg, soup.Expr{}, err
	}
	if cfg.Scores {
		return nil, soup.Expr{}, fault.Inputf("--reference needs a language model as --model; %s is a reward model", o.Model)
	}
	ref, err := soup.ParseExpr(o.Reference, false)
	if err != nil {
		return nil, ref, err
	}
	if err := checkReference(ref, o.Model); err != nil {
		return nil, ref, err
	}
	return cfg, ref, nil
}

// each runs fn over batches of examples with progress.
func (o *ScoreOptions) each(ctx context.Context, what string, examples []data.Example, fn func(from, to int)) error {
	var progress *metrics.Progress
	if !o.Quiet {
		progress = metrics.NewProgress(os.Stderr, what, 0, len(examples))
		defer progress.Done()
	}
	for from := 0; from < len(examples); from += o.BatchSize {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		to := min(from+o.BatchSize, len(examples))
		if err := tensor.NoGrad(func() error { fn(from, to); return nil }); err != nil {
			return fmt.Errorf("rows %d to %d: %w", from+1, to, err)
		}
		if progress != nil {
			for _, x := range examples[from:to] {
				progress.Tokens(len(x.IDs))
			}
			progress.Step(to)
		}
	}
	return nil
}

func (o *ScoreOptions) logProbs(ctx context.Context, e soup.Expr, opt models.Options, examples []data.Example, emit func(i int, lp []float64, sum float64)) error {
	return tensor.Scope(func() error {
		m, err := e.Load(opt)
		if err != nil {
			return err
		}
		return o.each(ctx, "score", examples, func(from, to int) {
			rows, masks := make([][]int, to-from), make([][]bool, to-from)
			for i, x := range examples[from:to] {
				rows[i], masks[i] = x.IDs, x.Mask
			}
			at := models.TargetsOf(rows, masks)
			perRow := make([][]float64, to-from)
			if len(at.Rows) > 0 {
				for n, lp := range models.LogProbs(m, models.Collate(rows), at, 1).LogP.Float64s() {
					perRow[at.Rows[n]] = append(perRow[at.Rows[n]], lp)
				}
			}
			for i, row := range perRow {
				sum := 0.0
				for _, lp := range row {
					sum += lp
				}
				emit(from+i, notNil(row), sum)
			}
		})
	})
}

func (o *ScoreOptions) rewards(ctx context.Context, opt models.Options, examples []data.Example, out []scored) error {
	s, err := models.LoadScorer(o.Model, opt)
	if err != nil {
		return err
	}
	return o.each(ctx, "score", examples, func(from, to int) {
		rows := make([][]int, to-from)
		for i, x := range examples[from:to] {
			rows[i] = x.IDs
		}
		for i, r := range s.Rewards(models.Collate(rows)).Float64s() {
			out[from+i].Reward = &r
		}
	})
}

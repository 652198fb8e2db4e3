package job

// salsa generate: completions for a file of prompts.

import (
	"context"
	"errors"
	"os"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/models"
)

// GenerateOptions are the options of `salsa generate`.
type GenerateOptions struct {
	Model     string   `yaml:"model" required:"true" input:"path" arg:"DIR" help:"language model"`
	Data      []string `yaml:"data" required:"true" input:"path" arg:"FILES" help:"prompts"`
	Out       string   `yaml:"out" required:"true" arg:"FILE" help:"a .jsonl file, --samples rows for each row of --data; one that is there is replaced" hash:"-"`
	Samples   int      `yaml:"samples" help:"completions per prompt" check:">=1,<=1000000"`
	MaxLength int      `yaml:"max_length" help:"longest prompt; 0: what the context leaves" unit:"tokens" check:">=0"`
	Overlong  string   `yaml:"overlong" enum:"error,truncate-left,truncate-right" help:"what happens to prompts that are longer"`
	LogProbs  bool     `yaml:"logprobs" help:"write the log-probability of every token too"`
	Base      `group:"Machine"`
	Sampling  `group:"Sampling"`
	Shaping   `group:"Sampling"`
}

// DefaultGenerate returns the defaults.
func DefaultGenerate() GenerateOptions {
	return GenerateOptions{Samples: 1, Overlong: "error", Base: defaultBase(), Sampling: defaultSampling(), Shaping: defaultShaping()}
}

// generated is a row of the output.
type generated struct {
	PromptIDs     []int     `json:"prompt_ids"` // so that the row can be scored as it is
	CompletionIDs []int     `json:"completion_ids"`
	Completion    string    `json:"completion"`
	Stopped       bool      `json:"stopped"`
	LogProbs      []float32 `json:"logprobs,omitempty"`
}

// needEnd refuses a model whose completions would have no end: neither a stop token nor a stop text.
func (o *GenerateOptions) needEnd(enc *data.Encoder) error {
	if len(enc.Stops) == 0 && len(o.Stop) == 0 {
		return fault.Inputf("%s: neither generation_config.json nor config.json has eos_token_id; add it, or give a text that ends completions with --stop", o.Model)
	}
	return nil
}

// Generate runs the job.
func Generate(ctx context.Context, o *GenerateOptions) (scalars map[string]float64, err error) {
	cfg, err := models.Check(o.Model, models.LanguageModel)
	if err != nil {
		return nil, err
	}
	if err := checkOutFile(o.Out, o.Data...); err != nil {
		return nil, err
	}
	enc, err := newEncoder(o.Model, cfg, o.MaxLength, o.Overlong)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(o.needEnd(enc), o.room(enc, cfg), o.check(o.Model, enc)); err != nil {
		return nil, err
	}
	rows, err := readRows(o.Data, "", !o.Quiet)
	if err != nil {
		return nil, err
	}
	prompts, err := encode(rows, "prompts", !o.Quiet, enc.Prompt)
	if err != nil {
		return nil, err
	}
	o.tellOfRoom(prompts, cfg, !o.Quiet)
	var out []generated
	scalars = map[string]float64{}
	err = compute(&o.Base, func(opt models.Options) error {
		m, err := models.Load(o.Model, opt)
		if err != nil {
			return err
		}
		var progress *metrics.Progress
		if !o.Quiet {
			progress = metrics.NewProgress(os.Stderr, "generate", 0, len(prompts)*o.Samples)
			defer progress.Done()
			defer func() { _, scalars["tokens_per_s"] = progress.Rates() }()
		}
		gen := o.options(o.Samples, enc.Stops, progress)
		gen.RepetitionPenalty, gen.Ends = o.RepetitionPenalty, o.ends(enc)
		drawn, err := models.Generate(ctx, m, promptIDs(prompts), gen)
		for i, c := range drawn {
			text, _ := o.cut(completionText(enc, c.IDs))
			row := generated{PromptIDs: prompts[i/o.Samples].IDs, CompletionIDs: c.IDs, Completion: text, Stopped: c.Stopped}
			if o.LogProbs {
				row.LogProbs = c.LogProbs
			}
			scalars["completion_tokens"] += float64(len(c.IDs))
			out = append(out, row)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	scalars["rows"] = float64(len(out))
	return scalars, writeRows(o.Out, out)
}

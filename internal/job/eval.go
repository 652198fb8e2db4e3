package job

// salsa eval: several models answer the same held-out prompts, and the same judges measure them.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/trainers"
)

// EvalOptions are the options of `salsa eval`.
type EvalOptions struct {
	Models      []string `yaml:"models" required:"true" input:"path" arg:"DIRS" help:"models to compare"`
	RewardModel string   `yaml:"reward_model" arg:"DIR" help:"reward model that scores the samples; a soup or an ensemble as in salsa ppo"`
	KLTo        []string `yaml:"kl_to" input:"path" arg:"DIRS" help:"models to which the KL is measured; one common reference makes runs comparable"`
	Gold        string   `yaml:"gold" enum:"none,salsa,salsa-safety" help:"exact reward: salsa is the demo task's taste, salsa-safety its safety"`
	Safety      string   `yaml:"safety" enum:"none,salsa-safety" help:"exact score that is reported as safety, beside gold: salsa-safety is the demo task's"`
	Data        []string `yaml:"data" required:"true" input:"path" arg:"FILES" help:"prompts"`
	Holdout     float64  `yaml:"holdout" help:"use only the prompts that --holdout kept out of training; 0: all" check:">=0,<1"`
	MaxPrompts  int      `yaml:"max_prompts" help:"use at most so many prompts; 0: all" check:">=0"`
	Samples     int      `yaml:"samples" help:"completions per prompt" check:">=1,<=1000000"`
	Out         string   `yaml:"out" required:"true" arg:"DIR" help:"folder for eval.json" hash:"-"`
	MaxLength   int      `yaml:"max_length" help:"longest prompt; 0: what the context leaves" unit:"tokens" check:">=0"`
	Overlong    string   `yaml:"overlong" enum:"error,drop,truncate-left,truncate-right" help:"what happens to prompts that are longer"`
	Base        `group:"Machine"`
	Sampling    `group:"Sampling"`
}

// DefaultEval returns the defaults.
func DefaultEval() EvalOptions {
	return EvalOptions{Gold: "none", Safety: "none", Samples: 1, Overlong: "error", Base: defaultBase(), Sampling: defaultSampling()}
}

// EvalFile is what an evaluation leaves in its folder: an Evaluation as JSON.
const EvalFile = "eval.json"

// InputPaths lists the folders inside the expression of the reward model.
func (o *EvalOptions) InputPaths() []string { return rewardDirs(o.RewardModel) }

// Evaluation is eval.json. The arrays of a model hold Samples entries for each prompt, prompt by prompt.
type Evaluation struct {
	Prompts     []string         `json:"prompts"`
	Samples     int              `json:"samples"`
	Temperature float64          `json:"temperature"`
	Models      []EvaluatedModel `json:"models"`
}

// EvaluatedModel is one model's part of an Evaluation.
type EvaluatedModel struct {
	Name string `json:"name"`
	Dir  string `json:"dir"`
	judged
}

// Eval runs the job.
func Eval(ctx context.Context, o *EvalOptions) (scalars map[string]float64, err error) {
	prompts, enc, err := o.prompts()
	if err != nil {
		return nil, err
	}
	if err := checkpoint.PrepareOut(o.Out, false); err != nil {
		return nil, err
	}
	result := Evaluation{Samples: o.Samples, Temperature: o.Temperature}
	for _, p := range prompts {
		result.Prompts = append(result.Prompts, p.Text)
	}
	err = compute(&o.Base, func(opt models.Options) error {
		j, err := o.judges(opt, enc)
		if err != nil {
			return err
		}
		for i, dir := range o.Models {
			m, err := o.one(ctx, i, dir, opt, j, prompts, enc)
			if err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
			result.Models = append(result.Models, m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(o.Out, EvalFile)
	if err := checkpoint.WriteFileAtomic(path, raw); err != nil {
		return nil, err
	}
	return result.scalars(), o.tell(func(w io.Writer) error { return result.writeText(w, path) })
}

// prompts reads and encodes the prompts with the first model's tokenizer.
func (o *EvalOptions) prompts() ([]data.Prompt, *data.Encoder, error) {
	cfg, err := o.preflight()
	if err != nil {
		return nil, nil, err
	}
	enc, err := newEncoder(o.Models[0], cfg, o.MaxLength, o.Overlong)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(needStops(o.Models[0], enc), o.room(enc, cfg)); err != nil {
		return nil, nil, err
	}
	rows, err := readRows(o.Data, "", !o.Quiet)
	if err != nil {
		return nil, nil, err
	}
	if o.Holdout > 0 {
		if _, rows = splitRows(rows, o.Holdout); len(rows) == 0 {
			return nil, nil, fault.Inputf("--holdout %g keeps no prompt of --data; raise it", o.Holdout)
		}
	}
	prompts, err := encode(rows, "prompts", !o.Quiet, enc.Prompt)
	if err != nil {
		return nil, nil, err
	}
	if o.MaxPrompts > 0 && len(prompts) > o.MaxPrompts {
		prompts = prompts[:o.MaxPrompts]
	}
	o.tellOfRoom(prompts, cfg, !o.Quiet)
	return prompts, enc, errors.Join(checkGold("gold", o.Gold, prompts), checkGold("safety", o.Safety, prompts),
		checkGold("reward-model", goldIn(o.RewardModel), prompts))
}

// preflight opens all folders by their headers and compares their vocabularies. It returns the first model's config.
func (o *EvalOptions) preflight() (*models.Config, error) {
	others := slices.Concat(o.Models[1:], o.KLTo)
	if err := checkModels(models.LanguageModel, others...); err != nil {
		return nil, err
	}
	if o.RewardModel != "" {
		scorer, err := parseReward("reward-model", o.RewardModel)
		if err != nil {
			return nil, err
		}
		if err := scorer.check(o.Models[0]); err != nil {
			return nil, err
		}
	}
	for _, dir := range others {
		if err := sharesVocabulary(o.Models[0], dir); err != nil {
			return nil, err
		}
	}
	return models.Check(o.Models[0], models.LanguageModel)
}

func (o *EvalOptions) judges(opt models.Options, enc *data.Encoder) (*judges, error) {
	j := &judges{micro: o.BatchSize}
	if o.RewardModel != "" {
		scorer, err := parseReward("reward-model", o.RewardModel)
		if err != nil {
			return nil, err
		}
		if j.reward, err = scorer.load(opt, o.BatchSize, enc); err != nil {
			return nil, err
		}
	}
	j.gold, j.safety = goldTask(o.Gold, enc), goldTask(o.Safety, enc)
	for _, dir := range o.KLTo {
		m, err := models.Load(dir, opt)
		if err != nil {
			return nil, err
		}
		j.refs = append(j.refs, trainers.Watched{Name: filepath.Base(filepath.Clean(dir)), Model: m})
	}
	return j, nil
}

// one evaluates a single model; its weights are freed before the next comes.
func (o *EvalOptions) one(ctx context.Context, i int, dir string, opt models.Options, j *judges, prompts []data.Prompt, enc *data.Encoder) (EvaluatedModel, error) {
	out := EvaluatedModel{Name: filepath.Base(filepath.Clean(dir)), Dir: dir}
	var progress *metrics.Progress
	if !o.Quiet {
		progress = metrics.NewProgress(os.Stderr, fmt.Sprintf("eval %d/%d %s", i+1, len(o.Models), out.Name), 0, len(prompts)*o.Samples)
		defer progress.Done()
	}
	scope := func(m models.Model) error {
		drawn, err := o.draw(ctx, m, promptIDs(prompts), o.Samples, enc.Stops, progress)
		if err != nil {
			return err
		}
		if progress != nil {
			progress.Phase("judging")
		}
		r, err := j.judge(ctx, m, repeatPrompts(prompts, o.Samples), drawn, o.Temperature)
		if err != nil {
			return err
		}
		if progress != nil {
			progress.Step(len(prompts) * o.Samples) // over only now
		}
		out.judged = *r
		for _, c := range drawn {
			out.Text = append(out.Text, completionText(enc, c.IDs))
		}
		return nil
	}
	return out, withModel(dir, opt, scope)
}

// scalars are the means that the command prints.
func (e *Evaluation) scalars() map[string]float64 {
	out := map[string]float64{}
	for _, m := range e.Models {
		if len(m.Reward) > 0 {
			out[m.Name+"/reward"] = mean(m.Reward)
		}
		for key, v := range m.Members {
			out[m.Name+"/"+key] = v
		}
		if len(m.Gold) > 0 {
			out[m.Name+"/gold"] = mean(m.Gold)
		}
		if len(m.Safety) > 0 {
			out[m.Name+"/safety"] = mean(m.Safety)
		}
		for name, kl := range m.KL {
			out[m.Name+"/kl_"+name] = mean(kl)
		}
		out[m.Name+"/length"] = meanLength(m.Length)
	}
	return out
}

func meanLength(lengths []int) float64 {
	total := 0
	for _, n := range lengths {
		total += n
	}
	return float64(total) / float64(len(lengths))
}

func mean(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}

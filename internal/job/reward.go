package job

// salsa reward: a Bradley–Terry reward model from preference pairs.

import (
	"context"

	"salsa/models"
	"salsa/trainers"
)

// RewardOptions are the options of `salsa reward`.
type RewardOptions struct {
	Model                  string `yaml:"model" required:"true" input:"path" arg:"DIR" help:"language model, or an earlier reward model, to start from"`
	Training               `group:"Run"`
	Data                   `group:"Data"`
	TemplateCheck          `group:"Data"`
	trainers.RewardOptions `group:"Training"`
}

// DefaultReward returns the defaults.
func DefaultReward() RewardOptions {
	return RewardOptions{Training: defaultTraining(), RewardOptions: trainers.DefaultReward()}
}

// Validate checks what the tags cannot.
func (o *RewardOptions) Validate() error { return o.checkWeights() }

// Reward runs the job.
func Reward(ctx context.Context, o *RewardOptions) (scalars map[string]float64, err error) {
	cfg, err := models.Check(o.Model, models.AnyKind)
	if err != nil {
		return nil, err
	}
	run, err := openRun(&o.Training, o, o.Model)
	if err != nil {
		return nil, err
	}
	defer run.close()
	enc, err := o.encoder(o.Model, cfg)
	if err != nil {
		return nil, err
	}
	pairs, eval, err := encoded(&o.Data, "pairs", !o.Quiet, enc.Pair)
	if err != nil {
		return nil, err
	}
	record := recordOf(enc, pairs, pairRow)
	if err := o.checkTemplates(record, enc, o.Quiet, o.Model); err != nil {
		return nil, err
	}
	err = compute(&o.Base, func(opt models.Options) error {
		s, err := o.scorer(o.Model, o.Seed, opt)
		if err != nil {
			return err
		}
		t, err := trainers.NewReward(s, pairs, eval, o.RewardOptions, saver[*models.Scorer](o.Model))
		if err != nil {
			return err
		}
		if err := run.begin(); err != nil {
			return err
		}
		loop := o.loop("reward", &o.Common)
		loop.Record = record
		scalars, err = loop.Run(ctx, t)
		return err
	})
	return scalars, err
}

// startScorer loads a scorer, or puts a fresh head on a language model.
func startScorer(dir string, cfg *models.Config, seed uint64, opt models.Options) (*models.Scorer, error) {
	if cfg.Scores {
		return models.LoadScorer(dir, opt)
	}
	return models.NewScorer(dir, seed, opt)
}

package job

// salsa ppo: PPO against any reference; with a soup as reference, SALSA.

import (
	"context"
	"path/filepath"
	"slices"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/trainers"
)

// PPOOptions are the options of `salsa ppo`.
type PPOOptions struct {
	Model               string   `yaml:"model" required:"true" input:"path" arg:"DIR" help:"policy to start from, an SFT model"`
	Reference           string   `yaml:"reference" required:"true" arg:"DIR[,DIR...][@w,w...]" help:"frozen model of the KL penalty; several folders are averaged into a soup"`
	RewardModel         string   `yaml:"reward_model" required:"true" input:"path" arg:"DIR" help:"reward model, from salsa reward"`
	ValueModel          string   `yaml:"value_model" input:"path" arg:"DIR" help:"value network to start from; empty: the reward model"`
	WatchKL             bool     `yaml:"watch_kl" help:"log the KL against the start policy and every soup member too; each is one more model in memory"`
	WatchModels         []string `yaml:"watch_models" input:"path" arg:"DIRS" help:"further models whose KL is logged"`
	Gold                string   `yaml:"gold" enum:"none,salsa" help:"log an exact reward beside the model's: salsa is the demo task's"`
	Extrapolate         bool     `yaml:"extrapolate" help:"allow soup weights outside [0, 1]"`
	Training            `group:"Run"`
	Data                `group:"Data"`
	trainers.PPOOptions `group:"PPO"`
}

// DefaultPPO returns the defaults.
func DefaultPPO() PPOOptions {
	return PPOOptions{WatchKL: true, Gold: "none", Training: defaultTraining(), PPOOptions: trainers.DefaultPPO()}
}

// InputPaths lists the folders inside the reference expression.
func (o *PPOOptions) InputPaths() []string {
	return memberDirs(o.Reference)
}

// Validate checks what the tags cannot.
func (o *PPOOptions) Validate() error {
	if _, err := soup.ParseExpr(o.Reference, o.Extrapolate); err != nil {
		return err
	}
	if err := o.checkWeights(); err != nil {
		return err
	}
	return o.PPOOptions.Validate()
}

// PPO runs the job.
func PPO(ctx context.Context, o *PPOOptions) (scalars map[string]float64, err error) {
	ref, err := soup.ParseExpr(o.Reference, o.Extrapolate)
	if err != nil {
		return nil, err
	}
	cfg, err := o.preflight(ref)
	if err != nil {
		return nil, err
	}
	run, err := openRun(&o.Training, o)
	if err != nil {
		return nil, err
	}
	defer run.close()
	if err := run.pinBase(&o.LoRA, o.Model); err != nil {
		return nil, err
	}
	pin, err := pinReference(run.path(referenceFile), ref)
	if err != nil {
		return nil, err
	}
	prompts, enc, err := o.prompts(cfg)
	if err != nil {
		return nil, err
	}
	err = compute(&o.Base, func(opt models.Options) error {
		cast, err := o.cast(opt, ref, enc)
		if err != nil {
			return err
		}
		if err := run.beginPinned(pin); err != nil {
			return err
		}
		scalars, err = o.train(ctx, cast, prompts, enc)
		return err
	})
	return scalars, err
}

// prompts reads and encodes the prompts; each leaves room for its answer.
func (o *PPOOptions) prompts(cfg *models.Config) ([]data.Prompt, *data.Encoder, error) {
	enc, err := o.encoder(o.Model, cfg)
	if err != nil {
		return nil, nil, err
	}
	if o.MaxLength > 0 && o.MaxLength+o.MaxNewTokens > cfg.Context() {
		return nil, nil, fault.Inputf("--max-length %d and --max-new-tokens %d do not fit the context of %d tokens; lower one", o.MaxLength, o.MaxNewTokens, cfg.Context())
	}
	if err := leaveRoom(enc, cfg, o.MaxNewTokens); err != nil {
		return nil, nil, err
	}
	rows, _, err := o.Data.load(!o.Quiet)
	if err != nil {
		return nil, nil, err
	}
	prompts, err := encode(rows, "prompts", !o.Quiet, enc.Prompt)
	if err != nil {
		return nil, nil, err
	}
	return prompts, enc, checkGold("gold", o.Gold, prompts)
}

func (o *PPOOptions) train(ctx context.Context, cast trainers.Cast, prompts []data.Prompt, enc *data.Encoder) (map[string]float64, error) {
	files := models.SaveOptions{Tokenizer: tokenizerOf(o.Model)}
	save := func(dir string) error {
		if err := models.Save(dir, cast.Policy, files); err != nil {
			return err
		}
		return models.Save(filepath.Join(dir, trainers.ValueDir), cast.Value, files)
	}
	log := &trainers.SampleLog{Path: filepath.Join(o.Out, "samples.jsonl"), Few: 8,
		Decode: func(ids []int) string { return completionText(enc, ids) }}
	t, err := trainers.NewPPO(cast, prompts, o.PPOOptions, log, save)
	if err != nil {
		return nil, err
	}
	loop := o.loop("ppo", &o.Common)
	t.OnPhase(loop.Phase)
	return loop.Run(ctx, t)
}

// cast loads all networks of the run.
func (o *PPOOptions) cast(opt models.Options, ref soup.Expr, enc *data.Encoder) (trainers.Cast, error) {
	cast := trainers.Cast{Stops: enc.Stops}
	var err error
	if cast.Policy, err = o.model(o.Model, o.Seed, opt); err != nil {
		return cast, err
	}
	if cast.Reference, err = o.reference(ref, cast.Policy, opt); err != nil {
		return cast, err
	}
	if cast.Value, err = o.value(cast.Policy, opt); err != nil {
		return cast, err
	}
	rm, err := o.rewarder(cast.Policy, opt)
	if err != nil {
		return cast, err
	}
	micro := o.MicroBatchSize
	if micro == 0 {
		micro = o.BatchSize
	}
	cast.Reward = trainers.ModelRewarder{Scorer: rm, Micro: micro}
	if o.Gold != "none" {
		cast.Gold = GoldTask{Decode: func(ids []int) string { return completionText(enc, ids) }}
	}
	cast.Watch, err = o.watched(opt, ref, &cast)
	return cast, err
}

// watched loads the models whose KL is logged beside the reference's.
func (o *PPOOptions) watched(opt models.Options, ref soup.Expr, cast *trainers.Cast) ([]trainers.Watched, error) {
	var names, dirs []string
	if o.WatchKL {
		names, dirs = append(names, "start"), append(dirs, o.Model)
	}
	if o.WatchKL && len(ref.Dirs) > 1 {
		names, dirs = append(names, ref.Names()...), append(dirs, ref.Dirs...)
	}
	for _, dir := range o.WatchModels {
		names, dirs = append(names, filepath.Base(filepath.Clean(dir))), append(dirs, dir)
	}
	loaded := map[string]models.Model{} // one copy of each folder, however many names it has
	if len(ref.Dirs) == 1 {
		loaded[ref.Dirs[0]] = cast.Reference
	}
	var list []trainers.Watched
	for i, dir := range dirs {
		if slices.Contains(names[:i], names[i]) {
			continue // a soup member that is watched anyway
		}
		if loaded[dir] == nil {
			m, err := o.frozen(dir, cast.Policy, opt)
			if err != nil {
				return nil, err
			}
			loaded[dir] = m
		}
		list = append(list, trainers.Watched{Name: names[i], Model: loaded[dir]})
	}
	return list, nil
}

// preflight opens all folders by their headers and compares their vocabularies, before anything is loaded. It returns
// the policy's config.
func (o *PPOOptions) preflight(ref soup.Expr) (*models.Config, error) {
	cfg, err := models.Check(o.Model, models.LanguageModel)
	if err != nil {
		return nil, err
	}
	if err := checkReference(ref, o.Model); err != nil {
		return nil, err
	}
	scorers := []string{o.RewardModel}
	if o.ValueModel != "" {
		scorers = append(scorers, o.ValueModel)
	}
	if err := checkModels(models.LanguageModel, o.WatchModels...); err != nil {
		return nil, err
	}
	if err := checkModels(models.ScoringModel, scorers...); err != nil {
		return nil, err
	}
	for _, dir := range slices.Concat(scorers, o.WatchModels) {
		if err := sharesVocabulary(o.Model, dir); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}

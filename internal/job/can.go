package job

// salsa can: one-shot safety alignment (MoCAN, PeCAN). Completions of the reference are drawn and scored for reward and
// safety; the dual of the constrained problem gives λ*; pseudo-preferences by reward + λ*·safety align the policy once,
// as in salsa dpo; and what comes out is measured beside what was predicted.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/trainers"
)

// CANOptions are the options of `salsa can`.
type CANOptions struct {
	Mode           string    `yaml:"mode" enum:"mocan,pecan" help:"mocan: a reward model and a safety model score the completions; pecan: two aligned models do, by their log-ratios to the reference"`
	Model          string    `yaml:"model" required:"true" input:"path" arg:"DIR" help:"policy to start from, usually the reference"`
	Reference      string    `yaml:"reference" arg:"DIR[,DIR...][@w,w...]" help:"frozen model that is sampled and that the alignment is compared with; several folders are averaged into a soup; empty: --model"`
	Extrapolate    bool      `yaml:"extrapolate" help:"allow soup weights outside [0, 1]"`
	RewardModel    string    `yaml:"reward_model" arg:"DIR" help:"mocan: scores helpfulness; a soup, an ensemble or an exact score as in salsa ppo"`
	SafetyModel    string    `yaml:"safety_model" arg:"DIR" help:"mocan: scores safety, the higher the safer; written like --reward-model"`
	RewardPolicy   string    `yaml:"reward_policy" input:"path" arg:"DIR" help:"pecan: model aligned to helpfulness alone, from salsa dpo with the same --beta"`
	SafetyPolicy   string    `yaml:"safety_policy" input:"path" arg:"DIR" help:"pecan: model aligned to safety alone, from salsa dpo with the same --beta"`
	SafetyBound    []float64 `yaml:"safety_bound" arg:"B" help:"least gain in mean safety over the reference; several values with --dual-only"`
	SafetyTarget   []float64 `yaml:"safety_target" arg:"G" help:"least mean safety itself, in place of --safety-bound; mocan only"`
	DualOnly       bool      `yaml:"dual_only" help:"print λ* and what it is predicted to reach, and end before the alignment" hash:"-"`
	Data           []string  `yaml:"data" required:"true" input:"path" arg:"FILES" help:"prompts"`
	EvalData       []string  `yaml:"eval_data" input:"path" arg:"FILES" help:"held-out prompts on which prediction and outcome are compared; empty: those of --data"`
	Holdout        float64   `yaml:"holdout" help:"share of --data that is held out too, chosen by each prompt's hash" check:">=0,<1"`
	PairsPerPrompt int       `yaml:"pairs_per_prompt" help:"pseudo-preferences of each prompt, at most half of --samples" check:">=1"`
	MeasureSamples int       `yaml:"measure_samples" help:"completions per prompt that measure the aligned model; 0: none" check:">=0,<=1000000"`
	SamplesDir     string    `yaml:"samples_dir" arg:"DIR" help:"folder of scored completions, which runs with other bounds may share; empty: samples in --out" hash:"-"`
	CacheDir       string    `yaml:"cache_dir" arg:"DIR" help:"folder of the reference's log-probabilities, which runs may share; empty: cache in --out" hash:"-"`
	CANSampling    `group:"Sampling"`
	Training       `group:"Run"`
	TemplateCheck
	trainers.DPOOptions `group:"Training"`
}

// CANSampling are the options of drawing from the reference; the dual is an expectation under it, so the temperature is 1
// and no token is left out.
type CANSampling struct {
	Samples         int `yaml:"samples" help:"completions per prompt; fewer than 100 bias λ*" check:">=2,<=1000000"`
	MaxNewTokens    int `yaml:"max_new_tokens" help:"longest completion" unit:"tokens" check:">=1"`
	SampleBatchSize int `yaml:"sample_batch_size" help:"completions in flight" check:">=1,<=1000000"`
	ChunkSize       int `yaml:"chunk_size" help:"prompts whose completions are drawn, scored and written at a time; an interrupt loses at most these" check:">=1,<=1000000"`
}

// fewSamples is the number of completions per prompt below which λ* is said to be biased (Huang et al., app. F).
const fewSamples = 100

// DefaultCAN returns the paper's settings.
func DefaultCAN() CANOptions {
	return CANOptions{Mode: "mocan", PairsPerPrompt: 8, MeasureSamples: 4, Training: defaultTraining(), DPOOptions: trainers.DefaultDPO(),
		CANSampling: CANSampling{Samples: 128, MaxNewTokens: 128, SampleBatchSize: 128, ChunkSize: 8}}
}

// InputPaths lists the folders inside the expressions.
func (o *CANOptions) InputPaths() []string {
	return slices.Concat(memberDirs(o.Reference), rewardDirs(o.RewardModel), rewardDirs(o.SafetyModel))
}

// Hides implements options.Hider.
func (o *CANOptions) Hides(key string) bool { return key == "empty" }

// Unread implements options.Selective.
func (o *CANOptions) Unread(key string) string {
	if key == "empty" {
		return emptyUnread
	}
	return ""
}

// Validate checks what the tags cannot.
func (o *CANOptions) Validate() error {
	if err := errors.Join(o.checkMode(), o.checkBounds()); err != nil {
		return err
	}
	return o.preference().Validate()
}

// checkMode refuses options of the other mode, and missing ones of this.
func (o *CANOptions) checkMode() error {
	pecan := o.Mode == "pecan"
	for _, x := range []struct {
		flag, value string
		pecan       bool
	}{{"reward-model", o.RewardModel, false}, {"safety-model", o.SafetyModel, false},
		{"reward-policy", o.RewardPolicy, true}, {"safety-policy", o.SafetyPolicy, true}} {
		switch {
		case x.pecan == pecan && x.value == "":
			return fault.Inputf("--mode %s needs --%s; give it the folder of a model", o.Mode, x.flag)
		case x.pecan != pecan && x.value != "":
			return fault.Inputf("--%s has no meaning in --mode %s; leave it out or change the mode", x.flag, o.Mode)
		}
	}
	if pecan {
		return nil
	}
	_, first := parseReward("reward-model", o.RewardModel)
	_, second := parseReward("safety-model", o.SafetyModel)
	return errors.Join(first, second)
}

// checkBounds holds --safety-bound and --safety-target to one of both, with one value if the run is to train.
func (o *CANOptions) checkBounds() error {
	all := slices.Concat(o.SafetyBound, o.SafetyTarget)
	switch {
	case len(all) == 0:
		return fault.Inputf("give --safety-bound B, the least gain over the reference, or --safety-target G, the least mean safety")
	case len(o.SafetyBound) > 0 && len(o.SafetyTarget) > 0:
		return fault.Inputf("--safety-bound and --safety-target say the same in two ways; give one")
	case len(o.SafetyTarget) > 0 && o.Mode == "pecan":
		return fault.Inputf("--safety-target needs scores on a scale of their own, which log-ratios lack; give --safety-bound")
	case len(all) > 1 && !o.DualOnly:
		return fault.Inputf("%d bounds and one alignment: give one, or look at all of them with --dual-only", len(all))
	}
	return nil
}

// preference is the training half of the job: what salsa dpo would be told.
func (o *CANOptions) preference() *DPOOptions {
	d := DefaultDPO()
	d.TemplateCheck = o.TemplateCheck
	d.Model, d.Extrapolate, d.CacheDir, d.Training, d.DPOOptions = o.Model, o.Extrapolate, o.CacheDir, o.Training, o.DPOOptions
	d.Reference = cmp.Or(o.Reference, o.Model)
	return &d
}

// canJob is one run of salsa can.
type canJob struct {
	*CANOptions
	dpo            *DPOOptions
	ref            soup.Expr
	reward, safety rewardExpr // of mocan
	enc            *data.Encoder
	prompts, held  []data.Prompt
	record         models.Record
	opt            models.Options
	result         CANResult
}

// CAN runs the job.
func CAN(ctx context.Context, o *CANOptions) (scalars map[string]float64, err error) {
	if !o.Quiet {
		o.preference().tell() // before what was left open is settled, or it would look as if it had been asked for
	}
	o.Settle()
	c := &canJob{CANOptions: o, dpo: o.preference()}
	cfg, err := c.preflight()
	if err != nil {
		return nil, err
	}
	run, err := openRun(&o.Training, o, o.Model, c.frozenInputs()...)
	if err != nil {
		return nil, err
	}
	defer run.close()
	if err := c.read(cfg); err != nil {
		return nil, err
	}
	err = compute(&o.Base, func(opt models.Options) error {
		c.opt = opt
		if err := run.begin(); err != nil {
			return err
		}
		scalars, err = c.run(ctx)
		return err
	})
	return scalars, err
}

// parse reads the expressions of the reference and of what scores. A loss without reference is still sampled from one.
func (c *canJob) parse() (err error) {
	if c.ref, err = soup.ParseExpr(c.dpo.Reference, c.Extrapolate); err != nil || c.Mode == "pecan" {
		return err
	}
	if c.reward, err = parseReward("reward-model", c.RewardModel); err != nil {
		return err
	}
	c.safety, err = parseReward("safety-model", c.SafetyModel)
	return err
}

// preflight opens all folders by their headers and compares their vocabularies, and looks at the places of the caches.
func (c *canJob) preflight() (cfg *models.Config, err error) {
	if _, cfg, err = c.dpo.preflight(); err != nil {
		return nil, err
	}
	if err := c.parse(); err != nil {
		return nil, err
	}
	if err := checkReference(c.ref, c.Model); err != nil {
		return nil, err
	}
	if err := checkFolder("samples-dir", c.SamplesDir); err != nil {
		return nil, err
	}
	if err := notInUse(c.SamplesDir); err != nil {
		return nil, fault.Inputf("--samples-dir: %w", err)
	}
	if c.Mode == "pecan" {
		if err := checkModels(models.LanguageModel, c.RewardPolicy, c.SafetyPolicy); err != nil {
			return nil, err
		}
		return cfg, errors.Join(sharesVocabulary(c.Model, c.RewardPolicy), sharesVocabulary(c.Model, c.SafetyPolicy))
	}
	return cfg, errors.Join(c.reward.check(c.Model), c.safety.check(c.Model))
}

const scorersFile = "scorers.json" // in a run folder: what the completions were scored by

// scorerDirs lists the folders of whatever scores.
func (c *canJob) scorerDirs() []string {
	if c.Mode == "pecan" {
		return []string{c.RewardPolicy, c.SafetyPolicy}
	}
	return slices.Concat(c.reward.models.Dirs, c.safety.models.Dirs)
}

// frozenInputs are the reference and whatever scores; exact scores are no model.
func (c *canJob) frozenInputs() []frozenInput {
	dirs := c.scorerDirs()
	return []frozenInput{{referenceFile, "reference", c.ref},
		{scorersFile, "reward or safety model", soup.Expr{Dirs: dirs, Weights: slices.Repeat([]float64{1}, len(dirs))}}}
}

// read reads and encodes the prompts; each leaves room for its answer in every model.
func (c *canJob) read(cfg *models.Config) (err error) {
	if c.enc, err = c.answering(c.Model, cfg, c.MaxNewTokens); err != nil {
		return err
	}
	if err := leaveRoomIn(c.enc, c.MaxNewTokens, slices.Concat(c.ref.Dirs, c.scorerDirs())...); err != nil {
		return err
	}
	files := Data{Data: c.Data, EvalData: c.EvalData, Holdout: c.Holdout}
	rows, heldRows, err := files.load(!c.Quiet)
	if err != nil {
		return err
	}
	if c.prompts, err = encode(rows, "prompts", !c.Quiet, c.enc.Prompt); err != nil {
		return err
	}
	if len(c.prompts) == 0 {
		return fault.Inputf("no prompt is left of --data; raise --max-length, or give other prompts")
	}
	if c.held, err = encode(heldRows, "held-out prompts", !c.Quiet, c.enc.Prompt); err != nil {
		return err
	}
	all := slices.Concat(c.prompts, c.held)
	c.record = recordOf(c.enc, c.prompts, promptRow)
	dirs := slices.Concat([]string{c.Model}, c.ref.Dirs, c.scorerDirs())
	return errors.Join(checkGold("reward-model", c.reward.gold, all), checkGold("safety-model", c.safety.gold, all),
		c.checkTemplates(c.record, c.enc, c.Quiet, dirs...))
}

// run draws, solves, aligns and measures; each step's result is on the disk before the next begins.
func (c *canJob) run(ctx context.Context) (map[string]float64, error) {
	rows, err := c.scored(ctx, c.fromReference("reference", c.prompts))
	if err != nil {
		return nil, err
	}
	if err := c.solve(rows); err != nil {
		return nil, err
	}
	if err := c.publish(); err != nil || c.DualOnly {
		return c.result.scalars(), err
	}
	last, err := c.align(ctx, rows)
	if err != nil {
		return nil, err
	}
	if err := c.measure(ctx, rows); err != nil {
		return nil, err
	}
	if err := c.publish(); err != nil {
		return nil, err
	}
	scalars := c.result.scalars()
	for k, v := range last {
		scalars[k] = v
	}
	scalars["peak_rss_mb"] = trainers.PeakRSS() // measuring takes more than training may have
	return scalars, nil
}

// align labels pairs of the stored completions by λ* and trains on them.
func (c *canJob) align(ctx context.Context, rows []scoredRow) (map[string]float64, error) {
	pairs, err := c.pairs(rows)
	if err != nil {
		return nil, err
	}
	var ref *trainers.Reference
	if ref, err = c.dpo.frozen(c.opt, c.ref); err != nil {
		return nil, err
	}
	t, err := c.dpo.trainer(c.opt, ref, pairs, nil)
	if err != nil {
		return nil, err
	}
	scalars, err := c.dpo.train(ctx, "can", t, c.record)
	if errors.Is(err, context.Canceled) && !errors.Is(err, fault.ErrInterrupted) {
		return nil, fmt.Errorf("%w before the first step: the completions are saved; the same command with --resume goes on", fault.ErrInterrupted)
	}
	return scalars, err
}

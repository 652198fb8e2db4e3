package job

// The frame of every online method: a policy that answers prompts, a frozen reference, and whoever judges the answers.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/models"
	"salsa/soup"
	"salsa/trainers"
)

// Online are the options of every command that learns from completions of the policy itself.
type Online struct {
	Model       string   `yaml:"model" required:"true" input:"path" arg:"DIR" help:"policy to start from, an SFT model"`
	Reference   string   `yaml:"reference" required:"true" arg:"DIR[,DIR...][@w,w...]" help:"frozen model of the KL penalty, usually --model's folder; several folders are averaged into a soup"`
	WatchKL     bool     `yaml:"watch_kl" help:"log the KL against the start policy and every soup member too; each is one more model in memory"`
	WatchModels []string `yaml:"watch_models" input:"path" arg:"DIRS" help:"further models whose KL is logged"`
	Gold        string   `yaml:"gold" enum:"none,salsa,salsa-safety" help:"log an exact reward beside the model's: salsa is the demo task's taste, salsa-safety its safety"`
	Extrapolate bool     `yaml:"extrapolate" help:"allow soup weights outside [0, 1]"`

	Training      `group:"Run"`
	Data          `group:"Data"`
	TemplateCheck `group:"Data"`
}

func defaultOnline() Online {
	return Online{WatchKL: true, Gold: "none", Training: defaultTraining()}
}

// Rewarded are the options of methods that learn from a reward model.
type Rewarded struct {
	RewardModel string `yaml:"reward_model" required:"true" arg:"DIR" help:"reward model, from salsa reward; A,B averages the weights of several (WARM), A,B@mean, A,B@min and A,B@mean-1std ask an ensemble for its members' mean, least, or mean less their disagreement; gold:salsa is the demo task's exact reward"`
}

// expression reads what the reward model is made of.
func (r *Rewarded) expression() (rewardExpr, error) {
	return parseReward("reward-model", r.RewardModel)
}

// Scored are the options of an online method that learns from a reward model.
type Scored struct {
	Online
	Rewarded
}

func defaultScored() Scored { return Scored{Online: defaultOnline()} }

// InputPaths lists the folders inside the expressions of the reference and the reward model.
func (s *Scored) InputPaths() []string {
	return append(s.Online.InputPaths(), rewardDirs(s.RewardModel)...)
}

// checkInputs refuses expressions that cannot be read.
func (s *Scored) checkInputs() error {
	if _, err := s.expression(); err != nil {
		return err
	}
	return s.Online.checkInputs()
}

// job is a run of the method of this name, whose options are opts.
func (s *Scored) job(name string, set *trainers.OnlineOptions, opts any) *onlineJob {
	return &onlineJob{Online: &s.Online, set: set, name: name, opts: opts, reward: s.RewardModel}
}

// InputPaths lists the folders inside the reference expression.
func (o *Online) InputPaths() []string { return memberDirs(o.Reference) }

// Hides implements options.Hider.
func (o *Online) Hides(key string) bool { return key == "eval_data" || key == "empty" }

// Unread implements options.Selective.
func (o *Online) Unread(key string) string {
	switch key {
	case "eval_data":
		return "is not read by methods that learn from completions of their own; leave it out, and measure with salsa eval"
	case "empty":
		return emptyUnread
	case "mkl":
		return oneReference(o.Reference)
	}
	return ""
}

// emptyUnread is what commands say of --empty whose rows are prompts.
const emptyUnread = "is about completions of --data, and this command reads prompts alone; leave it out"

// oneReference says why --mkl does nothing beside such a reference; "" if it does.
func oneReference(text string) string {
	if len(memberDirs(text)) > 1 {
		return ""
	}
	return fmt.Sprintf("weighs the KLs to several references, and --reference %s is one; give several, DIR,DIR@w,w, or leave it out", text)
}

// checkInputs refuses a reference that cannot be read, and weights of the data that do not fit it.
func (o *Online) checkInputs() error {
	if _, err := soup.ParseExpr(o.Reference, o.Extrapolate); err != nil {
		return err
	}
	return o.checkWeights()
}

// onlineJob is one run of an online method.
type onlineJob struct {
	*Online
	set    *trainers.OnlineOptions
	name   string // of the method
	opts   any    // all options of the command, for run.yaml
	reward string // expression of the reward model; "": the method has none
	critic bool   // the method has a value network
	value  string // folder that it starts from; "": the reward model's
	learns bool   // the reward model is trained too

	// What a plan of the memory has to know beside: completions of a prompt, 0 being 1, and whether they are learned from as
	// pairs; completions drawn at once, each of another prompt, 0 being the batch; what the guide's prompts have in front;
	// and what reads the prompts and measures them, nil being --data.
	each   int
	pairs  bool
	drawn  int
	advice string
	named  func(p *planner, enc *data.Encoder) ([]data.Prompt, lengths, error)

	// source reads and encodes the prompts; nil: those of Data. It is called with the encoder in place.
	source func() ([]data.Prompt, error)

	ref    soup.Expr
	guide  soup.Expr  // of Inverse-Q*; empty: the reference, or none
	scorer rewardExpr // what reward stands for
	enc    *data.Encoder
}

// withCritic gives the run a value network that starts from dir; "" is the reward model.
func (o *onlineJob) withCritic(dir string) *onlineJob {
	o.critic, o.value = true, dir
	return o
}

// onlineTrainer is what makes a trainer: everything that the job has loaded for it.
type onlineTrainer interface {
	trainers.Trainer
	OnPhase(say func(string))
}

// stage is what a method is built from.
type stage struct {
	cast    trainers.Cast
	prompts []data.Prompt
	log     *trainers.SampleLog
	save    trainers.PartsFunc
	options models.Options // of a frozen model
}

// run checks, loads, and trains with what build makes.
func (o *onlineJob) run(ctx context.Context, build func(s stage) (onlineTrainer, error)) (scalars map[string]float64, err error) {
	cfg, err := o.preflight()
	if err != nil {
		return nil, err
	}
	run, err := openRun(&o.Training, o.opts, o.Model, o.frozenInputs()...)
	if err != nil {
		return nil, err
	}
	defer run.close()
	prompts, err := o.prompts(cfg)
	if err != nil {
		return nil, err
	}
	record := recordOf(o.enc, prompts, promptRow)
	if err := o.checkTemplates(record, o.enc, o.Quiet, o.templated()...); err != nil {
		return nil, err
	}
	err = compute(&o.Base, func(opt models.Options) error {
		cast, err := o.cast(opt)
		if err != nil {
			return err
		}
		if err := run.begin(); err != nil {
			return err
		}
		t, err := build(stage{cast, prompts, o.sampleLog(), o.saver(cast), opt})
		if err != nil {
			return err
		}
		loop := o.loop(o.name, &o.set.Common)
		loop.Record = record
		t.OnPhase(loop.Phase)
		scalars, err = loop.Run(ctx, t)
		return err
	})
	return scalars, err
}

// parse reads the expressions of the reference and the reward model.
func (o *onlineJob) parse() (err error) {
	if o.ref, err = soup.ParseExpr(o.Reference, o.Extrapolate); err != nil || o.reward == "" {
		return err
	}
	o.scorer, err = parseReward("reward-model", o.reward)
	return err
}

// preflight opens all folders by their headers and compares their vocabularies, before anything is loaded. It returns
// the policy's config.
func (o *onlineJob) preflight() (cfg *models.Config, err error) {
	if err := o.parse(); err != nil {
		return nil, err
	}
	if cfg, err = models.Check(o.Model, models.LanguageModel); err != nil {
		return nil, err
	}
	if err := checkReference(o.ref, o.Model); err != nil {
		return nil, err
	}
	if err := checkModels(models.LanguageModel, o.WatchModels...); err != nil {
		return nil, err
	}
	for _, dir := range o.WatchModels {
		if err := sharesVocabulary(o.Model, dir); err != nil {
			return nil, err
		}
	}
	if err := o.set.FitsAdapters(o.LoRARank > 0); err != nil {
		return nil, err
	}
	if len(o.guide.Dirs) > 0 {
		if err := checkReference(o.guide, o.Model); err != nil {
			return nil, err
		}
	}
	return cfg, o.checkScorers()
}

// frozenInputs are the models that it learns from and that stay as they are.
func (o *onlineJob) frozenInputs() []frozenInput {
	list := []frozenInput{{referenceFile, "reference", o.ref}, {"guide.json", "guide", o.guide}}
	if !o.learns {
		list = append(list, frozenInput{rewardFile, "reward model", o.scorer.models})
	}
	return list
}

// checkScorers opens the reward model, or all that it is made of, and the start of the value network.
func (o *onlineJob) checkScorers() error {
	if o.reward != "" {
		if err := o.scorer.check(o.Model); err != nil {
			return err
		}
	}
	if o.critic {
		if _, err := o.valueStart(); err != nil {
			return err
		}
	}
	if o.value == "" {
		return nil
	}
	if err := checkModels(models.ScoringModel, o.value); err != nil {
		return err
	}
	return sharesVocabulary(o.Model, o.value)
}

// templated lists the folders whose model must know the chat template of the prompts.
func (o *onlineJob) templated() []string {
	return append(o.readers(), o.Model)
}

// readers lists the folders of the models that read the policy's completions beside the policy itself.
func (o *onlineJob) readers() []string {
	dirs := slices.Concat(o.ref.Dirs, o.guide.Dirs, o.scorer.models.Dirs)
	if o.value != "" {
		dirs = append(dirs, o.value)
	}
	return dirs
}

// encoderFor builds the encoder of prompts that leave room for their answers in every model's context.
func (o *onlineJob) encoderFor(cfg *models.Config) (*data.Encoder, error) {
	enc, err := o.answering(o.Model, cfg, o.set.MaxNewTokens)
	if err != nil {
		return nil, err
	}
	return enc, leaveRoomIn(enc, o.set.MaxNewTokens, append(o.readers(), o.WatchModels...)...)
}

// prompts reads and encodes the prompts; each leaves room for its answer.
func (o *onlineJob) prompts(cfg *models.Config) (prompts []data.Prompt, err error) {
	if o.enc, err = o.encoderFor(cfg); err != nil {
		return nil, err
	}
	if o.source == nil {
		o.source = o.given
	}
	if prompts, err = o.source(); err != nil {
		return nil, err
	}
	return prompts, errors.Join(checkGold("gold", o.Gold, prompts), checkGold("reward-model", o.scorer.gold, prompts))
}

// given are the prompts of --data.
func (o *onlineJob) given() ([]data.Prompt, error) {
	rows, _, err := o.Data.load(!o.Quiet)
	if err != nil {
		return nil, err
	}
	return encode(rows, "prompts", !o.Quiet, o.enc.Prompt)
}

// sampleLog is where the samples go.
func (o *onlineJob) sampleLog() *trainers.SampleLog {
	return &trainers.SampleLog{Path: filepath.Join(o.Out, "samples.jsonl"), Few: 8, Decode: o.text}
}

// text is what a completion says.
func (o *onlineJob) text(ids []int) string { return completionText(o.enc, ids) }

// saver returns the trained networks.
func (o *onlineJob) saver(cast trainers.Cast) trainers.PartsFunc {
	files := models.SaveOptions{Tokenizer: tokenizerOf(o.Model)}
	return func() []checkpoint.Part {
		parts := models.Parts(cast.Policy, files)
		if cast.Value == nil {
			return parts
		}
		return append(parts, checkpoint.In(trainers.ValueDir, models.Parts(cast.Value, files))...)
	}
}

// cast loads all networks of the run.
func (o *onlineJob) cast(opt models.Options) (cast trainers.Cast, err error) {
	cast.Stops = o.enc.Stops
	if cast.Policy, err = o.model(o.Model, o.set.Seed, opt); err != nil {
		return cast, err
	}
	if err := o.loadReference(&cast, opt); err != nil {
		return cast, err
	}
	if o.critic {
		if cast.Value, err = o.loadValue(cast.Policy, opt); err != nil {
			return cast, err
		}
	}
	if o.reward != "" {
		micro := cmp.Or(o.set.MicroBatchSize, o.set.BatchSize)
		how := opt
		if o.learns {
			how = o.trained(opt)
		}
		cast.Reward, err = o.scorer.loadWith(micro, o.enc, func(e soup.Expr) (*models.Scorer, error) { return o.loadReward(e, cast.Policy, how) })
		if err != nil {
			return cast, err
		}
	}
	cast.Gold = goldTask(o.Gold, o.enc)
	cast.Watch, err = o.watched(opt, &cast)
	return cast, err
}

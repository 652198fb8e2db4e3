package job

// salsa rso: candidates are drawn from an SFT model, scored by a reward model, sifted by statistical rejection sampling
// and paired; the policy learns from the pairs as in salsa dpo. Best-of-N is a way to stop after the scores.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/trainers"
)

// RSOOptions are the options of `salsa rso`.
type RSOOptions struct {
	Model       string    `yaml:"model" required:"true" input:"path" arg:"DIR" help:"SFT model that the candidates are drawn from and training starts from"`
	Data        []string  `yaml:"data" required:"true" input:"path" arg:"FILES" help:"prompts"`
	Weights     []float64 `yaml:"data_weights" arg:"W,W,..." help:"train on pairs of the prompts of these files of --data in these proportions, one per file (0.7,0.3); candidates are drawn for every prompt of a file whose weight is not 0. Empty: every pair once an epoch"`
	Holdout     float64   `yaml:"holdout" help:"share of the prompts that is left out, chosen by each prompt's hash as in salsa sft and salsa reward" check:">=0,<1"`
	Reference   string    `yaml:"reference" arg:"DIR[,DIR...][@w,w...]" help:"frozen model that the policy is compared with; several folders are averaged into a soup; empty: --model"`
	Extrapolate bool      `yaml:"extrapolate" help:"allow soup weights outside [0, 1]"`
	Select      string    `yaml:"select" enum:"rejection,best" help:"rejection: rejection sampling, pairs and training; best: write each prompt's best candidate to best.jsonl for salsa sft (best-of-N, RAFT) and end"`
	PairsOnly   bool      `yaml:"pairs_only" help:"end when pairs.jsonl is written; the same command without it and with --resume goes on to train" hash:"-"`
	CacheDir    string    `yaml:"cache_dir" arg:"DIR" help:"folder of the reference's log-probabilities, which runs may share; empty: cache in --out" hash:"-"`
	Rewarded
	TemplateCheck       `group:"Data"`
	Training            `group:"Run"`
	trainers.RSOOptions `group:"Rejection sampling"`
	Picking             `group:"Sampling"`
	SampleBatchSize     int     `yaml:"sample_batch_size" help:"candidates in flight" check:">=1,<=1000000"`
	ChunkSize           int     `yaml:"chunk_size" help:"prompts whose candidates are drawn, scored and written at a time; an interrupt loses at most these" check:">=1,<=1000000"`
	Loss                string  `yaml:"loss" enum:"sigmoid_norm,hinge_norm,hinge" help:"pairwise loss; hinge compares with no reference. salsa dpo --data OUT/pairs.jsonl has all others"`
	Gamma               float64 `yaml:"gamma" help:"scale γ of the loss; sigmoid_norm is DPO with this as its β"`
	trainers.Common     `group:"Training"`
}

// DefaultRSO returns the paper's settings; its learning rate was Adafactor's.
func DefaultRSO() RSOOptions {
	o := RSOOptions{Select: "rejection", Training: defaultTraining(), RSOOptions: trainers.DefaultRSO(), Common: trainers.DefaultCommon(),
		Picking: Picking{MaxNewTokens: 128, Temperature: 0.7, TopK: 40, TopP: 1}, SampleBatchSize: 128, ChunkSize: 32,
		Loss: "sigmoid_norm", Gamma: 0.05}
	o.BatchSize, o.WarmupRatio = 32, 0.1
	return o
}

// InputPaths lists the folders inside the reference and reward-model expressions.
func (o *RSOOptions) InputPaths() []string {
	return append(memberDirs(o.Reference), rewardDirs(o.RewardModel)...)
}

// Hides implements options.Hider.
func (o *RSOOptions) Hides(key string) bool { return key == "empty" }

// Unread implements options.Selective.
func (o *RSOOptions) Unread(key string) string {
	switch {
	case key == "empty":
		return emptyUnread
	case key == "data_weights" && o.Select == "best":
		return "weighs what is trained on, and --select best trains nothing; leave it out, or give it to the salsa sft that learns from best.jsonl"
	}
	return ""
}

// files are the prompts' files.
func (o *RSOOptions) files() *Data {
	return &Data{Data: o.Data, Weights: o.Weights, Holdout: o.Holdout}
}

// Validate checks what the tags cannot.
func (o *RSOOptions) Validate() error {
	if o.MaxNewTokens == 0 {
		return fault.Inputf("max_new_tokens 0: a candidate needs a length; give --max-new-tokens at least 1")
	}
	if err := o.files().checkWeights(); err != nil {
		return err
	}
	if _, err := o.expression(); err != nil || o.Select == "best" {
		return err
	}
	if err := o.RSOOptions.Validate(); err != nil {
		return err
	}
	if !(o.Gamma > 0) || math.IsInf(o.Gamma, 0) {
		return fault.Inputf("gamma %g: scales the loss; use a positive --gamma, 0.05 is the paper's", o.Gamma)
	}
	return o.preference().Validate()
}

// preference is the training half of the job: what salsa dpo would be told.
func (o *RSOOptions) preference() *DPOOptions {
	d := DefaultDPO()
	d.Model, d.Extrapolate, d.CacheDir, d.Training, d.Common = o.Model, o.Extrapolate, o.CacheDir, o.Training, o.Common
	d.Loss, d.Gamma, d.Beta = o.Loss, o.Gamma, o.Gamma // β only scales the logged rewards, and so as the loss scales them
	if d.Reference = o.Reference; d.NeedsReference() {
		d.Reference = cmp.Or(o.Reference, o.Model)
	}
	return &d
}

// trains tells whether the run goes on to train.
func (o *RSOOptions) trains() bool { return o.Select == "rejection" && !o.PairsOnly }

// rsoJob is one run.
type rsoJob struct {
	*RSOOptions
	dpo     *DPOOptions // the training half
	ref     soup.Expr   // empty if none is read
	scorer  rewardExpr
	enc     *data.Encoder
	prompts []data.Prompt
	record  models.Record
}

// RSO runs the job.
func RSO(ctx context.Context, o *RSOOptions) (scalars map[string]float64, err error) {
	j := &rsoJob{RSOOptions: o, dpo: o.preference()}
	cfg, err := j.preflight()
	if err != nil {
		return nil, err
	}
	run, err := openRun(&o.Training, o, o.Model, j.frozenInputs()...)
	if err != nil {
		return nil, err
	}
	defer run.close()
	if err := j.read(cfg); err != nil {
		return nil, err
	}
	err = compute(&o.Base, func(opt models.Options) error {
		if err := run.begin(); err != nil {
			return err
		}
		if err := j.drawAll(ctx, opt); err != nil {
			return err
		}
		sifted, err := o.sift(j.prompts)
		if scalars = sifted.scalars(); err != nil || !o.trains() {
			return err
		}
		return j.train(ctx, opt, sifted.pairs, scalars)
	})
	return scalars, err
}

// train optimises the policy on the pairs and adds what the last step reports to scalars.
func (j *rsoJob) train(ctx context.Context, opt models.Options, pairs []data.Pair, scalars map[string]float64) error {
	frozen, err := j.dpo.frozen(opt, j.ref)
	if err != nil {
		return err
	}
	t, err := j.dpo.trainer(opt, frozen, pairs, nil)
	if err != nil {
		return err
	}
	last, err := j.dpo.train(ctx, "rso", t, j.record)
	if kept, _, _ := checkpoint.LatestValid(j.file("checkpoints")); err != nil && ctx.Err() != nil && kept == "" {
		return fmt.Errorf("%w before the first step ended: the pairs are saved; the same command with --resume goes on", fault.ErrInterrupted)
	}
	maps.Copy(scalars, last)
	return err
}

// preflight opens all folders by their headers and compares their vocabularies. It returns the policy's config.
func (j *rsoJob) preflight() (cfg *models.Config, err error) {
	if !j.trains() {
		cfg, err = models.Check(j.Model, models.LanguageModel)
	} else {
		if !j.Quiet {
			j.dpo.tell()
		}
		j.ref, cfg, err = j.dpo.preflight()
	}
	if err != nil {
		return nil, err
	}
	if j.scorer, err = j.expression(); err != nil {
		return nil, err
	}
	return cfg, j.scorer.check(j.Model)
}

// read reads and encodes the prompts; each leaves room for its answer in all models.
func (j *rsoJob) read(cfg *models.Config) (err error) {
	if j.enc, err = j.answering(j.Model, cfg, j.MaxNewTokens); err != nil {
		return err
	}
	if err := leaveRoomIn(j.enc, j.MaxNewTokens, slices.Concat(j.scorer.models.Dirs, j.ref.Dirs)...); err != nil {
		return err
	}
	rows, _, err := j.files().load(!j.Quiet)
	if err != nil {
		return err
	}
	if j.prompts, err = encode(rows, "prompts", !j.Quiet, j.enc.Prompt); err != nil {
		return err
	}
	if len(j.prompts) == 0 {
		return fault.Inputf("no prompt is left of --data; raise --max-length, or give other prompts")
	}
	j.record = recordOf(j.enc, j.prompts, promptRow)
	dirs := slices.Concat([]string{j.Model}, j.scorer.models.Dirs, j.ref.Dirs)
	return errors.Join(checkGold("reward-model", j.scorer.gold, j.prompts), j.checkTemplates(j.record, j.enc, j.Quiet, dirs...))
}

// frozenInputs are the models that the candidates and their scores come from, and the reference where there is one.
func (j *rsoJob) frozenInputs() []frozenInput {
	return []frozenInput{{"sampler.json", "sampled model", soup.Expr{Dirs: []string{j.Model}, Weights: []float64{1}}},
		{rewardFile, "reward model", j.scorer.models}, {referenceFile, "reference", j.ref}}
}

// file is a file of the run folder.
func (o *RSOOptions) file(name string) string { return filepath.Join(o.Out, name) }

package job

// salsa dpo: preference optimisation on pairs, by any pairwise loss and against any reference; it may be a soup.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/soup"
	"salsa/trainers"
)

// DPOOptions are the options of `salsa dpo`.
type DPOOptions struct {
	Model               string `yaml:"model" required:"true" input:"path" arg:"DIR" help:"policy to start from, an SFT model"`
	Reference           string `yaml:"reference" arg:"DIR[,DIR...][@w,w...]" help:"frozen model that the policy is compared with, usually --model; several folders are averaged into a soup. hinge, slic, cpo and simpo need none"`
	Extrapolate         bool   `yaml:"extrapolate" help:"allow soup weights outside [0, 1]"`
	Identical           string `yaml:"identical" enum:"error,drop" help:"what happens to pairs whose two completions are the same"`
	CacheDir            string `yaml:"cache_dir" arg:"DIR" help:"folder of the reference's log-probabilities, which runs may share; empty: cache in --out" hash:"-"`
	Training            `group:"Run"`
	Data                `group:"Data"`
	TemplateCheck       `group:"Data"`
	trainers.DPOOptions `group:"Training"`
}

// DefaultDPO returns the defaults.
func DefaultDPO() DPOOptions {
	return DPOOptions{Identical: "error", Training: defaultTraining(), DPOOptions: trainers.DefaultDPO()}
}

// InputPaths lists the folders inside the reference expression.
func (o *DPOOptions) InputPaths() []string {
	return memberDirs(o.Reference)
}

// Unread implements options.Selective.
func (o *DPOOptions) Unread(key string) string { return o.evalUnread(key) }

// Validate checks what the tags cannot.
func (o *DPOOptions) Validate() error {
	if err := o.DPOOptions.Validate(); err != nil {
		return err
	}
	if err := o.checkWeights(); err != nil {
		return err
	}
	if o.Reference == "" && !o.NeedsReference() {
		return nil
	}
	if o.Reference == "" {
		return fault.Inputf("--reference is required by --loss %s; give the model that training starts from, %s, or another of its vocabulary", o.Loss, o.Model)
	}
	_, err := soup.ParseExpr(o.Reference, o.Extrapolate)
	return err
}

// DPO runs the job.
func DPO(ctx context.Context, o *DPOOptions) (scalars map[string]float64, err error) {
	if !o.Quiet {
		o.tell()
	}
	o.Settle() // run.yaml shows the numbers that the loss was computed with
	ref, cfg, err := o.preflight()
	if err != nil {
		return nil, err
	}
	run, err := openRun(&o.Training, o, o.Model, frozenInput{referenceFile, "reference", ref})
	if err != nil {
		return nil, err
	}
	defer run.close()
	pairs, eval, enc, err := o.pairs(cfg)
	if err != nil {
		return nil, err
	}
	record := recordOf(enc, pairs, pairRow)
	if err := o.checkTemplates(record, enc, o.Quiet, append([]string{o.Model}, ref.Dirs...)...); err != nil {
		return nil, err
	}
	err = compute(&o.Base, func(opt models.Options) error {
		frozen, err := o.frozen(opt, ref)
		if err != nil {
			return err
		}
		t, err := o.trainer(opt, frozen, pairs, eval)
		if err != nil {
			return err
		}
		if err := run.begin(); err != nil {
			return err
		}
		scalars, err = o.train(ctx, "dpo", t, record)
		return err
	})
	return scalars, err
}

// trainer loads the policy and makes its trainer.
func (o *DPOOptions) trainer(opt models.Options, frozen *trainers.Reference, pairs, eval []data.Pair) (*trainers.DPO, error) {
	m, err := o.model(o.Model, o.Seed, opt)
	if err != nil {
		return nil, err
	}
	return trainers.NewDPO(m, frozen, pairs, eval, o.DPOOptions, saver[models.Model](o.Model))
}

// train asks the reference first and takes all steps; name is what progress calls the job.
func (o *DPOOptions) train(ctx context.Context, name string, t *trainers.DPO, record models.Record) (map[string]float64, error) {
	if err := t.Prepare(ctx); err != nil {
		return nil, err
	}
	loop := o.loop(name, &o.Common)
	loop.Record = record
	return loop.Run(ctx, t)
}

// tell warns of what was asked for and has no effect.
func (o *DPOOptions) tell() {
	notes := o.Idle()
	if o.Reference != "" && !o.NeedsReference() {
		notes = append(notes, fmt.Sprintf("--loss %s compares with no reference; --reference is not read", o.Loss))
	}
	for _, note := range notes {
		fmt.Fprintf(os.Stderr, "salsa: note: %s\n", note)
	}
}

// preflight checks policy and reference by their headers, and the place of the cache; the expression is empty if the loss needs no reference.
func (o *DPOOptions) preflight() (ref soup.Expr, cfg *models.Config, err error) {
	if cfg, err = models.Check(o.Model, models.LanguageModel); err != nil || !o.NeedsReference() {
		return ref, cfg, err
	}
	if ref, err = soup.ParseExpr(o.Reference, o.Extrapolate); err != nil {
		return ref, nil, err
	}
	if err := checkReference(ref, o.Model); err != nil {
		return ref, nil, err
	}
	return ref, cfg, checkFolder("cache-dir", o.CacheDir)
}

// pairs reads and encodes the training and the held-out pairs; enc is what encoded them.
func (o *DPOOptions) pairs(cfg *models.Config) (train, eval []data.Pair, enc *data.Encoder, err error) {
	if enc, err = o.encoder(o.Model, cfg); err != nil {
		return nil, nil, nil, err
	}
	rows, evalRows, err := o.Data.load(!o.Quiet)
	if err != nil {
		return nil, nil, nil, err
	}
	if train, err = o.encodePairs(enc, rows, "training pairs"); err != nil {
		return nil, nil, nil, err
	}
	eval, err = o.encodePairs(enc, evalRows, "held-out pairs")
	return train, eval, enc, err
}

// encodePairs encodes rows and applies --identical.
func (o *DPOOptions) encodePairs(enc *data.Encoder, rows []data.Row, what string) ([]data.Pair, error) {
	pairs, err := encode(rows, what, !o.Quiet, enc.Pair)
	if err != nil || o.Identical != "drop" {
		return pairs, err
	}
	all := len(pairs)
	pairs = slices.DeleteFunc(pairs, trainers.SamePair)
	if gone := all - len(pairs); gone > 0 && !o.Quiet {
		fmt.Fprintf(os.Stderr, "salsa: %s: %d dropped because both completions are the same\n", what, gone)
	}
	return pairs, nil
}

// frozen describes the reference to the trainer; nil if the loss needs none.
func (o *DPOOptions) frozen(opt models.Options, ref soup.Expr) (*trainers.Reference, error) {
	if !o.NeedsReference() {
		return nil, nil
	}
	id, err := referenceID(ref, opt)
	if err != nil {
		return nil, err
	}
	r := &trainers.Reference{ID: id, CacheDir: o.CacheDir, Micro: o.MicroBatchSize,
		Load: func() (models.Model, error) { return ref.Load(opt) }}
	if r.CacheDir == "" {
		r.CacheDir = filepath.Join(o.Out, "cache")
	}
	if r.Micro == 0 {
		r.Micro = o.BatchSize
	}
	if !o.Quiet {
		r.Progress = referenceProgress()
	}
	return r, nil
}

// referenceProgress shows how far the reference's pass over the pairs has come; the last pair ends the display.
func referenceProgress() func(done, total int) {
	var progress *metrics.Progress
	return func(done, total int) {
		if progress == nil {
			progress = metrics.NewProgress(os.Stderr, "reference", 0, total)
		}
		if progress.Step(done); done == total {
			progress.Done()
		}
	}
}

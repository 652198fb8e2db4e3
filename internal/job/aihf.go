package job

// salsa aihf: joint learning from demonstrations and preferences. The direct and the self-play form run as salsa dpo
// does, the alternation as salsa ppo; aihf_options.go says which options each form reads.

import (
	"context"
	"errors"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/trainers"
)

// AIHF runs the job.
func AIHF(ctx context.Context, o *AIHFOptions) (map[string]float64, error) {
	if o.Form == "alternate" {
		return o.alternate(ctx)
	}
	return o.pairwise(ctx)
}

// whole is what encodes complete rows where enc leaves room for an answer to prompts: a demonstration or a pair has its
// answers already, and may fill the context.
func (o *AIHFOptions) whole(enc *data.Encoder) *data.Encoder {
	e := *enc
	if e.MaxLength, e.Room = enc.MaxLength+enc.Room, 0; o.MaxLength > 0 {
		e.MaxLength = min(e.MaxLength, o.MaxLength)
	}
	return &e
}

// demonstration encodes a row whose prompt is answered anew, for which enc leaves room. A prompt that leaves none is
// refused, dropped or cut with its row, as --overlong says.
func (o *AIHFOptions) demonstration(enc *data.Encoder) func(row *data.Row) (data.Example, error) {
	whole := o.whole(enc)
	return func(row *data.Row) (data.Example, error) {
		x, err := whole.SFT(row)
		if from, _ := trainers.LastAnswer(&x); err != nil || from <= enc.MaxLength {
			return x, err
		}
		return enc.SFT(row)
	}
}

// demonstrations reads and encodes --demos but for those whose prompts are held out.
func (o *AIHFOptions) demonstrations(enc *data.Encoder) ([]data.Example, error) {
	if len(o.Demos) == 0 {
		return nil, nil // of weight 0
	}
	rows, err := readRows(o.Demos, o.Split, !o.Quiet)
	if err != nil {
		return nil, err
	}
	train, _ := splitRows(rows, o.Holdout)
	examples, err := encode(train, "demonstrations", !o.Quiet, o.demonstration(enc))
	if err == nil && len(examples) == 0 {
		return nil, fault.Inputf("--demos: no demonstrations are left after encoding; check the files, --holdout and --max-length")
	}
	return examples, err
}

// preference is what salsa dpo would be told of the pairs.
func (o *AIHFOptions) preference() *DPOOptions {
	d := DefaultDPO()
	d.Model, d.Reference, d.Extrapolate = o.Model, o.Reference, o.Extrapolate
	d.Training, d.Data, d.TemplateCheck = o.Training, o.Data, o.TemplateCheck
	d.Common, d.Beta, d.Identical = o.Common, o.Beta, o.Identical
	return &d
}

// pairwise runs the direct and the self-play form.
func (o *AIHFOptions) pairwise(ctx context.Context) (scalars map[string]float64, err error) {
	d := o.preference()
	ref, cfg, err := d.preflight()
	if err != nil {
		return nil, err
	}
	run, err := openRun(&o.Training, o, o.Model, frozenInput{referenceFile, "reference", ref})
	if err != nil {
		return nil, err
	}
	defer run.close()
	pairs, eval, enc, err := d.pairs(cfg)
	if err != nil {
		return nil, err
	}
	shown, err := o.shown(cfg, enc)
	if err != nil {
		return nil, err
	}
	record := recordOf(enc, pairs, pairRow)
	if err := o.checkTemplates(record, enc, o.Quiet, append([]string{o.Model}, ref.Dirs...)...); err != nil {
		return nil, err
	}
	err = compute(&o.Base, func(opt models.Options) error {
		frozen, err := d.frozen(opt, ref)
		if err != nil {
			return err
		}
		m, err := o.model(o.Model, o.Seed, opt)
		if err != nil {
			return err
		}
		t, err := trainers.NewAIHFPairs(m, frozen, shown, pairs, eval, enc.Stops, o.AIHFOptions, saver[models.Model](o.Model))
		if err != nil {
			return err
		}
		if err := run.begin(); err != nil {
			return err
		}
		if err := t.Prepare(ctx); err != nil {
			return err
		}
		loop := o.loop("aihf", &o.Common)
		loop.Record = record
		t.OnPhase(loop.Phase)
		scalars, err = loop.Run(ctx, t)
		return err
	})
	return scalars, err
}

// shown are the demonstrations of the pairwise forms; with self-play each leaves room for an answer of the policy.
func (o *AIHFOptions) shown(cfg *models.Config, enc *data.Encoder) ([]data.Example, error) {
	if o.Form == "self-play" {
		var err error
		if enc, err = o.answering(o.Model, cfg, o.MaxNewTokens); err != nil {
			return nil, err
		}
	}
	return o.demonstrations(enc)
}

// alternation is the run of the alternation but for its data.
func (o *AIHFOptions) alternation() *onlineJob {
	base := Online{Model: o.Model, Reference: o.Reference, WatchKL: o.WatchKL, WatchModels: o.WatchModels, Gold: o.Gold,
		Extrapolate: o.Extrapolate, Training: o.Training, Data: o.Data, TemplateCheck: o.TemplateCheck}
	j := &onlineJob{Online: &base, set: &o.OnlineOptions, name: "aihf", opts: o, reward: o.RewardModel, learns: true}
	return j.withCritic(o.ValueModel)
}

// alternate runs the alternation. The policy's prompts are those of the demonstrations.
func (o *AIHFOptions) alternate(ctx context.Context) (map[string]float64, error) {
	j := o.alternation()
	var demos []data.Example
	var pairs []data.Pair
	j.source = func() (prompts []data.Prompt, err error) {
		if demos, err = o.demonstrations(j.enc); err != nil {
			return nil, err
		}
		if pairs, err = o.pairsOf(j.enc); err != nil {
			return nil, err
		}
		for i := range demos {
			prompts = append(prompts, data.Prompt{IDs: demos[i].IDs[:demos[i].PromptLen], Row: demos[i].Row})
		}
		return prompts, nil
	}
	return j.run(ctx, func(s stage) (onlineTrainer, error) {
		scorer := s.cast.Reward.(trainers.ModelRewarder).Scorer // Validate: one reward model, no ensemble
		files := models.SaveOptions{Tokenizer: tokenizerOf(o.Model)}
		save := func() []checkpoint.Part {
			return append(s.save(), checkpoint.In(trainers.RewardDir, models.Parts(scorer, files))...)
		}
		return trainers.NewAIHFAlternate(s.cast, demos, pairs, o.AIHFOptions, s.log, save)
	})
}

// pairsOf are the preference pairs of the alternation.
func (o *AIHFOptions) pairsOf(enc *data.Encoder) ([]data.Pair, error) {
	rows, _, err := o.Data.load(!o.Quiet)
	if err != nil {
		return nil, err
	}
	pairs, err := o.preference().encodePairs(o.whole(enc), rows, "pairs")
	return pairs, errors.Join(err, trainers.CheckPairs(pairs))
}

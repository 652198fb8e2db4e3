package job

// salsa sft: supervised fine-tuning, or pretraining from a config alone.

import (
	"context"
	"fmt"
	"os"
	"strings"

	"salsa/data"
	"salsa/data/tokenizer"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/trainers"
)

// SFTOptions are the options of `salsa sft`.
type SFTOptions struct {
	Model               string `yaml:"model" input:"path" arg:"DIR" help:"Hugging Face folder to start from"`
	FromConfig          string `yaml:"from_config" input:"path" arg:"DIR" help:"folder with config.json and tokenizer: start from random weights (pretraining)"`
	ChatTemplate        string `yaml:"chat_template" arg:"NAME" help:"format of chat messages, for a model that has none: alpaca, chatml, gemma, llama2, llama3, mistral, plain or zephyr; the finished model carries it"`
	Training            `group:"Run"`
	Data                `group:"Data"`
	trainers.SFTOptions `group:"Training"`
}

// DefaultSFT returns the defaults.
func DefaultSFT() SFTOptions {
	return SFTOptions{Training: defaultTraining(), SFTOptions: trainers.DefaultSFT()}
}

// Reads tells whether a key is read: random weights cannot be frozen under adapters.
func (o *SFTOptions) Reads(key string) bool {
	return o.FromConfig == "" || !strings.HasPrefix(key, "lora_")
}

// Unread implements options.Selective.
func (o *SFTOptions) Unread(key string) string {
	if key == "packing_strategy" && !o.Packing {
		return "is not read without --packing; add it, or leave this out"
	}
	return o.evalUnread(key)
}

// Validate checks what the tags cannot.
func (o *SFTOptions) Validate() error {
	if (o.Model == "") == (o.FromConfig == "") {
		return fault.Inputf("give either --model DIR, to fine-tune, or --from-config DIR, to train from random weights")
	}
	if o.FromConfig != "" && o.LoRARank > 0 {
		return fault.Inputf("--lora-rank freezes the weights, and those of --from-config are random; leave it out, or give --model DIR")
	}
	return o.checkWeights()
}

// SFT runs the job.
func SFT(ctx context.Context, o *SFTOptions) (scalars map[string]float64, err error) {
	dir := o.Model + o.FromConfig // Validate: one of them is empty
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	run, err := openRun(&o.Training, o, o.Model)
	if err != nil {
		return nil, err
	}
	defer run.close()
	enc, err := o.encoder(dir, cfg)
	if err != nil {
		return nil, err
	}
	if err := o.addTemplate(enc, dir); err != nil {
		return nil, err
	}
	examples, eval, err := encoded(&o.Data, "rows", !o.Quiet, enc.SFT)
	if err != nil {
		return nil, err
	}
	if err := o.checkStops(enc, examples); err != nil {
		return nil, err
	}
	err = compute(&o.Base, func(opt models.Options) error {
		m, err := o.start(cfg, opt)
		if err != nil {
			return err
		}
		save := func(m models.Model) []checkpoint.Part { return o.parts(m, enc, dir) }
		t, err := trainers.NewSFT(m, examples, eval, o.SFTOptions, enc.MaxLength, save)
		if err != nil {
			return err
		}
		if err := run.begin(); err != nil {
			return err
		}
		loop := o.loop("sft", &o.Common)
		loop.Record = recordOf(enc, examples, exampleRow)
		scalars, err = loop.Run(ctx, t)
		return err
	})
	return scalars, err
}

// config reads the config, and the weights' headers if there are weights.
func (o *SFTOptions) config() (*models.Config, error) {
	if o.FromConfig != "" {
		return models.ReadConfig(o.FromConfig)
	}
	return models.Check(o.Model, models.LanguageModel)
}

// addTemplate gives the encoder the template that --chat-template names.
func (o *SFTOptions) addTemplate(enc *data.Encoder, dir string) error {
	if o.ChatTemplate == "" {
		return nil
	}
	tok, err := loadTokenizer(dir)
	if err != nil {
		return err
	}
	if tok == nil {
		return fault.Inputf("--chat-template %s: %s has no tokenizer; copy one there", o.ChatTemplate, dir)
	}
	return useBuiltin(o.ChatTemplate, tok, enc)
}

// useBuiltin gives the encoder a template by its name, with the special tokens that enc knows of tok.
func useBuiltin(name string, tok *tokenizer.Tokenizer, enc *data.Encoder) (err error) {
	tokens := map[string]string{}
	if text, ok := tok.Token(enc.BOS); ok {
		tokens["bos_token"] = text
	}
	if text, ok := tok.Token(enc.EOS); ok {
		tokens["eos_token"] = text
	}
	enc.Template, err = data.BuiltinTemplate(name, tokens)
	return err
}

// parts are the model, and the template that it has learnt, so that whatever starts from it finds that.
func (o *SFTOptions) parts(m models.Model, enc *data.Encoder, dir string) []checkpoint.Part {
	parts := models.Parts(m, models.SaveOptions{Tokenizer: tokenizerOf(dir)})
	if o.ChatTemplate != "" {
		parts = append(parts, checkpoint.Part{Write: enc.Template.Save})
	}
	return parts
}

// checkStops refuses text that never ends; rows of ids are the user's own doing, of which he is told.
func (o *SFTOptions) checkStops(enc *data.Encoder, examples []data.Example) error {
	if err := enc.CheckStops(examples); err != nil {
		return err
	}
	if !o.Quiet && !enc.TeachesStop(examples) {
		fmt.Fprintf(os.Stderr, "salsa: no completion_ids end in a stop token %v, so the model learns to go on\n", enc.Stops)
	}
	return nil
}

// start makes or loads the model.
func (o *SFTOptions) start(cfg *models.Config, opt models.Options) (models.Model, error) {
	if o.FromConfig != "" {
		return models.New(cfg, o.Seed, o.trained(opt))
	}
	return o.model(o.Model, o.Seed, opt)
}

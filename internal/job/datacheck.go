package job

// salsa data check: a data set looked at before anything is trained on it.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"salsa/data"
	"salsa/data/tokenizer"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/models"
)

// DataCheckOptions are the options of `salsa data check`.
type DataCheckOptions struct {
	Model     string   `yaml:"model" input:"path" arg:"DIR" help:"model folder whose tokenizer, stop ids and context count"`
	Tokenizer string   `yaml:"tokenizer" input:"path" arg:"DIR|FILE" help:"tokenizer alone, instead of --model"`
	EOS       string   `yaml:"eos" arg:"TOKEN" help:"token that ends completions, where the tokenizer's files name none"`
	Data      []string `yaml:"data" required:"true" input:"path" arg:"FILES" help:"rows to check"`
	EvalData  []string `yaml:"eval_data" input:"path" arg:"FILES" help:"evaluation rows, whose prompts must not be among --data"`
	MaxLength int      `yaml:"max_length" help:"longest sequence; 0: the model's context" unit:"tokens" check:">=0"`
	Template  string   `yaml:"chat_template" arg:"NAME" help:"format of chat messages, as in salsa sft: alpaca, chatml, gemma, llama2, llama3, mistral, plain or zephyr; empty: the one that lies with the tokenizer"`
	Split     string   `yaml:"separator" help:"text between the documents of a .txt file; empty: blank lines"`
	Row       int      `yaml:"row" help:"row whose tokens are shown, coloured by whether they are targets of the loss" check:">=1"`
	HTML      string   `yaml:"html" arg:"FILE" help:"write the report as a web page too" hash:"-"`
	JSON      bool     `yaml:"json" help:"print one JSON object instead of text" hash:"-"`
	Colours   bool     `yaml:"-"` // the text goes to a terminal
}

// DefaultDataCheck returns the defaults.
func DefaultDataCheck() DataCheckOptions { return DataCheckOptions{Row: 1} }

// Validate checks what the tags cannot.
func (o *DataCheckOptions) Validate() error {
	if (o.Model == "") == (o.Tokenizer == "") {
		return fault.Inputf("give either --model DIR or --tokenizer DIR")
	}
	if o.EOS != "" && o.Tokenizer == "" {
		return fault.Inputf("--eos goes with --tokenizer; a model's stop ids are those of its generation_config.json")
	}
	return nil
}

// CheckedData is what DataCheck finds.
type CheckedData struct {
	*data.CheckReport
	colours bool
}

// WriteText implements Shown.
func (c *CheckedData) WriteText(w io.Writer) error { return c.CheckReport.WriteText(w, c.colours) }

// DataCheck runs the job. Rows that cannot be trained on are in the result, and an input error says how many.
func DataCheck(_ context.Context, o *DataCheckOptions) (*CheckedData, error) {
	enc, err := o.encoder()
	if err != nil {
		return nil, err
	}
	rows, err := readRows(o.Data, o.Split, false)
	if err != nil {
		return nil, err
	}
	eval, err := readRows(o.EvalData, o.Split, false)
	if err != nil {
		return nil, err
	}
	report, err := data.Check(rows, eval, enc, o.Row-1)
	if err != nil {
		return nil, err
	}
	if o.HTML != "" {
		if err := checkpoint.WriteAtomic(o.HTML, report.WriteHTML); err != nil {
			return nil, err
		}
	}
	return &CheckedData{report, o.Colours}, report.Err()
}

// encoder builds the encoder that training with the same files would use.
func (o *DataCheckOptions) encoder() (*data.Encoder, error) {
	if o.Tokenizer != "" {
		return o.tokenizerEncoder()
	}
	cfg, err := models.ReadConfig(o.Model)
	if err != nil {
		return nil, err
	}
	enc, err := newEncoder(o.Model, cfg, o.MaxLength, "error")
	if err != nil {
		return nil, err
	}
	if enc.Tok == nil {
		return nil, fault.Inputf("%s: holds no tokenizer; copy tokenizer.json there, or give --tokenizer", o.Model)
	}
	if err := needStops(o.Model, enc); err != nil || o.Template == "" {
		return enc, err
	}
	tok, err := loadTokenizer(o.Model)
	if err != nil {
		return nil, err
	}
	return enc, useBuiltin(o.Template, tok, enc)
}

// tokenizerEncoder builds an encoder without a model: its one stop token is the tokenizer's eos.
func (o *DataCheckOptions) tokenizerEncoder() (*data.Encoder, error) {
	tok, err := tokenizer.Load(o.Tokenizer)
	if err != nil {
		return nil, err
	}
	dir := o.Tokenizer
	if filepath.Ext(dir) == ".json" || filepath.Ext(dir) == ".model" {
		dir = filepath.Dir(dir)
	}
	name := o.EOS
	if name == "" {
		facts, err := tokenizer.LoadConfig(dir)
		if err != nil {
			return nil, err
		}
		name = facts.EOS
	}
	eos, ok := tok.TokenID(name)
	if name == "" || !ok {
		return nil, fault.Inputf("%s: %s; name the token that ends completions with --eos, or give --model", o.Tokenizer, noEOS(name))
	}
	bos := -1
	if ids := tok.Encode("", true); len(ids) > 0 {
		bos = ids[0]
	}
	enc := data.NewEncoder(tok, bos, eos)
	enc.MaxLength = o.MaxLength
	if o.Template != "" {
		return enc, useBuiltin(o.Template, tok, enc)
	}
	enc.Template, err = data.LoadTemplate(dir)
	if errors.Is(err, data.ErrNoTemplate) {
		err = nil
	}
	return enc, err
}

func noEOS(name string) string {
	if name == "" {
		return "no file names an eos token"
	}
	return fmt.Sprintf("has no token %q", name)
}

package job

// The chat template of a run: recorded with what it trains, and held to those of the run's other models. Models that
// learnt on text of different formats cannot be compared, and nothing but a bad result would show it.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/models"
)

// TemplateCheck are the options of what happens if models of a run know different chat templates.
type TemplateCheck struct {
	AllowTemplateMismatch bool `yaml:"allow_template_mismatch" help:"go on although a model of the run was trained with another chat template than --data's messages are rendered with. A template is the one recorded in a folder's salsa.json, else the one that lies there; rows of text or ids use none, and then nothing is compared" hash:"-"`
}

// recordOf returns what is recorded of a run on items: the template, if any of their rows goes through it.
func recordOf[T any](enc *data.Encoder, items []T, row func(T) *data.Row) models.Record {
	for _, x := range items {
		if enc.Renders(row(x)) {
			return models.Record{ChatTemplate: enc.Template.Hash()}
		}
	}
	return models.Record{}
}

func exampleRow(x data.Example) *data.Row { return x.Row }
func pairRow(x data.Pair) *data.Row       { return x.Chosen.Row }
func promptRow(x data.Prompt) *data.Row   { return x.Row }

// checkTemplates refuses folders whose model learnt another template than record says of the run, or says so if that is
// allowed. Folders that know none are not judged.
func (c *TemplateCheck) checkTemplates(record models.Record, enc *data.Encoder, quiet bool, dirs ...string) error {
	if record.ChatTemplate == "" {
		return nil
	}
	for _, dir := range dirs {
		hash, at, err := templateOf(dir)
		if err != nil {
			return err
		}
		if hash == "" || hash == record.ChatTemplate {
			continue
		}
		differ := fmt.Sprintf("--data's messages are rendered with the chat template of %s (SHA-256 %.12s), and %s has another (SHA-256 %.12s)",
			enc.Template.Name, record.ChatTemplate, at, hash)
		if !c.AllowTemplateMismatch {
			return fault.Inputf("%s; %s, or give --allow-template-mismatch", differ, remedyFor(enc.Template.Name, dir, at))
		}
		if !quiet {
			fmt.Fprintf(os.Stderr, "salsa: note: %s\n", differ)
		}
	}
	return nil
}

// remedyFor tells how the template at, of the model in dir, can be made that of the run.
func remedyFor(used, dir, at string) string {
	if filepath.Base(at) != models.RecordFile {
		return fmt.Sprintf("copy the one that the model in %s was trained with over the other", dir)
	}
	if filepath.Dir(at) == filepath.Dir(used) {
		return "that model was trained with it before the file was changed: put the old template back"
	}
	return fmt.Sprintf("train %s again on messages of this template, or use models that were trained on one", dir)
}

// templateOf returns the hash of the chat template that the model in dir knows, and the file that says so: the record of
// its training, else the template that lies in its folder. Both are "" if there is neither.
func templateOf(dir string) (hash, at string, err error) {
	record, err := models.ReadRecord(dir)
	if err != nil || record.ChatTemplate != "" {
		return record.ChatTemplate, filepath.Join(dir, models.RecordFile), err
	}
	if !models.HasTokenizer(dir) {
		return "", "", nil
	}
	t, err := data.LoadTemplate(models.TokenizerDir(dir))
	if errors.Is(err, data.ErrNoTemplate) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	return t.Hash(), t.Name, nil
}

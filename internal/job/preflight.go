package job

// What a job looks at before it does anything heavy: the headers of every folder it was given, the place it will
// write to. A mistake shows in the first second, not after the first hour.

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"salsa/data"
	"salsa/data/tokenizer"
	"salsa/internal/demo"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
)

// checkModels opens folders by their headers; each must hold a model of the given kind whose weights fit its config.
func checkModels(kind models.Kind, dirs ...string) error {
	for _, dir := range dirs {
		if _, err := models.Check(dir, kind); err != nil {
			return err
		}
	}
	return nil
}

// checkReference opens the members of a reference, which must fit one another and share the vocabulary of model.
func checkReference(ref soup.Expr, model string) error {
	members, err := soup.Open(ref.Dirs)
	if err != nil {
		return err
	}
	members.Close()
	if err := checkModels(models.LanguageModel, ref.Dirs...); err != nil {
		return err
	}
	for _, dir := range ref.Dirs {
		if err := sharesVocabulary(model, dir); err != nil {
			return err
		}
	}
	return nil
}

// sharesVocabulary refuses a model whose ids mean other tokens than those of the model in folder first. Folders
// without a tokenizer are judged by their size alone.
func sharesVocabulary(first, dir string) error {
	a, err := models.ReadConfig(first)
	if err != nil {
		return err
	}
	b, err := models.ReadConfig(dir)
	if err != nil {
		return err
	}
	if a.Vocab != b.Vocab {
		return fault.Inputf("%s has vocab_size %d and %s has %d; all models of a run must share a vocabulary", dir, b.Vocab, first, a.Vocab)
	}
	x, err := loadTokenizer(first)
	if err != nil || x == nil {
		return err
	}
	y, err := loadTokenizer(dir)
	if err != nil || y == nil {
		return err
	}
	if x.Hash() != y.Hash() {
		return fault.Inputf("%s has another tokenizer than %s; all models of a run must share one", dir, first)
	}
	return nil
}

// loadTokenizer reads the tokenizer of a model folder; nil if it has none.
func loadTokenizer(dir string) (*tokenizer.Tokenizer, error) {
	if !models.HasTokenizer(dir) {
		return nil, nil
	}
	return tokenizer.Load(models.TokenizerDir(dir))
}

// tokenizerOf is the folder that a trained model's tokenizer files come from, or "" if dir has none.
func tokenizerOf(dir string) string {
	if !models.HasTokenizer(dir) {
		return ""
	}
	return dir
}

// leaveRoom lowers the encoder's limit so that every prompt leaves the context room for n new tokens.
func leaveRoom(enc *data.Encoder, cfg *models.Config, n int) error {
	if n >= cfg.Context() {
		return fault.Inputf("--max-new-tokens %d leaves no room for a prompt in the context of %d tokens; lower it", n, cfg.Context())
	}
	if limit := cfg.Context() - n; limit < enc.MaxLength {
		enc.MaxLength, enc.Room = limit, n
	}
	return nil
}

// leaveRoomIn is leaveRoom for the contexts of all models in dirs, which read what the encoder's model writes.
func leaveRoomIn(enc *data.Encoder, n int, dirs ...string) error {
	for _, dir := range dirs {
		cfg, err := models.ReadConfig(dir)
		if err != nil {
			return err
		}
		if err := leaveRoom(enc, cfg, n); err != nil {
			return fault.Inputf("%s: %w", dir, err)
		}
	}
	return nil
}

// checkGold holds prompts to what the exact score understands; flag is the option that asked for it.
func checkGold(flag, gold string, prompts []data.Prompt) error {
	if goldNames[gold] == nil { // none, or no such option
		return nil
	}
	for _, p := range prompts {
		if _, err := demo.Gold(p.Row.Prompt, ""); err != nil {
			return fault.Inputf("%s: --%s %s: %w", p.Row.At(), flag, gold, err)
		}
	}
	return nil
}

// checkFolder refuses a folder that files could not be written to, or that could not be made; flag is the option that names
// it. It makes nothing; an empty name is one that the run chooses itself.
func checkFolder(flag, dir string) error {
	if dir == "" {
		return nil
	}
	at := filepath.Clean(dir)
	for {
		_, err := os.Stat(at)
		if up := filepath.Dir(at); errors.Is(err, fs.ErrNotExist) && up != at {
			at = up
			continue
		}
		break
	}
	probe, err := os.CreateTemp(at, ".salsa-probe-*")
	if err == nil {
		err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	}
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the name of the probe
		}
		return fault.Inputf("--%s %s: files cannot be made there: %w; choose a writable folder", flag, dir, err)
	}
	return nil
}

// checkOutFile refuses a path that rows could not be written to in the end, or that is one of the files they come from.
func checkOutFile(path string, inputs ...string) error {
	stat, err := os.Stat(path)
	for _, input := range inputs {
		if in, failed := os.Stat(input); err == nil && failed == nil && os.SameFile(stat, in) {
			return fault.Inputf("%s: is --data too, and would be replaced by what is made of it; choose another --out", path)
		}
	}
	if err == nil && !stat.Mode().IsRegular() { // a device would be replaced, not written to
		kind := "not a file"
		if stat.IsDir() {
			kind = "a folder"
		}
		return fault.Inputf("%s: is %s; give --out the name of a .jsonl file", path, kind)
	}
	dir := filepath.Dir(path)
	probe, err := os.CreateTemp(dir, ".salsa-probe-*")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.Inputf("%s: cannot be written: %s is no folder that files can be made in; make it or choose another --out", path, dir)
	case err != nil:
		return fault.Inputf("%s: cannot be written: %w; choose another --out", path, errors.Unwrap(err))
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return fault.Inputf("%s: cannot be written: %w; choose another --out", path, err)
	}
	return nil
}

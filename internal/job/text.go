package job

// Data files to encoded rows: the tokenizer and chat template of a model folder, the held-out split, and what is
// told about it.

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/profile"
	"salsa/models"
	"salsa/tensor"
)

// Data are the options that name training data.
type Data struct {
	Data     []string  `yaml:"data" required:"true" input:"path" arg:"FILES" help:"rows to train on: .jsonl, .json, .txt, .parquet, also .gz or .zst"`
	Weights  []float64 `yaml:"data_weights" arg:"W,W,..." help:"draw rows from the files of --data in these proportions, one per file (0.7,0.3), each file in its own shuffled order; an epoch stays as many rows as the files hold. Empty: every row once an epoch"`
	EvalData []string  `yaml:"eval_data" input:"path" arg:"FILES" help:"held-out rows, measured but never trained on"`
	Holdout  float64   `yaml:"holdout" help:"share of --data that is held out, chosen by each prompt's hash: SFT, reward model and PPO hold out the same prompts" check:">=0,<1"`
	Split    string    `yaml:"separator" help:"text between the documents of a .txt file; empty: blank lines"`
}

// newEncoder builds the encoder of a model folder. If the folder has no tokenizer it encodes rows of ids only.
func newEncoder(dir string, cfg *models.Config, maxLength int, overlong string) (*data.Encoder, error) {
	enc := data.NewEncoder(nil, -1, -1)
	if err := addTokenizer(enc, dir, cfg); err != nil {
		return nil, err
	}
	if enc.Stops = cfg.StopIDs(); len(enc.Stops) > 0 {
		enc.EOS = mainEOS(cfg, enc.Stops)
	}
	for _, id := range slices.Concat(cfg.EOS, enc.Stops) {
		if id < 0 || id >= cfg.Vocab {
			return nil, fault.Inputf("%s: eos_token_id %d is not a token of the model, whose vocab_size is %d; correct it", dir, id, cfg.Vocab)
		}
	}
	enc.Vocab, enc.Overlong, enc.MaxLength = cfg.Vocab, data.Overlong(overlong), cfg.Context()
	if maxLength > 0 {
		if maxLength > enc.MaxLength {
			return nil, fault.Inputf("--max-length %d is more than the model's context of %d tokens", maxLength, enc.MaxLength)
		}
		enc.MaxLength = maxLength
	}
	return enc, nil
}

// addTokenizer gives the encoder the folder's tokenizer and chat template, if there are any.
func addTokenizer(enc *data.Encoder, dir string, cfg *models.Config) error {
	tok, err := loadTokenizer(dir)
	if err != nil || tok == nil {
		return err
	}
	if n := tok.VocabSize(); n > cfg.Vocab {
		return fault.Inputf("%s: the tokenizer has %d ids and the model's vocab_size is %d; use the tokenizer that belongs to the model", dir, n, cfg.Vocab)
	}
	enc.Tok = tok
	if ids := tok.Encode("", true); len(ids) > 0 {
		enc.BOS = ids[0]
	}
	enc.Template, err = data.LoadTemplate(models.TokenizerDir(dir))
	if errors.Is(err, data.ErrNoTemplate) {
		err = nil
	}
	return err
}

// needStops refuses a model whose completions could never end.
func needStops(dir string, enc *data.Encoder) error {
	if len(enc.Stops) == 0 {
		return fault.Inputf("%s: neither generation_config.json nor config.json has eos_token_id; add it, or completions cannot end", dir)
	}
	return nil
}

// mainEOS is the stop id that training appends: config.json's first, which the pretrained model knows best.
func mainEOS(cfg *models.Config, stops []int) int {
	if len(cfg.EOS) > 0 {
		return cfg.EOS[0]
	}
	return stops[0]
}

// encoder builds the encoder that a training run's options ask for.
func (t *Training) encoder(dir string, cfg *models.Config) (*data.Encoder, error) {
	enc, err := newEncoder(dir, cfg, t.MaxLength, t.Overlong)
	if err != nil {
		return nil, err
	}
	enc.Empty = data.Empty(t.Empty)
	return enc, needStops(dir, enc)
}

// answering builds the encoder of a training run's prompts, each of which leaves room for n new tokens.
func (t *Training) answering(dir string, cfg *models.Config, n int) (*data.Encoder, error) {
	enc, err := t.encoder(dir, cfg)
	if err != nil {
		return nil, err
	}
	if t.MaxLength > 0 && t.MaxLength+n > cfg.Context() {
		return nil, fault.Inputf("--max-length %d and --max-new-tokens %d do not fit the context of %d tokens; lower one", t.MaxLength, n, cfg.Context())
	}
	return enc, leaveRoom(enc, cfg, n)
}

// completionText decodes a completion without the stop id that ended it. The id is cut off by number: a tokenizer whose
// special tokens pass through its normalizer does not recognise them when it decodes, and neither does Hugging Face's.
func completionText(enc *data.Encoder, ids []int) string {
	if n := len(ids); n > 0 && slices.Contains(enc.Stops, ids[n-1]) {
		ids = ids[:n-1]
	}
	return enc.Decode(ids, true)
}

// readRows reads all files and says what they hold.
func readRows(paths []string, separator string, say bool) ([]data.Row, error) {
	defer profile.Begin(profile.Data).End()
	var rows []data.Row
	for _, path := range paths {
		more, err := data.ReadAll(path, data.ReadOptions{Separator: separator})
		if err != nil {
			return nil, err
		}
		if say {
			fmt.Fprintf(os.Stderr, "salsa: %s: %s\n", path, data.Detected(more))
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// promptKey is the text that decides which side of the split a row falls on.
func promptKey(r *data.Row) string {
	switch {
	case r.HasIDs:
		return fmt.Sprint(r.PromptIDs)
	case r.Prompt != "":
		return r.Prompt
	case r.Text != "":
		return r.Text
	}
	var b strings.Builder
	for _, m := range r.Messages {
		if m.Role == "assistant" {
			break
		}
		b.WriteString(m.Role + ":" + m.Content + "\n")
	}
	return b.String()
}

// heldOut tells whether a row belongs to the held-out share: a function of its prompt alone.
func heldOut(r *data.Row, share float64) bool {
	h := fnv.New64a()
	h.Write([]byte(promptKey(r)))
	// FNV's high bits hardly depend on the last characters, in which prompts often differ: Mix spreads them.
	return float64(tensor.Mix(h.Sum64())>>11)/(1<<53) < share
}

// splitRows cuts rows into training and held-out ones.
func splitRows(rows []data.Row, share float64) (train, eval []data.Row) {
	for i := range rows {
		if heldOut(&rows[i], share) {
			eval = append(eval, rows[i])
		} else {
			train = append(train, rows[i])
		}
	}
	return train, eval
}

// evalUnread is options.Selective's for commands that measure held-out rows now and then.
func (d *Data) evalUnread(key string) string {
	if key == "eval_every" && len(d.EvalData) == 0 && d.Holdout == 0 {
		return "measures held-out rows, and there are none; add --eval-data or --holdout, or leave it out"
	}
	return ""
}

// checkWeights refuses weights that cannot mix the files of --data.
func (d *Data) checkWeights() error {
	_, err := d.mix()
	return err
}

// mix returns the weights of the files; nil if there are none.
func (d *Data) mix() (*data.Mix, error) {
	if len(d.Weights) == 0 {
		return nil, nil
	}
	mix, err := data.NewMix(d.Data, d.Weights)
	if err != nil {
		return nil, fault.Inputf("--data-weights: %w", err)
	}
	return mix, nil
}

// read reads the files of --data and ties their rows to their weights; a file of weight 0 is left out.
func (d *Data) read(say bool) ([]data.Row, error) {
	mix, err := d.mix()
	if err != nil {
		return nil, err
	}
	if mix == nil {
		return readRows(d.Data, d.Split, say)
	}
	var rows []data.Row
	for i, path := range d.Data {
		if mix.Weights[i] == 0 {
			continue
		}
		more, err := readRows([]string{path}, d.Split, say)
		if err != nil {
			return nil, err
		}
		for j := range more {
			more[j].Mix, more[j].Source = mix, i
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// load reads and splits the data; the held-out rows are those of EvalData and of the share.
func (d *Data) load(say bool) (train, eval []data.Row, err error) {
	rows, err := d.read(say)
	if err != nil {
		return nil, nil, err
	}
	train, eval = splitRows(rows, d.Holdout)
	if len(train) == 0 {
		return nil, nil, fault.Inputf("--holdout %g leaves no row to train on; lower it", d.Holdout)
	}
	if say && d.Holdout > 0 && len(eval) == 0 {
		fmt.Fprintf(os.Stderr, "salsa: note: --holdout %g holds out none of the %d rows, so nothing of them is measured; raise it\n", d.Holdout, len(rows))
	}
	more, err := readRows(d.EvalData, d.Split, say)
	return train, append(eval, more...), err
}

// encode runs one of the encoder's methods over rows and says what became of them; no rows give none.
func encode[T data.Example | data.Pair | data.Prompt | data.Ranking](rows []data.Row, what string, say bool, f func(*data.Row) (T, error)) ([]T, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	defer profile.Begin(profile.Data).End()
	tell := &encodingTold{what: what, rows: len(rows), quiet: !say}
	tell.last.Store(time.Now().UnixNano())
	out, counts, err := data.EncodeAll(rows, func(r *data.Row) (T, error) {
		defer tell.one()
		return f(r)
	})
	if err != nil {
		return nil, err
	}
	if say {
		fmt.Fprintf(os.Stderr, "salsa: %s: %s\n", what, counts)
	}
	return out, nil
}

// encodingTold says now and then how far the encoding of a large file is. Any goroutine may call it.
type encodingTold struct {
	what  string
	rows  int
	quiet bool
	done  atomic.Int64
	last  atomic.Int64 // when something was said, in ns
}

// tellEvery is the time between two words on progress.
const tellEvery = 5 * time.Second

// one counts a row.
func (t *encodingTold) one() {
	done := t.done.Add(1)
	if t.quiet || done%1024 != 0 {
		return
	}
	last, now := t.last.Load(), time.Now().UnixNano()
	if now-last >= int64(tellEvery) && t.last.CompareAndSwap(last, now) {
		fmt.Fprintf(os.Stderr, "salsa: %s: %d of %d encoded\n", t.what, done, t.rows)
	}
}

// encoded reads, splits and encodes the data; noun names the rows in what is told about them.
func encoded[T data.Example | data.Pair | data.Prompt | data.Ranking](d *Data, noun string, say bool, f func(*data.Row) (T, error)) (train, eval []T, err error) {
	rows, held, err := d.load(say)
	if err != nil {
		return nil, nil, err
	}
	if train, err = encode(rows, "training "+noun, say, f); err != nil {
		return nil, nil, err
	}
	eval, err = encode(held, "held-out "+noun, say, f)
	return train, eval, err
}

// saver returns what makes a network the parts of a Hugging Face folder with the tokenizer files of from.
func saver[M models.Model](from string) func(m M) []checkpoint.Part {
	files := models.SaveOptions{Tokenizer: tokenizerOf(from)}
	return func(m M) []checkpoint.Part { return models.Parts(m, files) }
}

package job

// The completions that salsa can scores: drawn and scored a chunk of prompts at a time, each chunk appended to a file
// when it is done. The file's name holds a hash of all that its rows depend on, so a run that was cut off goes on with
// it, a run with another bound reuses it, and nothing else mistakes it for its own.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/internal/runlock"
	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
	"salsa/trainers"
)

// scoredRow is a line of the file: a prompt with its completions in the order they were drawn.
type scoredRow struct {
	Prompt      string             `json:"prompt,omitempty"`
	PromptIDs   []int              `json:"prompt_ids"`
	Completions []scoredCompletion `json:"completions"`
}

// scoredCompletion is a completion with its scores.
type scoredCompletion struct {
	Completion string  `json:"completion"` // empty if the model has no tokenizer
	IDs        []int   `json:"completion_ids"`
	Ended      bool    `json:"ended"` // by itself, not by the length limit
	Reward     float64 `json:"reward"`
	Safety     float64 `json:"safety"`
	LogRatio   float64 `json:"log_ratio,omitempty"` // to the reference, of completions of the aligned model
}

// drawing is what a file of scored completions is made from.
type drawing struct {
	name    string // of the file, and of the random stream
	prompts []data.Prompt
	n       int       // completions per prompt
	model   soup.Expr // that is sampled
	aligned bool      // it is not the reference, so that its log-ratio to it means something
}

// fromReference draws the dual's samples.
func (c *canJob) fromReference(name string, prompts []data.Prompt) drawing {
	return drawing{name: name, prompts: prompts, n: c.Samples, model: c.ref}
}

// scored returns the rows of a drawing, from the disk as far as they are there.
func (c *canJob) scored(ctx context.Context, d drawing) ([]scoredRow, error) {
	dir := c.SamplesDir
	if dir == "" {
		dir = filepath.Join(c.Out, "samples")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.Inputf("%w; choose a writable --samples-dir", err)
	}
	lock, err := runlock.Acquire(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	key, err := c.key(d)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, d.name+"-"+key+".jsonl")
	rows, err := wholeRows(path, c.ChunkSize, len(d.prompts))
	if err != nil || len(rows) == len(d.prompts) {
		return rows, err
	}
	if len(rows) > 0 && !c.Quiet {
		fmt.Fprintf(os.Stderr, "salsa: resuming after the %s completions of %d prompts\n", d.name, len(rows))
	}
	err = tensor.Scope(func() error { return c.draw(ctx, d, path, len(rows)) })
	if err != nil {
		return nil, err
	}
	return wholeRows(path, c.ChunkSize, len(d.prompts))
}

// key hashes what a drawing depends on.
func (c *canJob) key(d drawing) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "salsa can completions 1\n%s\n%d %d %d %d %d\n", d.name, d.n, c.MaxNewTokens, c.SampleBatchSize, c.ChunkSize, c.Seed)
	ids := []func() (string, error){
		func() (string, error) { return referenceID(d.model, c.opt) },
		func() (string, error) { return referenceID(c.ref, c.opt) },
	}
	if c.Mode == "pecan" {
		for _, dir := range c.scorerDirs() {
			ids = append(ids, func() (string, error) {
				return referenceID(soup.Expr{Dirs: []string{dir}, Weights: []float64{1}}, c.opt)
			})
		}
	} else {
		ids = append(ids, func() (string, error) { return c.reward.id(c.opt) }, func() (string, error) { return c.safety.id(c.opt) })
	}
	for _, of := range ids {
		id, err := of()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q\n", id)
	}
	fmt.Fprintln(h, c.enc.Stops)
	for _, p := range d.prompts {
		fmt.Fprintln(h, p.IDs, p.Text) // exact scores read the text
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// wholeRows reads the rows of whole chunks and cuts off what lies behind them; none if there is no file.
func wholeRows(path string, chunk, total int) (rows []scoredRow, err error) {
	kept, whole := 0, int64(0)
	for row, end := range eachRow[scoredRow](path, &err) {
		if rows = append(rows, row); len(rows)%chunk == 0 || len(rows) == total {
			kept, whole = len(rows), end
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if stat, err := os.Stat(path); err == nil && stat.Size() == whole {
		return rows[:kept], nil
	}
	if err := os.Truncate(path, whole); err != nil {
		return nil, fmt.Errorf("%w; make the folder writable", err)
	}
	return rows[:kept], nil
}

// scorers are the live models of a drawing; kl is nil if the reference itself is sampled.
type scorers struct {
	model              models.Model
	reward, safety, kl trainers.Rewarder
}

// load loads them; their weights belong to the caller's scope.
func (c *canJob) load(d drawing) (s scorers, err error) {
	if s.model, err = d.model.Load(c.opt); err != nil {
		return s, err
	}
	ref := s.model
	if d.aligned {
		if ref, err = c.ref.Load(c.opt); err != nil {
			return s, err
		}
		s.kl = trainers.LogRatioRewarder{Model: s.model, Reference: ref, Micro: c.SampleBatchSize}
	}
	if c.Mode != "pecan" {
		if s.reward, err = c.reward.load(c.opt, c.SampleBatchSize, c.enc); err != nil {
			return s, err
		}
		s.safety, err = c.safety.load(c.opt, c.SampleBatchSize, c.enc)
		return s, err
	}
	for _, x := range []struct {
		dir  string
		into *trainers.Rewarder
	}{{c.RewardPolicy, &s.reward}, {c.SafetyPolicy, &s.safety}} {
		m, err := models.Load(x.dir, c.opt)
		if err != nil {
			return s, err
		}
		*x.into = trainers.LogRatioRewarder{Model: m, Reference: ref, Micro: c.SampleBatchSize}
	}
	return s, nil
}

// draw appends the rows of all prompts from the done-th on.
func (c *canJob) draw(ctx context.Context, d drawing, path string, done int) error {
	s, err := c.load(d)
	if err != nil {
		return err
	}
	var progress *metrics.Progress
	if !c.Quiet {
		progress = metrics.NewProgress(os.Stderr, d.name+" completions", done*d.n, len(d.prompts)*d.n)
		defer progress.Done()
	}
	for from := done; from < len(d.prompts); from += c.ChunkSize {
		rows, err := c.chunk(ctx, d, s, from, progress)
		if errors.Is(err, context.Canceled) {
			return fmt.Errorf("%w after the %s completions of %d of %d prompts: saved; the same command with --resume goes on", fault.ErrInterrupted, d.name, from, len(d.prompts))
		}
		if err != nil {
			return err
		}
		if err := appendRows(path, rows); err != nil {
			return err
		}
	}
	return nil
}

// chunk draws and scores the completions of the prompts that begin with the from-th.
func (c *canJob) chunk(ctx context.Context, d drawing, s scorers, from int, progress *metrics.Progress) ([]scoredRow, error) {
	prompts := d.prompts[from:min(from+c.ChunkSize, len(d.prompts))]
	gen := models.GenOptions{MaxNewTokens: c.MaxNewTokens, NPerPrompt: d.n, Stop: c.enc.Stops, IgnoreEOS: true,
		BatchSize: c.SampleBatchSize, Sampler: tensor.Sampler{Temperature: 1, TopP: 1}}
	stream := uint64(len(d.name)) // reference, held or measured: of different lengths
	for i := range d.n * len(prompts) {
		gen.Seeds = append(gen.Seeds, tensor.Mix(c.Seed, stream, uint64(from*d.n+i)))
	}
	if progress != nil {
		gen.OnToken = func(int, int, float32) { progress.Tokens(1) }
		gen.Progress = func(done, _ int) { progress.Step(from*d.n + done) }
	}
	drawn, err := models.Generate(ctx, s.model, promptIDs(prompts), gen)
	if err != nil {
		return nil, err
	}
	rows := make([]scoredRow, len(prompts))
	for i, p := range prompts {
		rows[i] = scoredRow{Prompt: p.Text, PromptIDs: p.IDs, Completions: make([]scoredCompletion, d.n)}
		for j := range d.n {
			x := drawn[i*d.n+j]
			rows[i].Completions[j] = scoredCompletion{Completion: completionText(c.enc, x.IDs), IDs: x.IDs, Ended: x.Stopped}
		}
	}
	return rows, s.score(ctx, prompts, rows)
}

// score fills in the scores of the prompts' completions.
func (s *scorers) score(ctx context.Context, prompts []data.Prompt, rows []scoredRow) error {
	var asked []data.Prompt
	var ids [][]int
	var all []*scoredCompletion
	for i := range rows {
		for j := range rows[i].Completions {
			x := &rows[i].Completions[j]
			asked, ids, all = append(asked, prompts[i]), append(ids, x.IDs), append(all, x)
		}
	}
	for _, by := range []struct {
		what     string
		rewarder trainers.Rewarder
		into     func(*scoredCompletion) *float64
	}{{"reward", s.reward, func(x *scoredCompletion) *float64 { return &x.Reward }},
		{"safety", s.safety, func(x *scoredCompletion) *float64 { return &x.Safety }},
		{"log-ratio", s.kl, func(x *scoredCompletion) *float64 { return &x.LogRatio }}} {
		if by.rewarder == nil {
			continue
		}
		scores, err := by.rewarder.Score(ctx, asked, ids)
		if err != nil {
			return err
		}
		for i, v := range scores {
			if *by.into(all[i]) = v; math.IsNaN(v) || math.IsInf(v, 0) {
				return fault.Inputf("%s: the %s of a completion of this prompt is %g; check the weights of what scores it", asked[i].Row.At(), by.what, v)
			}
		}
	}
	return nil
}

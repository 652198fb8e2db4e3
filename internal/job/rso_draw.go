package job

// The candidates of salsa rso: drawn and scored a chunk of prompts at a time, each chunk appended to candidates.jsonl
// when it is done. Chunks and random streams depend on the options alone, so a run that was cut off draws what is
// missing and ends with the same file, byte for byte.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"

	"salsa/data"
	"salsa/internal/fault"
	"salsa/internal/metrics"
	"salsa/models"
	"salsa/tensor"
	"salsa/trainers"
)

const candidatesFile = "candidates.jsonl" // in a run folder

// candidateRow is a line of candidates.jsonl: a prompt with its unique candidates in the order they were drawn.
type candidateRow struct {
	Prompt     string      `json:"prompt,omitempty"`
	PromptIDs  []int       `json:"prompt_ids"`
	Candidates []candidate `json:"candidates"`
}

// candidate is a completion with its reward.
type candidate struct {
	Completion string  `json:"completion"` // empty if the model has no tokenizer
	IDs        []int   `json:"completion_ids"`
	Ended      bool    `json:"ended"` // by itself, not by the length limit
	Drawn      int     `json:"drawn"` // how often
	Score      float64 `json:"score"`
}

// drawAll draws and scores the candidates of all prompts that candidates.jsonl lacks.
func (j *rsoJob) drawAll(ctx context.Context, opt models.Options) error {
	prompts := j.prompts
	done, err := j.keepWhole(prompts)
	if err != nil || done == len(prompts) {
		return err
	}
	if done > 0 && !j.Quiet {
		fmt.Fprintf(os.Stderr, "salsa: resuming after the candidates of %d prompts\n", done)
	}
	return withModel(j.Model, opt, func(m models.Model) error {
		reward, err := j.scorer.load(opt, j.SampleBatchSize, j.enc)
		if err != nil {
			return err
		}
		d := drawer{o: j.RSOOptions, model: m, enc: j.enc, reward: reward}
		if !j.Quiet {
			d.progress = metrics.NewProgress(os.Stderr, "candidates", done*j.Candidates, len(prompts)*j.Candidates)
			defer d.progress.Done()
		}
		for from := done; from < len(prompts); from += j.ChunkSize {
			err := d.chunk(ctx, from, prompts[from:min(from+j.ChunkSize, len(prompts))])
			if errors.Is(err, context.Canceled) {
				return fmt.Errorf("%w after the candidates of %d of %d prompts: saved; the same command with --resume goes on", fault.ErrInterrupted, from, len(prompts))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// drawer draws and scores candidates.
type drawer struct {
	o        *RSOOptions
	model    models.Model
	enc      *data.Encoder
	reward   trainers.Rewarder
	progress *metrics.Progress // nil: none
}

// chunk does the prompts that begin with the first-th and appends their rows.
func (d *drawer) chunk(ctx context.Context, first int, prompts []data.Prompt) error {
	n := d.o.Candidates
	s := Sampling{Drawing: Drawing{Picking: d.o.Picking}, BatchSize: d.o.SampleBatchSize}
	gen := s.options(n, d.enc.Stops, d.progress)
	for i := range n * len(prompts) {
		gen.Seeds = append(gen.Seeds, tensor.Mix(d.o.Seed, uint64(first*n+i)))
	}
	if d.progress != nil {
		gen.Progress = func(done, _ int) { d.progress.Step(first*n + done) }
	}
	drawn, err := models.Generate(ctx, d.model, promptIDs(prompts), gen)
	if err != nil {
		return err
	}
	rows := make([]candidateRow, len(prompts))
	var asked []data.Prompt
	var answers [][]int
	for i, p := range prompts {
		rows[i] = candidateRow{PromptIDs: p.IDs, Prompt: p.Text, Candidates: d.unique(drawn[i*n : (i+1)*n])}
		for _, c := range rows[i].Candidates {
			asked, answers = append(asked, p), append(answers, c.IDs)
		}
	}
	scores, err := d.reward.Score(ctx, asked, answers)
	if err != nil {
		return err
	}
	for i := range rows {
		for j := range rows[i].Candidates {
			if rows[i].Candidates[j].Score = scores[0]; math.IsNaN(scores[0]) || math.IsInf(scores[0], 0) {
				return fault.Inputf("%s: the reward model gives %g for a completion of this prompt; check the weights in %s", prompts[i].Row.At(), scores[0], d.o.RewardModel)
			}
			scores = scores[1:]
		}
	}
	return appendRows(d.o.file(candidatesFile), rows)
}

// unique keeps the first of all candidates with the same text; without a tokenizer, with the same ids.
func (d *drawer) unique(drawn []models.Completion) []candidate {
	var list []candidate
	at := map[string]int{}
	for _, c := range drawn {
		text := completionText(d.enc, c.IDs)
		key := text
		if d.enc.Tok == nil {
			key = idKey(c.IDs)
		}
		if i, ok := at[key]; ok {
			list[i].Drawn++
			continue
		}
		at[key] = len(list)
		list = append(list, candidate{Completion: text, IDs: c.IDs, Ended: c.Stopped, Drawn: 1})
	}
	return list
}

// idKey is a text that differs for different ids.
func idKey(ids []int) string {
	var key []byte
	for _, id := range ids {
		key = strconv.AppendInt(append(key, ' '), int64(id), 10)
	}
	return string(key)
}

// keepWhole counts the prompts whose candidates an earlier process wrote and cuts off what lies behind the last whole
// chunk. A prompt that is not the one that it has now is refused.
func (o *RSOOptions) keepWhole(prompts []data.Prompt) (done int, err error) {
	path := o.file(candidatesFile)
	seen, whole := 0, int64(0)
	for row, end := range eachRow[candidateRow](path, &err) {
		if seen >= len(prompts) || !slices.Equal(row.PromptIDs, prompts[seen].IDs) {
			return 0, fault.Inputf("%s:%d: the candidates are of another prompt than --data has there now; put the old --data back, or choose another --out", path, seen+1)
		}
		if seen++; seen%o.ChunkSize == 0 || seen == len(prompts) {
			done, whole = seen, end
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if err := os.Truncate(path, whole); err != nil {
		return 0, fmt.Errorf("%w; choose a writable --out", err)
	}
	return done, nil
}

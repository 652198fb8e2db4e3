package job

// From scored candidates to what is learned from: rejection sampling and pairing prompt by prompt, or the best of each
// prompt; the files that hold the outcome, and the figures that tell how it went.

import (
	"encoding/json"
	"fmt"
	"io"

	"salsa/data"
	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/tensor"
	"salsa/trainers"
)

// The stream numbers of a prompt's draws; its candidates have stream 0 of their own seeds.
const (
	acceptStream = 1
	pairStream   = 2
)

// rankedRow is a line of pairs.jsonl. The ids are the very tokens that were drawn; readers that know no ids take the text.
type rankedRow struct {
	Prompt        string  `json:"prompt"`
	Chosen        string  `json:"chosen"`
	Rejected      string  `json:"rejected"`
	PromptIDs     []int   `json:"prompt_ids"`
	ChosenIDs     []int   `json:"chosen_ids"`
	RejectedIDs   []int   `json:"rejected_ids"`
	ScoreChosen   float64 `json:"score_chosen"`
	ScoreRejected float64 `json:"score_rejected"`
}

// bestRow is a line of best.jsonl.
type bestRow struct {
	Prompt        string  `json:"prompt"`
	Completion    string  `json:"completion"`
	PromptIDs     []int   `json:"prompt_ids"`
	CompletionIDs []int   `json:"completion_ids"`
	Score         float64 `json:"score"`
}

// tally is a number of completions and the mean of their rewards.
type tally struct {
	Count  int     `json:"count"`
	Reward float64 `json:"mean_reward"`
}

func (t *tally) add(reward float64, times int) {
	t.Count += times
	t.Reward += (reward - t.Reward) * float64(times) / float64(max(1, t.Count))
}

// siftStats is rso.json.
type siftStats struct {
	Prompts       int     `json:"prompts"`
	TooFew        int     `json:"prompts_with_too_few_unique_candidates"`
	Candidates    tally   `json:"candidates"` // as drawn
	Unique        tally   `json:"unique"`
	Unended       int     `json:"unended"` // candidates that the length limit cut off
	Accepted      tally   `json:"accepted"`
	Chosen        tally   `json:"chosen"`
	Rejected      tally   `json:"rejected"`
	Pairs         int     `json:"pairs"`
	Ties          int     `json:"ties"` // matches of equal rewards, which give no pair
	Tried         int     `json:"tried"`
	Acceptance    float64 `json:"acceptance_rate"`       // accepted by tried
	PassAccepted  []int   `json:"accepted_in_pass"`      // of all prompts, in the first pass, the second, …
	EffectiveSize float64 `json:"effective_sample_size"` // mean over the prompts that were not left out
}

// sifted is the outcome for all prompts.
type sifted struct {
	siftStats
	rows  []rankedRow
	best  []bestRow
	pairs []data.Pair
}

// sift reads the candidates, writes pairs.jsonl or best.jsonl, and rso.json last.
func (o *RSOOptions) sift(prompts []data.Prompt) (*sifted, error) {
	out := &sifted{}
	var err error
	for row := range eachRow[candidateRow](o.file(candidatesFile), &err) {
		if err := o.siftRow(&row, prompts[out.Prompts], out); err != nil {
			return out, err
		}
	}
	if err != nil {
		return out, err
	}
	if out.Tried > 0 {
		out.Acceptance = float64(out.Accepted.Count) / float64(out.Tried)
	}
	raw, err := json.MarshalIndent(out.siftStats, "", "  ")
	if err != nil {
		return out, err
	}
	name, write := "pairs.jsonl", func(path string) error { return writeRows(path, out.rows) }
	if o.Select == "best" {
		name, write = "best.jsonl", func(path string) error { return writeRows(path, out.best) }
	}
	if err := write(o.file(name)); err != nil {
		return out, err
	}
	if err := checkpoint.WriteFileAtomic(o.file("rso.json"), append(raw, '\n')); err != nil {
		return out, err
	}
	if err := o.tell(func(w io.Writer) error { return out.writeText(w, o, o.file(name)) }); err != nil {
		return out, err
	}
	if o.Select == "rejection" && out.Pairs == 0 {
		return out, fault.Inputf("no pair to train on: of %d prompts %d have fewer than %d unique candidates, and %d matches are ties; raise --temperature or --candidates, lower --accept, or use another reward model", out.Prompts, out.TooFew, o.Accept, out.Ties)
	}
	return out, nil
}

// siftRow adds one prompt to the outcome. Its random streams are functions of the seed and its place.
func (o *RSOOptions) siftRow(row *candidateRow, p data.Prompt, out *sifted) error {
	seed := tensor.Mix(o.Seed, uint64(out.Prompts))
	out.Prompts++
	rewards := make([]float64, len(row.Candidates))
	for i, c := range row.Candidates {
		rewards[i] = c.Score
		out.Candidates.add(c.Score, c.Drawn)
		out.Unique.add(c.Score, 1)
		if !c.Ended {
			out.Unended += c.Drawn
		}
	}
	accept, beta := o.Accept, o.Beta
	if o.Select == "best" {
		accept, beta = 1, 0
	}
	if len(rewards) < accept {
		out.TooFew++
		return nil
	}
	got, err := trainers.RejectionSample(rewards, accept, beta, tensor.NewRNG(seed, acceptStream).Float64)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Row.At(), err)
	}
	out.accept(rewards, &got, beta)
	if o.Select == "best" {
		c := row.Candidates[got.Order[0]]
		out.best = append(out.best, bestRow{row.Prompt, c.Completion, row.PromptIDs, c.IDs, c.Score})
		return nil
	}
	pairs, ties, err := trainers.PairCandidates(rewards, got.Order, o.Pairing, tensor.NewRNG(seed, pairStream).Rand())
	if err != nil {
		return err
	}
	out.Ties += ties
	for _, pair := range pairs {
		out.add(row, p, row.Candidates[pair.Chosen], row.Candidates[pair.Rejected])
	}
	return nil
}

// accept counts what the sampler did with a prompt.
func (s *siftStats) accept(rewards []float64, got *trainers.Accepted, beta float64) {
	for _, i := range got.Order {
		s.Accepted.add(rewards[i], 1)
	}
	s.Tried += got.Tried()
	for i, pass := range got.Passes {
		if i == len(s.PassAccepted) {
			s.PassAccepted = append(s.PassAccepted, 0)
		}
		s.PassAccepted[i] += pass.Accepted
	}
	known := float64(s.Prompts - s.TooFew)
	s.EffectiveSize += (trainers.EffectiveSampleSize(rewards, beta) - s.EffectiveSize) / known
}

// add records a pair.
func (s *sifted) add(row *candidateRow, p data.Prompt, chosen, rejected candidate) {
	s.Pairs++
	s.Chosen.add(chosen.Score, 1)
	s.Rejected.add(rejected.Score, 1)
	s.rows = append(s.rows, rankedRow{row.Prompt, chosen.Completion, rejected.Completion, row.PromptIDs, chosen.IDs, rejected.IDs, chosen.Score, rejected.Score})
	s.pairs = append(s.pairs, data.Pair{Chosen: p.Answered(chosen.IDs), Rejected: p.Answered(rejected.IDs), Margin: chosen.Score - rejected.Score})
}

// scalars are what the command prints with --json.
func (s *siftStats) scalars() map[string]float64 {
	out := map[string]float64{"rso/prompts": float64(s.Prompts), "rso/skipped": float64(s.TooFew), "rso/pairs": float64(s.Pairs), "rso/ties": float64(s.Ties),
		"rso/acceptance_rate": s.Acceptance, "rso/effective_sample_size": s.EffectiveSize}
	for _, line := range s.lines() {
		if line.Count > 0 {
			out["rso/"+line.name] = float64(line.Count)
			out["rso/reward_"+line.name] = line.Reward
		}
	}
	return out
}

type namedTally struct {
	name string
	tally
}

func (s *siftStats) lines() []namedTally {
	return []namedTally{{"candidates", s.Candidates}, {"unique", s.Unique}, {"accepted", s.Accepted}, {"chosen", s.Chosen}, {"rejected", s.Rejected}}
}

// writeText prints the figures, and where the rows are.
func (s *siftStats) writeText(w io.Writer, o *RSOOptions, path string) error {
	err := table(w, func(row func(format string, args ...any)) {
		row("completions\t count\t mean reward")
		for _, line := range s.lines() {
			if line.Count > 0 {
				row("%s\t %s\t % .3f", line.name, humanCount(int64(line.Count)), line.Reward)
			}
		}
	})
	if err != nil {
		return err
	}
	if o.Select == "best" {
		_, err = fmt.Fprintf(w, "salsa: the best completion of each of %d prompts: %s\n", s.Prompts, path)
		return err
	}
	fmt.Fprintf(w, "salsa: %.1f%% of the tries accepted, most passes over one prompt %d; effective sample size of its candidates %.1f\n",
		100*s.Acceptance, len(s.PassAccepted), s.EffectiveSize)
	if s.TooFew > 0 {
		fmt.Fprintf(w, "salsa: %d of %d prompts left out: they have fewer than %d unique candidates\n", s.TooFew, s.Prompts, o.Accept)
	}
	if s.Ties > 0 {
		fmt.Fprintf(w, "salsa: %d matches of equal rewards gave no pair\n", s.Ties)
	}
	_, err = fmt.Fprintf(w, "salsa: %d pairs with their scores: %s\n", s.Pairs, path)
	return err
}

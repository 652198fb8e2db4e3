package models

// Generation: a batch whose rows come and go.

import (
	"context"
	"math"
	"slices"

	"salsa/internal/fault"
	"salsa/internal/profile"
	"salsa/tensor"
)

// GenOptions say how to generate. The zero value of Sampler is greedy.
type GenOptions struct {
	MaxNewTokens int            // per completion, at least 1
	Sampler      tensor.Sampler // a TopP of 0 counts as 1, off
	Stop         []int          // ids that end a completion, beside the model's own
	IgnoreEOS    bool           // the model's own ids do not end a completion
	NPerPrompt   int            // completions of each prompt; 0 is 1
	Seeds        []uint64       // one per completion; nil derives them from Seed and the completion's index
	Seed         uint64
	BatchSize    int // rows computed at once; 0 is 32

	// RepetitionPenalty divides the positive logits of the ids that prompt and completion already have and multiplies
	// the negative ones, before the temperature; 0 counts as 1, off. LogProbs are then those of the penalised
	// distribution, so what trains on them leaves it off.
	RepetitionPenalty float64
	Ends              func(ids []int) bool // called for a completion's ids after each token and OnToken; true ends it as a stop id does

	OnToken  func(index, id int, logp float32) // called for each token of completion index, in its order
	Progress func(done, total int)             // called when completions end
}

// Completion is what a model wrote.
type Completion struct {
	IDs      []int     // with the stop id, if one came
	LogProbs []float32 // of each id under the unfiltered distribution at the sampler's temperature
	Stopped  bool      // a stop id or Ends ended it; otherwise the limit of tokens did
}

// Generate continues each prompt, NPerPrompt times in a row, and returns the completions in the order of the
// prompts. Rows that end make room for prompts that wait. A completion depends on its prompt, its seed and the
// options, and not on the batch size or its companions, but for rounding: kernels may add in another order
// for another batch, by less than 1e-6 of a logit's size. The end of the model's context ends a completion.
// An input error names a prompt that does not fit; a cancelled ctx stops between tokens with its error.
func Generate(ctx context.Context, m Model, prompts [][]int, opt GenOptions) ([]Completion, error) {
	opt.NPerPrompt = max(1, opt.NPerPrompt)
	if opt.BatchSize <= 0 {
		opt.BatchSize = 32
	}
	if opt.Sampler.TopP == 0 {
		opt.Sampler.TopP = 1
	}
	if opt.RepetitionPenalty == 0 {
		opt.RepetitionPenalty = 1
	}
	if err := checkOptions(m.Config(), prompts, opt); err != nil {
		return nil, err
	}
	g := &generator{m: m, opt: opt, out: make([]Completion, len(prompts)*opt.NPerPrompt), stop: map[int]bool{}}
	g.opt.BatchSize = min(opt.BatchSize, max(1, len(g.out)))
	for i := range g.out {
		g.waiting = append(g.waiting, g.newRow(i, prompts[i/opt.NPerPrompt]))
	}
	for _, id := range opt.Stop {
		g.stop[id] = true
	}
	if !opt.IgnoreEOS {
		for _, id := range m.Config().StopIDs() {
			g.stop[id] = true
		}
	}
	defer profile.Begin(profile.Generate).End()
	err := tensor.NoGrad(func() error { return g.run(ctx) })
	for i := range g.out {
		profile.Tokens(len(g.out[i].IDs))
	}
	return g.out, err
}

func checkOptions(c *Config, prompts [][]int, opt GenOptions) error {
	n, s := len(prompts)*opt.NPerPrompt, opt.Sampler
	switch {
	case !(s.Temperature >= 0):
		return fault.Inputf("temperature: %v is negative; give 0 for the most likely token, or more", s.Temperature)
	case !(s.TopP > 0 && s.TopP <= 1):
		return fault.Inputf("top-p: %v is not above 0 and at most 1; give 1 to switch it off", s.TopP)
	case !(s.MinP >= 0 && s.MinP <= 1):
		return fault.Inputf("min-p: %v is not between 0 and 1; give 0 to switch it off", s.MinP)
	case s.TopK < 0:
		return fault.Inputf("top-k: %d is negative; give 0 to switch it off", s.TopK)
	case !(opt.RepetitionPenalty > 0 && opt.RepetitionPenalty <= math.MaxFloat32):
		return fault.Inputf("repetition penalty: %v is not a positive number; give 1 to switch it off, more to repeat less", opt.RepetitionPenalty)
	case opt.MaxNewTokens < 1:
		return fault.Inputf("max new tokens: %d is not positive; ask for at least 1", opt.MaxNewTokens)
	case opt.Seeds != nil && len(opt.Seeds) != n:
		return fault.Inputf("seeds: %d given for %d completions; give one for each", len(opt.Seeds), n)
	}
	for i, p := range prompts {
		if err := checkPrompt(c, i, p); err != nil {
			return err
		}
	}
	return nil
}

func checkPrompt(c *Config, i int, p []int) error {
	switch {
	case len(p) == 0:
		return fault.Inputf("prompt %d: is empty; give at least the id that begins a text", i)
	case len(p) > c.Context()-1:
		return fault.Inputf("prompt %d: has %d tokens, and the model takes %d with at least one to write; shorten it", i, len(p), c.Context())
	}
	if bad := slices.IndexFunc(p, func(id int) bool { return id < 0 || id >= c.Vocab }); bad >= 0 {
		return fault.Inputf("prompt %d: id %d is not below the vocabulary's %d; use the model's own tokenizer", i, p[bad], c.Vocab)
	}
	return nil
}

// row is one completion in the making.
type row struct {
	index  int
	source int // of the prompt: its rows are computed once
	prompt []int
	limit  int // tokens that it may have
	rng    *tensor.RNG
	out    *Completion
	place  int // in the engine's cache
}

func (g *generator) newRow(i int, prompt []int) *row {
	seed := tensor.Mix(g.opt.Seed, uint64(i))
	if g.opt.Seeds != nil {
		seed = g.opt.Seeds[i]
	}
	return &row{
		index: i, source: i / g.opt.NPerPrompt, prompt: prompt, rng: tensor.NewRNG(seed, 0), out: &g.out[i],
		limit: min(g.opt.MaxNewTokens, g.m.Config().Context()-len(prompt)),
	}
}

// last returns the id that the row wrote last.
func (r *row) last() int { return r.out.IDs[len(r.out.IDs)-1] }

// engine computes a batch whose rows come and go.
type engine interface {
	// admit lets rows in, computes their prompts, each once, and returns logits [rows, V].
	admit(rows []*row) tensor.Tensor
	// next computes the last ids of all admitted rows and returns logits [rows, V].
	next(rows []*row) tensor.Tensor
	// drop forgets a row.
	drop(r *row)
	free()
}

// generator is the state of one Generate.
type generator struct {
	m       Model
	opt     GenOptions
	stop    map[int]bool
	waiting []*row
	active  []*row
	engine  engine
	out     []Completion
	done    int
}

func (g *generator) run(ctx context.Context) error {
	g.engine = newEngine(g.m, g.opt.BatchSize, g.opt.MaxNewTokens)
	defer func() { g.engine.free() }()
	for g.done < len(g.out) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := tensor.Scope(g.turn); err != nil {
			return err
		}
	}
	return nil
}

// newEngine chooses how to compute m: with the CPU's decoding kernel where it takes the model, else op by op.
func newEngine(m Model, rows, steps int) engine {
	if e := newKernelEngine(m, rows, steps >= PanelSteps); e != nil {
		return e
	}
	return &opsEngine{m: m}
}

// turn lets waiting prompts in or makes the next token of every active row.
func (g *generator) turn() error {
	free := g.opt.BatchSize - len(g.active)
	rows := g.active
	var logits tensor.Tensor
	// Prompts are let in by the handful: each admission is a forward pass of its own.
	if len(g.waiting) > 0 && free >= min(len(g.waiting), max(1, g.opt.BatchSize/8)) {
		n := min(free, len(g.waiting))
		rows, g.waiting = g.waiting[:n], g.waiting[n:]
		logits = g.engine.admit(rows)
		g.active = append(g.active, rows...)
	} else {
		logits = g.engine.next(rows)
	}
	g.emit(rows, logits)
	return nil
}

// emit draws a token for each row from logits [rows, V] and ends the rows that are done.
func (g *generator) emit(rows []*row, logits tensor.Tensor) {
	u := make([]float64, len(rows))
	for i, r := range rows {
		u[i] = r.rng.Float64()
	}
	idsT, logpT := tensor.Sample(g.penalised(rows, logits), u, g.opt.Sampler)
	ids, logp := idsT.Ints(), logpT.Float32s()
	before := g.done
	for i, r := range rows {
		c := r.out
		c.IDs, c.LogProbs = append(c.IDs, ids[i]), append(c.LogProbs, logp[i])
		if g.opt.OnToken != nil {
			g.opt.OnToken(r.index, ids[i], logp[i])
		}
		c.Stopped = g.stop[ids[i]] || (g.opt.Ends != nil && g.opt.Ends(c.IDs))
		if r.ended() {
			g.engine.drop(r)
			g.done++
		}
	}
	if g.done == before {
		return
	}
	g.active = slices.DeleteFunc(slices.Clone(g.active), (*row).ended)
	if g.opt.Progress != nil {
		g.opt.Progress(g.done, len(g.out))
	}
}

func (r *row) ended() bool { return r.out.Stopped || len(r.out.IDs) >= r.limit }

// penalised returns what the tokens of rows are drawn from, given logits [rows, V].
func (g *generator) penalised(rows []*row, logits tensor.Tensor) tensor.Tensor {
	if g.opt.RepetitionPenalty == 1 {
		return logits
	}
	prompts, written := make([][]int, len(rows)), make([][]int, len(rows))
	for i, r := range rows {
		prompts[i], written[i] = r.prompt, r.out.IDs
	}
	return penalise(logits, prompts, written, g.opt.RepetitionPenalty)
}

package models

// Generation: a batch whose rows come and go.

import (
	"context"
	"math"
	"slices"

	"salsa/internal/fault"
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
	err := tensor.NoGrad(func() error { return g.run(ctx) })
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
	prompt []int
	limit  int // tokens that it may have
	rng    *tensor.RNG
}

func (g *generator) newRow(i int, prompt []int) *row {
	seed := tensor.Mix(g.opt.Seed, uint64(i))
	if g.opt.Seeds != nil {
		seed = g.opt.Seeds[i]
	}
	return &row{
		index: i, prompt: prompt, rng: tensor.NewRNG(seed, 0),
		limit: min(g.opt.MaxNewTokens, g.m.Config().Context()-len(prompt)),
	}
}

// generator is the state of one Generate.
type generator struct {
	m       Model
	opt     GenOptions
	stop    map[int]bool
	waiting []*row
	active  []*row // by place in the cache; nil is a free place
	kv      *Cache
	out     []Completion
	done    int
}

func (g *generator) run(ctx context.Context) error {
	defer func() {
		if g.kv != nil {
			g.kv.Free()
		}
	}()
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

// turn lets waiting prompts in or makes the next token of every active row.
func (g *generator) turn() error {
	free := g.opt.BatchSize - g.running()
	// Prompts are let in by the handful: each admission is a forward pass of its own.
	if len(g.waiting) > 0 && free >= min(len(g.waiting), max(1, g.opt.BatchSize/8)) {
		g.admit(min(free, len(g.waiting)))
		return nil
	}
	if 2*g.running() <= len(g.active) {
		g.compact()
	}
	g.step()
	return nil
}

// running counts the active rows.
func (g *generator) running() int {
	n := 0
	for _, r := range g.active {
		if r != nil {
			n++
		}
	}
	return n
}

// admit computes n waiting prompts and gives them places.
func (g *generator) admit(n int) {
	rows := g.waiting[:n]
	g.waiting = g.waiting[n:]
	longest := 0
	for _, r := range append(slices.Clone(rows), g.active...) {
		if r != nil {
			longest = max(longest, len(r.prompt)+r.limit)
		}
	}
	kv, h := g.prefill(rows, longest)
	if g.running() == 0 {
		g.swap(kv, slices.Clone(rows))
	} else {
		defer kv.Free()
		g.kv.max = max(g.kv.max, longest)
		g.place(rows, kv)
	}
	g.emit(rows, h)
}

// prefill computes the prompts of rows, each prompt once, and returns a cache of the rows and the states of their
// last tokens [rows, D].
func (g *generator) prefill(rows []*row, longest int) (*Cache, tensor.Tensor) {
	var prompts [][]int
	of := make([]int, len(rows)) // the prompt of each row
	for i, r := range rows {
		if i == 0 || r.index/g.opt.NPerPrompt != rows[i-1].index/g.opt.NPerPrompt {
			prompts = append(prompts, r.prompt)
		}
		of[i] = len(prompts) - 1
	}
	kv := NewCache(g.m.Config(), len(prompts), longest)
	in := Collate(prompts)
	h := lastStates(g.m.Hidden(in, kv), in) // [prompts, D]
	if len(prompts) < len(rows) {
		kv.Keep(of)
		h = h.IndexSelect(0, tensor.Ints(of, len(of)).OnDevice(h.Device())) // [rows, D]
	}
	return kv, h
}

// swap makes kv with its rows the batch.
func (g *generator) swap(kv *Cache, rows []*row) {
	if g.kv != nil {
		g.kv.Free()
	}
	g.kv, g.active = kv, rows
}

// place puts new rows into free places, adding places where there are too few.
func (g *generator) place(rows []*row, kv *Cache) {
	var free []int
	for i, r := range g.active {
		if r == nil {
			free = append(free, i)
		}
	}
	if missing := len(rows) - len(free); missing > 0 {
		all := make([]int, 0, len(g.active)+missing)
		for i := range len(g.active) + missing {
			all = append(all, min(i, len(g.active)-1)) // a new place begins as a copy of the last one
		}
		g.kv.Keep(all)
		for range missing {
			free = append(free, len(g.active))
			g.active = append(g.active, nil)
		}
	}
	free = free[:len(rows)]
	g.kv.Put(free, kv)
	for i, place := range free {
		g.active[place] = rows[i]
	}
}

// compact drops the free places.
func (g *generator) compact() {
	var keep []int
	var rows []*row
	for i, r := range g.active {
		if r != nil {
			keep, rows = append(keep, i), append(rows, r)
		}
	}
	if len(keep) < len(g.active) {
		g.kv.Keep(keep)
		g.active = rows
	}
}

// step makes the next token of every active row. Free places are computed along, and nobody reads them.
func (g *generator) step() {
	ids, lens := make([]int, len(g.active)), make([]int, len(g.active))
	var rows []*row
	var places []int
	for i, r := range g.active {
		if r == nil {
			continue
		}
		written := g.out[r.index].IDs
		ids[i], lens[i] = written[len(written)-1], 1
		rows, places = append(rows, r), append(places, i)
	}
	in := Input{IDs: tensor.Ints(ids, len(ids), 1), Lens: lens}
	h := g.m.Hidden(in, g.kv).Select(1, 0) // [B, D]
	if len(rows) < len(ids) {
		h = h.IndexSelect(0, tensor.Ints(places, len(places)).OnDevice(h.Device()))
	}
	g.emit(rows, h)
}

// emit draws a token for each row from its state, h [rows, D], and ends the rows that are done.
func (g *generator) emit(rows []*row, h tensor.Tensor) {
	u := make([]float64, len(rows))
	for i, r := range rows {
		u[i] = r.rng.Float64()
	}
	idsT, logpT := tensor.Sample(g.logits(rows, h), u, g.opt.Sampler)
	ids, logp := idsT.Ints(), logpT.Float32s()
	ended := false
	for i, r := range rows {
		c := &g.out[r.index]
		c.IDs, c.LogProbs = append(c.IDs, ids[i]), append(c.LogProbs, logp[i])
		if g.opt.OnToken != nil {
			g.opt.OnToken(r.index, ids[i], logp[i])
		}
		c.Stopped = g.stop[ids[i]] || (g.opt.Ends != nil && g.opt.Ends(c.IDs))
		if c.Stopped || len(c.IDs) >= r.limit {
			place := slices.Index(g.active, r)
			g.active[place], g.kv.Lens[place] = nil, 0
			g.done++
			ended = true
		}
	}
	if ended && g.opt.Progress != nil {
		g.opt.Progress(g.done, len(g.out))
	}
}

// logits returns what the tokens of rows are drawn from, h [rows, D] to [rows, V].
func (g *generator) logits(rows []*row, h tensor.Tensor) tensor.Tensor {
	logits := g.m.Logits(h)
	if g.opt.RepetitionPenalty == 1 {
		return logits
	}
	prompts, written := make([][]int, len(rows)), make([][]int, len(rows))
	for i, r := range rows {
		prompts[i], written[i] = r.prompt, g.out[r.index].IDs
	}
	return penalise(logits, prompts, written, g.opt.RepetitionPenalty)
}

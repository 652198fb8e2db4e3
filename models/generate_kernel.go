package models

// Generation with the CPU's decoding kernel: all layers in one call, keys and values in place.

import (
	"slices"

	"salsa/nn"
	"salsa/tensor"
)

// PrefillTokens is how many tokens of prompts the CPU computes at once: enough to read each weight rarely, and few
// enough for their states to stay in the processor's caches.
const PrefillTokens = 128

// PanelSteps is from how many tokens per completion on the CPU's kernel copies weights into panels: a step then takes two
// thirds of its time, and the copy about ten steps.
const PanelSteps = 32

// panelRow is the length from which on rows are not copied: the kernel that reads them in place loses little by folding a
// sum over that many, and a copy of so large a model would be felt.
const panelRow = 2048

// PanelBytes is what the copies take while completions of `steps` tokens are written, with elem bytes an element.
func PanelBytes(c *Config, steps int, elem int64) int64 {
	if steps < PanelSteps {
		return 0
	}
	d, i, q, kv := int64(c.Hidden), int64(c.Inner), int64(c.Heads*c.HeadDim), int64(c.KVHeads*c.HeadDim)
	n := int64(0)
	for _, m := range []struct{ out, in, times int64 }{
		{q + 2*kv, d, int64(c.Layers)}, {d, q, int64(c.Layers)}, {2 * i, d, int64(c.Layers)}, {d, i, int64(c.Layers)}, {int64(c.Vocab), d, 1},
	} {
		if m.in < panelRow {
			n += m.out * m.in * m.times
		}
	}
	return n * elem
}

// kernelEngine computes a batch with tensor.Decoder. Its rows keep their places, so nothing is moved when others end.
type kernelEngine struct {
	c       *Config
	dtype   tensor.DType
	decoder *tensor.Decoder
	kv      *Cache
	open    []int // free places
	slots   int   // that tables and cache have room for
	tables  [4]tensor.Tensor
}

// newKernelEngine returns nil for a model that the kernel does not take: one that is not on the CPU or in another
// type than float32 and bfloat16, and one in bfloat16 with an adapter beside it, which folding would round.
func newKernelEngine(m Model, rows int, panels bool) engine {
	d, ok := m.(*decoder)
	if !ok || !kernelTakes(d) {
		return nil
	}
	c := d.cfg
	e := &kernelEngine{c: c, dtype: d.Trunk.Embed.Weight.DType(), kv: NewCache(c, rows, 0)}
	for place := rows - 1; place >= 0; place-- {
		e.open = append(e.open, place)
	}
	layers := make([]tensor.DecoderLayer, c.Layers)
	for i, b := range d.Trunk.Layers {
		layers[i] = b.kernel()
		layers[i].Local = c.Windowed[i]
		if c.Windowed[i] {
			layers[i].Window = c.Window
		}
	}
	shape := kernelShape(c)
	if panels {
		shape.Panels = panelRow
	}
	e.decoder = tensor.NewDecoder(shape, d.Trunk.Embed.Weight, d.Trunk.Norm.Weight, d.HeadWeight(), layers)
	return e
}

// kernelTakes tells whether all weights are as the kernel wants them.
func kernelTakes(d *decoder) bool {
	want := d.Trunk.Embed.Weight.DType()
	if want != tensor.Float32 && want != tensor.BFloat16 {
		return false
	}
	for p := range nn.Params(d) {
		if p.Tensor.Device() != tensor.CPU || p.Tensor.DType() != want {
			return false
		}
	}
	if want == tensor.Float32 {
		return true
	}
	for _, l := range nn.Linears(d) {
		if l.Adapted() {
			return false
		}
	}
	return true
}

func kernelShape(c *Config) tensor.DecoderShape {
	act := map[nn.Activation]int{nn.Silu: 0, nn.Gelu: 1, nn.GeluTanh: 2}
	return tensor.DecoderShape{
		Hidden: c.Hidden, Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim, Inner: c.Inner, Vocab: c.Vocab,
		Activation: act[c.Activation], PlusOne: c.NormPlusOne, Eps: c.NormEps, Scale: c.AttentionScale,
		Softcap: c.AttentionSoftcap, EmbedScale: c.EmbedScale, FinalSoftcap: c.FinalSoftcap,
	}
}

// kernelAttention and kernelMLP fill in what all kinds of layers share.
func kernelAttention(l *tensor.DecoderLayer, a *nn.Attention) {
	l.Q, l.K, l.V, l.O = a.Q.Effective(), a.K.Effective(), a.V.Effective(), a.O.Effective()
	l.QBias, l.KBias, l.VBias, l.OBias = a.Q.Bias, a.K.Bias, a.V.Bias, a.O.Bias
	if a.QNorm != nil {
		l.QNorm, l.KNorm = a.QNorm.Weight, a.KNorm.Weight
	}
}

func kernelMLP(l *tensor.DecoderLayer, m *nn.MLP) {
	l.Gate, l.Up, l.Down = m.Gate.Effective(), m.Up.Effective(), m.Down.Effective()
	l.GateBias, l.UpBias, l.DownBias = m.Gate.Bias, m.Up.Bias, m.Down.Bias
}

func (e *kernelEngine) free() {
	e.decoder.Free()
	e.kv.Free()
	e.freeTables()
}

func (e *kernelEngine) freeTables() {
	for i := range e.tables {
		e.tables[i].Free()
		e.tables[i] = tensor.Tensor{}
	}
}

func (e *kernelEngine) drop(r *row) {
	e.kv.Lens[r.place] = 0
	e.open = append(e.open, r.place)
}

// reserve makes room for s slots in every row.
func (e *kernelEngine) reserve(s int) {
	for layer := range e.kv.k {
		e.kv.reserve(layer, []int{len(e.kv.Lens), e.c.KVHeads, 0, e.c.HeadDim}, e.dtype, tensor.CPU, s)
	}
	have := e.kv.k[0].Dim(2)
	if have == e.slots || e.stretches() {
		return
	}
	e.freeTables()
	e.slots = have
	pos := tensor.Arange(tableLines(have), tensor.CPU).Unsqueeze(0)
	for i, t := range e.tablesAt(pos, nil) {
		e.tables[i] = t.MulScalar(1).Hold() // a tensor of its own: two of the four may be the same
	}
}

// tableLines rounds n up, so that libtorch computes all lines of a table with vectors: its loop for what is left over
// rounds differently, and a line would depend on how many there are.
func tableLines(n int) int { return (n + 63) / 64 * 64 }

// stretches tells whether rotations depend on the length of the row.
func (e *kernelEngine) stretches() bool {
	return e.c.Rope.Kind == nn.RopeDynamic || (e.c.LocalRope != nil && e.c.LocalRope.Kind == nn.RopeDynamic)
}

// tablesAt returns the tables of positions pos [B, T], of rows with lens tokens.
func (e *kernelEngine) tablesAt(pos tensor.Tensor, lens []int) (t [4]tensor.Tensor) {
	t[0], t[1] = e.c.Rope.Tables(pos, lens)
	t[2], t[3] = t[0], t[1]
	if e.c.LocalRope != nil {
		t[2], t[3] = e.c.LocalRope.Tables(pos, lens)
	}
	return t
}

// token is one of a step: where it stands and how long its row is then.
type token struct {
	id, place, slot, total int
	last                   bool // its logits are wanted
}

// run computes tokens and returns the logits of those that want them.
func (e *kernelEngine) run(tokens []token) tensor.Tensor {
	s := tensor.DecoderStep{Keys: e.kv.k, Values: e.kv.v, Tables: e.tables}
	var totals []int
	for i, t := range tokens {
		s.IDs, s.Rows, s.Slots, totals = append(s.IDs, t.id), append(s.Rows, t.place), append(s.Slots, t.slot), append(totals, t.total)
		if t.last {
			s.Last = append(s.Last, i)
		}
	}
	s.Turns = s.Slots
	if e.stretches() {
		lines := tableLines(len(tokens))
		pos := append(slices.Clone(s.Slots), make([]int, lines-len(tokens))...)
		totals = append(totals, make([]int, lines-len(tokens))...)
		s.Tables = e.tablesAt(tensor.Ints(pos, lines, 1), totals)
		s.Turns = make([]int, len(tokens))
		for i := range s.Turns {
			s.Turns[i] = i
		}
	}
	return e.decoder.Run(s)
}

func (e *kernelEngine) admit(rows []*row) tensor.Tensor {
	for _, r := range rows {
		r.place, e.open = e.open[len(e.open)-1], e.open[:len(e.open)-1]
		e.kv.max = max(e.kv.max, len(r.prompt)+r.limit)
		e.kv.Lens[r.place] = len(r.prompt)
	}
	prompts, of := sources(rows)
	longest := width(prompts)
	e.reserve(longest)
	var tokens []token
	for i, r := range rows {
		if i > 0 && of[i] == of[i-1] {
			continue
		}
		for slot, id := range r.prompt {
			tokens = append(tokens, token{id, r.place, slot, len(r.prompt), slot == len(r.prompt)-1})
		}
	}
	var logits []tensor.Tensor
	for len(tokens) > 0 {
		n := min(len(tokens), PrefillTokens)
		logits = append(logits, e.run(tokens[:n]))
		tokens = tokens[n:]
	}
	all := tensor.Cat(0, logits...) // [prompts, V]
	if len(prompts) == len(rows) {
		return all
	}
	e.share(rows, of, longest)
	return all.IndexSelect(0, tensor.Ints(of, len(of))) // [rows, V]
}

// share copies the keys and values of each prompt, in the place of its first row, to its other rows.
func (e *kernelEngine) share(rows []*row, of []int, s int) {
	var from, to []int
	first := rows[0].place
	for i, r := range rows {
		if i > 0 && of[i] == of[i-1] {
			from, to = append(from, first), append(to, r.place)
		} else {
			first = r.place
		}
	}
	source, target := tensor.Ints(from, len(from)), tensor.Ints(to, len(to), 1, 1, 1)
	for layer := range e.kv.k {
		for _, buffer := range []tensor.Tensor{e.kv.k[layer], e.kv.v[layer]} {
			tensor.Scoped(func() tensor.Tensor { // one buffer's rows are in memory twice at a time
				used := buffer.Narrow(2, 0, s)
				rows := used.IndexSelect(0, source)
				used.Scatter(0, target.Expand(rows.Shape()...), rows)
				return buffer
			})
		}
	}
}

func (e *kernelEngine) next(rows []*row) tensor.Tensor {
	tokens := make([]token, len(rows))
	longest := 0
	for i, r := range rows {
		slot := e.kv.Lens[r.place]
		tokens[i] = token{r.last(), r.place, slot, slot + 1, true}
		e.kv.Lens[r.place]++
		longest = max(longest, slot+1)
	}
	e.reserve(longest)
	return e.run(tokens)
}

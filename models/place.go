package models

// Positions and masks of a batch, made once per forward pass and shared by the layers.

import (
	"slices"

	"salsa/nn"
	"salsa/tensor"
)

// places are the two ways to attend that the layers of a model may have, and the cache.
type places struct {
	c             *Config
	full, windows nn.Place
	extend        func(layer int) func(k, v tensor.Tensor) (tensor.Tensor, tensor.Tensor)
	read          tensor.Tensor // [M] tokens of a line whose last states are read; absent: all
}

// newPlaces is for the next tokens of the rows in a cache.
func newPlaces(c *Config, in Input, kv *Cache) places {
	p := places{c: c, extend: kv.begin(in)}
	pos := positions(in, kv) // [B or 1, T]
	p.full.Cos, p.full.Sin = c.Rope.Tables(pos, totals(in, kv))
	p.windows.Cos, p.windows.Sin = p.full.Cos, p.full.Sin
	if c.LocalRope != nil {
		p.windows.Cos, p.windows.Sin = c.LocalRope.Tables(pos, totals(in, kv))
	}
	if kv.filled() {
		p.full.Mask, p.windows.Mask = slotMasks(c, pos, slices.Max(kv.Lens)+in.IDs.Dim(1))
	} else {
		p.windows.Mask = nn.Band(in.IDs.Dim(1), c.Window, in.IDs.Device())
	}
	return p
}

// places says where the layers of d find the rows of a line whose tokens are at pos [1, N].
func (l *line) places(d *decoder, pos tensor.Tensor) places {
	c := d.cfg
	p := places{c: c}
	p.full.Rows = l.rows
	if w := d.Trunk.Embed.Weight; !tensor.HasRows(w) { // hidden states are what it is
		p.full.Laid = l.rows.Rectangles(w.Device())
	}
	p.windows = p.full
	p.windows.Window = c.Window
	tables := func(r *nn.Rope) (cos, sin tensor.Tensor) { // [1, 1, N, K/2]
		if r.Kind != nn.RopeDynamic {
			return r.Tables(pos, nil)
		}
		cos, sin = r.Tables(pos.Transpose(0, 1), l.lens) // [N, 1, 1, K/2]: each token by the length of its own row
		return cos.Transpose(0, 2), sin.Transpose(0, 2)
	}
	p.full.Cos, p.full.Sin = tables(&c.Rope)
	p.windows.Cos, p.windows.Sin = p.full.Cos, p.full.Sin
	if c.LocalRope != nil {
		p.windows.Cos, p.windows.Sin = tables(c.LocalRope)
	}
	return p
}

// layer returns what layer i must know.
func (p places) layer(i int) nn.Place {
	at := p.full
	if p.c.Windowed[i] {
		at = p.windows
	}
	if p.extend != nil {
		at.Extend = p.extend(i)
	}
	if i == p.c.Layers-1 {
		at.Read = p.read
	}
	return at
}

// totals returns how many tokens each row has, stored ones included.
func totals(in Input, kv *Cache) []int {
	lens := slices.Clone(in.lens())
	for b := range lens {
		lens[b] += kv.Lens[b]
	}
	return lens
}

// positions returns the position of each token, [B, T], or [1, T] where rows agree.
func positions(in Input, kv *Cache) tensor.Tensor {
	b, t := in.IDs.Dim(0), in.IDs.Dim(1)
	if !kv.filled() {
		return tensor.Arange(t, in.IDs.Device()).Unsqueeze(0) // [1, T]
	}
	pos := make([]int, 0, b*t)
	for _, n := range kv.Lens {
		for i := range t {
			pos = append(pos, n+i)
		}
	}
	return tensor.Ints(pos, b, t).OnDevice(in.IDs.Device())
}

// slotMasks returns where new tokens at pos [B, T] may look among s cache slots, of which slot i holds a row's
// token i: [B, 1, T, S] each.
func slotMasks(c *Config, pos tensor.Tensor, s int) (full, windows tensor.Tensor) {
	slot := tensor.Arange(s, pos.Device())
	q := pos.Unsqueeze(1).Unsqueeze(-1) // [B, 1, T, 1]
	full = q.GeTensor(slot)             // [B, 1, T, S]
	windows = full
	if c.Window > 0 {
		windows = full.And(q.Sub(slot).Lt(float64(c.Window)))
	}
	return full, windows
}

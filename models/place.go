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
}

func newPlaces(c *Config, in Input, kv *Cache) places {
	p := places{c: c}
	if kv != nil {
		p.extend = kv.begin(in)
	}
	pos := positions(in, kv) // [B or 1, T]
	p.full.Cos, p.full.Sin = c.Rope.Tables(pos, totals(in, kv))
	p.windows.Cos, p.windows.Sin = p.full.Cos, p.full.Sin
	if c.LocalRope != nil {
		p.windows.Cos, p.windows.Sin = c.LocalRope.Tables(pos, totals(in, kv))
	}
	if kv.filled() {
		p.full.Mask, p.windows.Mask = slotMasks(c, pos, slices.Max(kv.Lens)+in.IDs.Dim(1))
	} else {
		p.full.Mask, p.windows.Mask = masks(c, in)
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
	return at
}

// totals returns how many tokens each row has, stored ones included.
func totals(in Input, kv *Cache) []int {
	lens := slices.Clone(in.lens())
	if kv != nil {
		for b := range lens {
			lens[b] += kv.Lens[b]
		}
	}
	return lens
}

// positions returns the position of each token, [B, T], or [1, T] where rows agree.
func positions(in Input, kv *Cache) tensor.Tensor {
	b, t := in.IDs.Dim(0), in.IDs.Dim(1)
	switch {
	case in.Pos.Defined():
		return in.Pos
	case in.Seg.Defined():
		return tensor.Ints(restart(in.Seg.Ints(), t), b, t).OnDevice(in.IDs.Device())
	case kv.filled():
		pos := make([]int, 0, b*t)
		for _, n := range kv.Lens {
			for i := range t {
				pos = append(pos, n+i)
			}
		}
		return tensor.Ints(pos, b, t).OnDevice(in.IDs.Device())
	}
	return tensor.Arange(t, in.IDs.Device()).Unsqueeze(0) // [1, T]
}

// restart counts from 0 at the beginning of every row of t tokens and wherever the document changes.
func restart(seg []int, t int) []int {
	pos := make([]int, len(seg))
	for i := range seg {
		if i%t != 0 && seg[i] == seg[i-1] {
			pos[i] = pos[i-1] + 1
		}
	}
	return pos
}

// masks returns where the tokens of a batch may look, [B or 1, 1, T, T], for layers without and with a window;
// absent where plain causal attention does it, which is faster.
func masks(c *Config, in Input) (full, windows tensor.Tensor) {
	t := in.IDs.Dim(1)
	narrow := c.Window > 0 && t > c.Window
	if !narrow && !in.Seg.Defined() {
		return full, windows
	}
	k := tensor.Arange(t, in.IDs.Device())
	q := k.Unsqueeze(-1)
	causal := q.GeTensor(k).Unsqueeze(0).Unsqueeze(0) // [1, 1, T, T]
	if in.Seg.Defined() {
		same := in.Seg.Unsqueeze(1).Unsqueeze(-1).EqTensor(in.Seg.Unsqueeze(1).Unsqueeze(1)) // [B, 1, T, T]
		causal = causal.And(same)
		full = causal
	}
	windows = causal
	if narrow {
		windows = causal.And(q.Sub(k).Lt(float64(c.Window)))
	}
	return full, windows
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

package models

// Keys and values of tokens already seen.

import (
	"fmt"
	"slices"

	"salsa/tensor"
)

// Cache holds the keys and values of a batch's rows. Slot i of a row holds its token i, so a row's result does
// not depend on the length of its companions. It is for NoGrad, grows by doubling, and lives until Free,
// outside all scopes.
type Cache struct {
	Lens []int // tokens stored of each row

	k, v []tensor.Tensor // by layer, [B, G, S, K]
	max  int             // slots that a row can need
}

// NewCache makes an empty cache for rows of at most max tokens.
func NewCache(c *Config, rows, max int) *Cache {
	return &Cache{
		Lens: make([]int, rows), max: max,
		k: make([]tensor.Tensor, c.Layers), v: make([]tensor.Tensor, c.Layers),
	}
}

// filled tells whether any token is stored.
func (c *Cache) filled() bool { return c != nil && slices.Max(c.Lens) > 0 }

// begin checks a forward pass over the next tokens and returns, by layer, the function that stores their keys
// and values [B, G, T, K] and returns those to attend to.
func (c *Cache) begin(in Input) func(layer int) func(k, v tensor.Tensor) (tensor.Tensor, tensor.Tensor) {
	b, t := in.IDs.Dim(0), in.IDs.Dim(1)
	if b != len(c.Lens) || in.Seg.Defined() || in.Pos.Defined() {
		panic(&tensor.Error{Op: "cache", Shapes: [][]int{{b, t}}, Msg: fmt.Sprintf("the cache has %d rows, and takes neither Pos nor Seg", len(c.Lens))})
	}
	if tensor.GradEnabled() {
		panic(&tensor.Error{Op: "cache", Msg: "stored keys carry no gradients; use tensor.NoGrad"})
	}
	if !c.filled() {
		return func(layer int) func(k, v tensor.Tensor) (tensor.Tensor, tensor.Tensor) {
			return func(k, v tensor.Tensor) (tensor.Tensor, tensor.Tensor) {
				c.reserve(layer, k.Shape(), k.DType(), k.Device(), t)
				c.k[layer].Narrow(2, 0, t).Copy(k)
				c.v[layer].Narrow(2, 0, t).Copy(v)
				return k, v // all there is: plain causal attention
			}
		}
	}
	s := slices.Max(c.Lens) + t
	slot := positions(in, c).Unsqueeze(1).Unsqueeze(-1) // [B, 1, T, 1]
	return func(layer int) func(k, v tensor.Tensor) (tensor.Tensor, tensor.Tensor) {
		return func(k, v tensor.Tensor) (tensor.Tensor, tensor.Tensor) {
			c.reserve(layer, k.Shape(), k.DType(), k.Device(), s)
			at := slot.Expand(k.Shape()...) // [B, G, T, K]
			c.k[layer].Scatter(2, at, k)
			c.v[layer].Scatter(2, at, v)
			return c.k[layer].Narrow(2, 0, s), c.v[layer].Narrow(2, 0, s) // [B, G, S, K]
		}
	}
}

// reserve makes room for s slots in a layer whose keys and values are [B, G, ·, K].
func (c *Cache) reserve(layer int, like []int, d tensor.DType, dev tensor.Device, s int) {
	have := 0
	if c.k[layer].Defined() {
		have = c.k[layer].Dim(2)
	}
	if have >= s {
		return
	}
	shape := slices.Clone(like)
	shape[2] = max(s, min(max(2*have, 64), c.max))
	for _, buffer := range []*tensor.Tensor{&c.k[layer], &c.v[layer]} {
		grown := tensor.Zeros(d, dev, shape...)
		if have > 0 {
			grown.Narrow(2, 0, have).Copy(*buffer)
		}
		c.replace(buffer, grown)
	}
}

func (c *Cache) replace(buffer *tensor.Tensor, with tensor.Tensor) {
	buffer.Free()
	*buffer = with.Hold()
}

// advance counts the tokens of a finished forward pass. Padding was stored too, in slots that the rows' next
// tokens overwrite.
func (c *Cache) advance(in Input) {
	for b, n := range in.lens() {
		c.Lens[b] += n
	}
}

// Keep drops all rows but those named, which become rows 0, 1, ….
func (c *Cache) Keep(rows []int) {
	lens := make([]int, len(rows))
	for i, b := range rows {
		lens[i] = c.Lens[b]
	}
	c.Lens = lens
	for layer := range c.k {
		index := tensor.Ints(rows, len(rows)).OnDevice(c.k[layer].Device())
		c.replace(&c.k[layer], c.k[layer].IndexSelect(0, index))
		c.replace(&c.v[layer], c.v[layer].IndexSelect(0, index))
	}
}

// Put overwrites row rows[i] with row i of from.
func (c *Cache) Put(rows []int, from *Cache) {
	for i, b := range rows {
		c.Lens[b] = from.Lens[i]
	}
	s := slices.Max(from.Lens)
	for layer := range c.k {
		k, v := from.k[layer].Narrow(2, 0, s), from.v[layer].Narrow(2, 0, s) // [n, G, S, K]
		c.reserve(layer, c.k[layer].Shape(), k.DType(), k.Device(), s)
		at := tensor.Ints(rows, len(rows), 1, 1, 1).OnDevice(k.Device()).Expand(k.Shape()...)
		c.k[layer].Scatter(0, at, k)
		c.v[layer].Scatter(0, at, v)
	}
}

// Free releases the cache's memory.
func (c *Cache) Free() {
	for layer := range c.k {
		c.k[layer].Free()
		c.v[layer].Free()
	}
	clear(c.k)
	clear(c.v)
}

package tensor

// All layers of a decoder in one call, for generation on the CPU.

import (
	"fmt"

	"github.com/sugarme/gotch/libtch"

	"salsa/tensor/native"
)

// DecoderShape describes a decoder to NewDecoder. Activation is 0 for SiLU, 1 for GELU, 2 for its tanh form; a soft
// cap of 0 is none.
type DecoderShape = native.DecoderShape

// DecoderLayer holds the weights of a layer, all of the model's type. Absent are those that its kind lacks: biases,
// the norms of q and k, and the norms behind attention and MLP (Gemma 2's).
type DecoderLayer struct {
	Norm, Q, K, V, O, QBias, KBias, VBias, OBias, QNorm, KNorm, PostNorm Tensor
	MLPNorm, Gate, Up, Down, GateBias, UpBias, DownBias, PostMLPNorm     Tensor
	Window                                                               int  // a token sees itself and Window-1 before it; 0 sees all
	Local                                                                bool // turned by the local tables
}

func (l *DecoderLayer) tensors() []Tensor {
	return []Tensor{
		l.Norm, l.Q, l.K, l.V, l.O, l.QBias, l.KBias, l.VBias, l.OBias, l.QNorm, l.KNorm, l.PostNorm,
		l.MLPNorm, l.Gate, l.Up, l.Down, l.GateBias, l.UpBias, l.DownBias, l.PostMLPNorm,
	}
}

// Decoder computes the next tokens of many rows with one call, without autograd. What it computes for a row is the
// same bit for bit whatever the other rows are.
type Decoder struct {
	native *native.Decoder
	layers int
}

// NewDecoder prepares a decoder of contiguous float32 or bfloat16 CPU weights: the embedding [V, D], the final norm
// [D], the head [V, D] and the layers. It holds on to the weights until Free; those with rows shorter than the shape's Panels it
// also copies, and sums in another order.
func NewDecoder(s DecoderShape, embed, norm, head Tensor, layers []DecoderLayer) *Decoder {
	const op = "decoder"
	all := []libtch.Ctensor{embed.must(op), norm.must(op), head.must(op)}
	windows, local := make([]int64, len(layers)), make([]int64, len(layers))
	for i := range layers {
		for _, t := range layers[i].tensors() {
			all = append(all, t.c)
		}
		windows[i] = int64(layers[i].Window)
		if layers[i].Local {
			local[i] = 1
		}
	}
	s.Layers = len(layers)
	d, err := native.NewDecoder(s, all, windows, local)
	if err != nil {
		panic(opError(op, err.Error(), []Tensor{embed, norm, head}))
	}
	return &Decoder{d, len(layers)}
}

// DecoderStep names the tokens of one call: token i has the id IDs[i], becomes the Slots[i]-th of row Rows[i] of the
// caches, is turned by line Turns[i] of the tables, and tokens of one row stand together in order. Logits are made
// for the tokens named by Last.
type DecoderStep struct {
	IDs, Rows, Slots, Turns, Last []int
	Keys, Values                  []Tensor  // by layer, contiguous [B, G, S, K]; written in place
	Tables                        [4]Tensor // cos, sin, local cos, local sin: [P, K/2] fp32
}

// Run computes a step and returns fp32 logits [len(Last), V], after the soft cap if there is one.
func (d *Decoder) Run(s DecoderStep) Tensor {
	const op = "decode"
	if n := len(s.IDs); n == 0 || len(s.Rows) != n || len(s.Slots) != n || len(s.Turns) != n || len(s.Keys) != d.layers || len(s.Values) != d.layers {
		panic(&Error{Op: op, Msg: fmt.Sprintf("%d ids, %d rows, %d slots, %d turns and %d layers do not fit", n, len(s.Rows), len(s.Slots), len(s.Turns), len(s.Keys))})
	}
	step := native.DecoderStep{
		IDs: s.IDs, Rows: s.Rows, Slots: s.Slots, Turns: s.Turns, Last: s.Last,
		Keys: handles(op, s.Keys), Values: handles(op, s.Values),
	}
	for i, t := range s.Tables {
		step.Tables[i] = t.must(op)
	}
	c, err := d.native.Run(step)
	return checked(op, c, err)
}

// Free lets go of the weights.
func (d *Decoder) Free() { d.native.Free() }

package nn

// Multi-head attention with shared key-value heads, and the gated MLP.
//
// B batch, T new tokens, S slots attended to, D model, H query heads, G key-value heads, K head dimension.

import (
	"math"

	"salsa/tensor"
)

// Attention is multi-head attention in which H query heads share G key-value heads (Ainslie et al., arXiv
// 2305.13245; G = 1: Shazeer, arXiv 1911.02150).
type Attention struct {
	Q     *Linear  `hf:"q_proj"`          // D to H·K
	K     *Linear  `hf:"k_proj"`          // D to G·K
	V     *Linear  `hf:"v_proj"`          // D to G·K
	O     *Linear  `hf:"o_proj"`          // H·K to D
	QNorm *RMSNorm `hf:"q_norm,optional"` // over each head of q, before rope
	KNorm *RMSNorm `hf:"k_norm,optional"`

	HeadDim int     // K
	Scale   float64 // what q·k is multiplied by
	Softcap float64 // c in c·tanh(score/c); 0 is none
}

// Place is what attention must know of a batch besides its hidden states.
type Place struct {
	Cos, Sin tensor.Tensor // [B or 1, 1, T, K/2]
	// Mask is Bool [B or 1, 1, T, S], true where a query may look; absent means causal.
	Mask tensor.Tensor
	// Extend stores new keys and values [B, G, T, K] and returns all to attend to [B, G, S, K]; nil without
	// a cache.
	Extend func(k, v tensor.Tensor) (tensor.Tensor, tensor.Tensor)

	// Rows lay out a line of tokens, B = 1, in place of Mask and Extend; nil if the batch is a rectangle.
	Rows   *tensor.Rows
	Window int // of Rows: a token sees itself and Window-1 before it; 0 sees all
	// Laid are Rows for tensors that lack HasRows, and nil for those that have it.
	Laid *tensor.Rectangles
	// Read is [M] int64: the tokens whose states are wanted; absent: all T. The others end at the attention itself.
	Read tensor.Tensor
}

// Wanted picks the tokens that are read from x [B, T, ...]: [B, M, ...].
func (p Place) Wanted(x tensor.Tensor) tensor.Tensor {
	if !p.Read.Defined() {
		return x
	}
	return x.IndexSelect(1, p.Read)
}

// Forward maps norm(x), or x where norm is nil, [B, T, D] to [B, T, D], or to [B, M, D] of the tokens that are read.
func (a *Attention) Forward(x tensor.Tensor, norm *RMSNorm, at Place) tensor.Tensor {
	b, t := x.Dim(0), x.Dim(1)
	qkv := Maps(x, norm, a.Q, a.K, a.V)
	q := a.heads(qkv[0], b, t, a.QNorm) // [B, H, T, K]
	k := a.heads(qkv[1], b, t, a.KNorm) // [B, G, T, K]
	v := a.heads(qkv[2], b, t, nil)     // [B, G, T, K]
	q, k = tensor.Rope(q, at.Cos, at.Sin), tensor.Rope(k, at.Cos, at.Sin)
	if at.Extend != nil {
		k, v = at.Extend(k, v) // [B, G, S, K]
	}
	var y tensor.Tensor // [B, H, T, K]
	switch {
	case at.Rows == nil:
		y = a.attend(q, k, v, at.Mask)
	case at.Laid != nil:
		y = a.rectangles(q, k, v, at)
	default:
		y = tensor.AttentionRows(q, k, v, at.Rows, at.Window, a.Scale, a.Softcap)
	}
	return a.O.Forward(at.Wanted(y.Transpose(1, 2).Reshape(b, t, a.Q.Out))) // [B, M, D]
}

// attend is attention of q [B, H, T, K] to k, v [B, G, S, K].
func (a *Attention) attend(q, k, v, mask tensor.Tensor) tensor.Tensor {
	if a.Softcap > 0 {
		return a.capped(q, k, v, mask)
	}
	return tensor.Attention(q, k, v, mask, !mask.Defined(), a.Scale)
}

// rectangles is attention within rows where libtorch's kernels have to do it, which know rectangles alone.
func (a *Attention) rectangles(q, k, v tensor.Tensor, at Place) tensor.Tensor {
	var parts []tensor.Tensor
	for _, r := range at.Laid.All {
		cut := func(x tensor.Tensor) tensor.Tensor { // [1, n, N, K] to [R, n, W, K]
			return x.Squeeze(0).IndexSelect(1, r.Slots).Reshape(x.Dim(1), r.Rows, r.Width, a.HeadDim).Transpose(0, 1)
		}
		y := a.attend(cut(q), cut(k), cut(v), Band(r.Width, at.Window, q.Device()))           // [R, H, W, K]
		parts = append(parts, y.Transpose(0, 1).Reshape(q.Dim(1), r.Rows*r.Width, a.HeadDim)) // [H, R·W, K]
	}
	return tensor.Cat(1, parts...).IndexSelect(1, at.Laid.Back).Unsqueeze(0) // [1, H, N, K]
}

// Band is the mask of n tokens that see window of them, themselves included; absent where causal attention does it,
// which is faster.
func Band(n, window int, dev tensor.Device) (mask tensor.Tensor) {
	if window == 0 || n <= window {
		return mask
	}
	k := tensor.Arange(n, dev)
	q := k.Unsqueeze(-1)
	return q.GeTensor(k).And(q.Sub(k).Lt(float64(window))).Unsqueeze(0).Unsqueeze(0) // [1, 1, T, T]
}

// heads cuts y [B, T, n·K] into heads [B, n, T, K].
func (a *Attention) heads(y tensor.Tensor, b, t int, norm *RMSNorm) tensor.Tensor {
	y = y.Reshape(b, t, -1, a.HeadDim) // [B, T, n, K]
	if norm != nil {
		y = norm.Forward(y)
	}
	return y.Transpose(1, 2) // [B, n, T, K]
}

// capped is attention with scores limited to ±Softcap (Gemma 2, arXiv 2408.00118, §2), which no fused kernel
// offers on the CPU; soft-max in fp32.
func (a *Attention) capped(q, k, v, mask tensor.Tensor) tensor.Tensor {
	b, h, t := q.Dim(0), q.Dim(1), q.Dim(2)
	g := k.Dim(1)
	q5 := q.Reshape(b, g, h/g, t, a.HeadDim)                                          // [B, G, H/G, T, K]
	score := q5.Matmul(k.Unsqueeze(2).Transpose(-1, -2)).MulScalar(a.Scale)           // [B, G, H/G, T, S]
	score = score.DivScalar(a.Softcap).Tanh().MulScalar(a.Softcap).To(tensor.Float32) // [B, G, H/G, T, S]
	if !mask.Defined() {
		at := tensor.Arange(t, q.Device())
		mask = at.Unsqueeze(-1).GeTensor(at) // [T, T]
	} else {
		mask = mask.Unsqueeze(1) // [B, 1, 1, T, S]: the mask is the same for all heads
	}
	p := score.MaskedFill(mask.Not(), math.Inf(-1)).Softmax(-1).To(v.DType())
	return p.Matmul(v.Unsqueeze(2)).Reshape(b, h, t, a.HeadDim) // [B, H, T, K]
}

// Activation names an MLP's gate as transformers spells it.
type Activation string

// The gates that salsa computes.
const (
	Silu     Activation = "silu"
	Gelu     Activation = "gelu"
	GeluTanh Activation = "gelu_pytorch_tanh"
)

// MLP is down(act(gate(x)) * up(x)) (Shazeer, arXiv 2002.05202).
type MLP struct {
	Gate *Linear `hf:"gate_proj"`
	Up   *Linear `hf:"up_proj"`
	Down *Linear `hf:"down_proj"`
	Act  Activation
}

// NewMLP declares an MLP whose weights are still to come.
func NewMLP(dim, inner int, act Activation, bias bool) *MLP {
	return &MLP{Gate: NewLinear(dim, inner, bias), Up: NewLinear(dim, inner, bias), Down: NewLinear(inner, dim, bias), Act: act}
}

// Forward maps norm(x), or x where norm is nil, [..., D] to [..., D].
func (m *MLP) Forward(x tensor.Tensor, norm *RMSNorm) tensor.Tensor {
	in := Maps(x, norm, m.Gate, m.Up)
	gate, up := in[0], in[1] // [..., inner]
	if m.Down.Adapted() {
		return m.Down.Forward(tensor.Gate(gate, up, m.Act.kind()))
	}
	return tensor.GatedLinear(gate, up, m.Down.Weight, m.Down.Bias, m.Act.kind())
}

func (a Activation) kind() tensor.GateKind {
	switch a {
	case Silu:
		return tensor.GateSilu
	case Gelu:
		return tensor.GateGelu
	case GeluTanh:
		return tensor.GateGeluTanh
	}
	panic(&tensor.Error{Op: "activation", Msg: string(a) + " is not known"})
}

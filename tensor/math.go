package tensor

// Elementwise arithmetic, comparison and the fused blocks of transformer models.

import (
	"fmt"
	"math"

	"github.com/sugarme/gotch/libtch"

	"salsa/tensor/native"
)

type (
	unaryOp  func(*libtch.Ctensor, libtch.Ctensor)
	binaryOp func(*libtch.Ctensor, libtch.Ctensor, libtch.Ctensor)
	scalarOp func(*libtch.Ctensor, libtch.Ctensor, libtch.Cscalar)
)

func (t Tensor) unary(op string, f unaryOp) Tensor {
	f(&out[0], t.must(op))
	return result(op, t)
}

func (t Tensor) binary(op string, f binaryOp, u Tensor) Tensor {
	f(&out[0], t.must(op), u.must(op))
	return result(op, t, u)
}

// scalar passes whole numbers as integers, so that integer tensors stay integer.
func (t Tensor) scalar(op string, f scalarOp, v float64) Tensor {
	var s libtch.Cscalar
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		s = libtch.AtsInt(int64(v))
	} else {
		s = libtch.AtsFloat(v)
	}
	f(&out[0], t.must(op), s)
	libtch.AtsFree(s)
	return result(op, t)
}

// Add returns t + u, broadcasting.
func (t Tensor) Add(u Tensor) Tensor {
	libtch.AtgAdd(&out[0], t.must("add"), u.must("add"))
	return result("add", t, u)
}

// Sub returns t - u, broadcasting.
func (t Tensor) Sub(u Tensor) Tensor {
	libtch.AtgSub(&out[0], t.must("sub"), u.must("sub"))
	return result("sub", t, u)
}

// Mul returns t * u elementwise, broadcasting.
func (t Tensor) Mul(u Tensor) Tensor {
	libtch.AtgMul(&out[0], t.must("mul"), u.must("mul"))
	return result("mul", t, u)
}

// Div returns t / u elementwise, broadcasting.
func (t Tensor) Div(u Tensor) Tensor { return t.binary("div", libtch.AtgDiv, u) }

// Maximum returns the larger of t and u elementwise.
func (t Tensor) Maximum(u Tensor) Tensor { return t.binary("maximum", libtch.AtgMaximum, u) }

// Minimum returns the smaller of t and u elementwise.
func (t Tensor) Minimum(u Tensor) Tensor { return t.binary("minimum", libtch.AtgMinimum, u) }

// AddScalar returns t + v.
func (t Tensor) AddScalar(v float64) Tensor { return t.scalar("add scalar", libtch.AtgAddScalar, v) }

// MulScalar returns t * v.
func (t Tensor) MulScalar(v float64) Tensor { return t.scalar("mul scalar", libtch.AtgMulScalar, v) }

// DivScalar returns t / v.
func (t Tensor) DivScalar(v float64) Tensor { return t.scalar("div scalar", libtch.AtgDivScalar, v) }

// ClampMin returns max(t, v).
func (t Tensor) ClampMin(v float64) Tensor { return t.scalar("clamp min", libtch.AtgClampMin, v) }

// ClampMax returns min(t, v).
func (t Tensor) ClampMax(v float64) Tensor { return t.scalar("clamp max", libtch.AtgClampMax, v) }

// Clamp limits t to [lo, hi].
func (t Tensor) Clamp(lo, hi float64) Tensor { return t.ClampMin(lo).ClampMax(hi) }

// Neg returns -t.
func (t Tensor) Neg() Tensor { return t.unary("neg", libtch.AtgNeg) }

// Exp returns e^t.
func (t Tensor) Exp() Tensor { return t.unary("exp", libtch.AtgExp) }

// Expm1 returns e^t - 1, exact near 0.
func (t Tensor) Expm1() Tensor { return t.unary("expm1", libtch.AtgExpm1) }

// Log returns the natural logarithm.
func (t Tensor) Log() Tensor { return t.unary("log", libtch.AtgLog) }

// Abs returns |t|.
func (t Tensor) Abs() Tensor { return t.unary("abs", libtch.AtgAbs) }

// Sqrt returns the square root.
func (t Tensor) Sqrt() Tensor { return t.unary("sqrt", libtch.AtgSqrt) }

// Square returns t².
func (t Tensor) Square() Tensor { return t.unary("square", libtch.AtgSquare) }

// Sigmoid returns 1/(1+e^-t).
func (t Tensor) Sigmoid() Tensor { return t.unary("sigmoid", libtch.AtgSigmoid) }

// LogSigmoid returns log σ(t) = -softplus(-t), stable for large |t|.
func (t Tensor) LogSigmoid() Tensor { return t.unary("logsigmoid", libtch.AtgLogSigmoid) }

// Tanh returns the hyperbolic tangent.
func (t Tensor) Tanh() Tensor { return t.unary("tanh", libtch.AtgTanh) }

// Cos returns the cosine of t in radians.
func (t Tensor) Cos() Tensor { return t.unary("cos", libtch.AtgCos) }

// Sin returns the sine of t in radians.
func (t Tensor) Sin() Tensor { return t.unary("sin", libtch.AtgSin) }

// Silu returns t σ(t).
func (t Tensor) Silu() Tensor { return t.unary("silu", libtch.AtgSilu) }

// Relu returns max(t, 0).
func (t Tensor) Relu() Tensor { return t.unary("relu", libtch.AtgRelu) }

// Gelu returns t Φ(t), or its tanh approximation.
func (t Tensor) Gelu(tanh bool) Tensor {
	kind := "none"
	if tanh {
		kind = "tanh"
	}
	libtch.AtgGelu(&out[0], t.must("gelu"), kind)
	return result("gelu", t)
}

// Gt returns t > v as Bool; Ge, Lt, Le and Eq likewise.
func (t Tensor) Gt(v float64) Tensor { return t.scalar("gt", libtch.AtgGt, v) }

// Ge returns t >= v as Bool.
func (t Tensor) Ge(v float64) Tensor { return t.scalar("ge", libtch.AtgGe, v) }

// Lt returns t < v as Bool.
func (t Tensor) Lt(v float64) Tensor { return t.scalar("lt", libtch.AtgLt, v) }

// Le returns t <= v as Bool.
func (t Tensor) Le(v float64) Tensor { return t.scalar("le", libtch.AtgLe, v) }

// Eq returns t == v as Bool.
func (t Tensor) Eq(v float64) Tensor { return t.scalar("eq", libtch.AtgEq, v) }

// GtTensor returns t > u as Bool, broadcasting.
func (t Tensor) GtTensor(u Tensor) Tensor { return t.binary("gt", libtch.AtgGtTensor, u) }

// LtTensor returns t < u as Bool, broadcasting.
func (t Tensor) LtTensor(u Tensor) Tensor { return t.binary("lt", libtch.AtgLtTensor, u) }

// GeTensor returns t >= u as Bool, broadcasting.
func (t Tensor) GeTensor(u Tensor) Tensor { return t.binary("ge", libtch.AtgGeTensor, u) }

// LeTensor returns t <= u as Bool, broadcasting.
func (t Tensor) LeTensor(u Tensor) Tensor { return t.binary("le", libtch.AtgLeTensor, u) }

// EqTensor returns t == u as Bool, broadcasting.
func (t Tensor) EqTensor(u Tensor) Tensor { return t.binary("eq", libtch.AtgEqTensor, u) }

// And returns the logical conjunction as Bool.
func (t Tensor) And(u Tensor) Tensor { return t.binary("and", libtch.AtgLogicalAnd, u) }

// Or returns the logical disjunction as Bool.
func (t Tensor) Or(u Tensor) Tensor { return t.binary("or", libtch.AtgLogicalOr, u) }

// Not returns the logical negation as Bool.
func (t Tensor) Not() Tensor { return t.unary("not", libtch.AtgLogicalNot) }

// AllFinite tells whether no element of a float tensor is NaN or infinite, in one pass and without a temporary.
func (t Tensor) AllFinite() bool {
	yes, err := native.AllFinite(t.must("all finite"))
	if err != nil {
		panic(opError("all finite", err.Error(), []Tensor{t}))
	}
	return yes
}

// IsFinite tells for each element whether it is neither NaN nor infinite.
func (t Tensor) IsFinite() Tensor { return t.unary("isfinite", libtch.AtgIsfinite) }

// Where picks a where cond holds and b elsewhere, broadcasting.
func Where(cond, a, b Tensor) Tensor {
	libtch.AtgWhereSelf(&out[0], cond.must("where"), a.must("where"), b.must("where"))
	return result("where", cond, a, b)
}

// MaskedFill returns t with v where mask (Bool, broadcast to t) holds.
func (t Tensor) MaskedFill(mask Tensor, v float64) Tensor {
	s := libtch.AtsFloat(v)
	libtch.AtgMaskedFill(&out[0], t.must("masked fill"), mask.must("masked fill"), s)
	libtch.AtsFree(s)
	return result("masked fill", t, mask)
}

// Matmul returns the matrix product over the last two axes, broadcasting the others.
func (t Tensor) Matmul(u Tensor) Tensor { return t.binary("matmul", libtch.AtgMatmul, u) }

// Linear returns t W^T + b; t [..., in], w [out, in], b [out] or absent.
func (t Tensor) Linear(w, b Tensor) Tensor {
	c, err := native.Linear(t.must("linear"), w.must("linear"), b.c)
	return checked("linear", c, err, t, w, b)
}

// Embedding returns the rows of w [V, D] named by the int64 tensor ids.
func Embedding(w, ids Tensor) Tensor {
	libtch.AtgEmbedding(&out[0], w.must("embedding"), ids.must("embedding"), -1, 0, 0)
	return result("embedding", w, ids)
}

// RMSNorm normalises the last axis of x by its root mean square, in fp32, and scales by w, or by 1+w as Gemma
// does (Zhang & Sennrich, arXiv 1910.07467).
func RMSNorm(x, w Tensor, eps float64, plusOne bool) Tensor {
	c, err := native.RMSNorm(x.must("rms norm"), w.must("rms norm"), eps, plusOne)
	return checked("rms norm", c, err, x, w)
}

// NormedLinears returns RMSNorm(x, gain, eps, plusOne) W^T + b of each weight W [out, in] and its bias b [out]; biases may be
// empty. x [..., in] must be one that HasRows. It is all that is kept for the backward pass, which normalises it once more.
func NormedLinears(x, gain Tensor, weights, biases []Tensor, eps float64, plusOne bool) []Tensor {
	const op = "normed linears"
	if len(biases) > 0 && len(biases) != len(weights) {
		panic(opError(op, "a bias for each weight, or none, is expected", append(weights, biases...)))
	}
	var b []libtch.Ctensor
	if len(biases) > 0 {
		b = handles(op, biases)
	}
	c, err := native.NormedLinears(x.must(op), gain.must(op), handles(op, weights), b, eps, plusOne)
	if err != nil {
		panic(opError(op, err.Error(), append([]Tensor{x, gain}, weights...)))
	}
	out := make([]Tensor, len(c))
	for i := range c {
		out[i] = adopt(Tensor{c[i]})
	}
	return out
}

// Rope rotates x [B, H, T, D] by cos, sin [B or 1, 1, T, D/2], pairs (i, i+D/2) (Su et al., arXiv 2104.09864).
func Rope(x, cos, sin Tensor) Tensor {
	c, err := native.Rope(x.must("rope"), cos.must("rope"), sin.must("rope"))
	return checked("rope", c, err, x, cos, sin)
}

// GateKind is the activation of Gate, with native's numbering.
type GateKind int

// The kinds of gates: x·σ(x), and Gaussian error units with erf and with its tanh approximation (Hendrycks & Gimpel,
// arXiv 1606.08415).
const (
	GateSilu GateKind = iota
	GateGelu
	GateGeluTanh
)

// Gate returns act(gate)·up for tensors of one shape (Shazeer, arXiv 2002.05202), the activation rounded to their
// type first.
func Gate(gate, up Tensor, act GateKind) Tensor {
	c, err := native.Gate(gate.must("gate"), up.must("gate"), int(act))
	return checked("gate", c, err, gate, up)
}

// GatedLinear returns Gate(gate, up, act) W^T + b; gate and up [..., in], w [out, in], b [out] or absent. In fp32 and bf16
// on the CPU, but for GELU with erf, the gate's result is not kept for the backward pass, which makes it again on its way.
func GatedLinear(gate, up, w, b Tensor, act GateKind) Tensor {
	const op = "gated linear"
	c, err := native.GatedLinear(gate.must(op), up.must(op), w.must(op), b.c, int(act))
	return checked(op, c, err, gate, up, w)
}

// Attention is soft-max(scale·q k^T + mask) v with q [B, Hq, T, D], k and v [B, Hkv, S, D], Hq a multiple of
// Hkv. mask is absent, Bool (true = attend) or additive, broadcast to [B, Hq, T, S]; causal needs T = S and no
// mask. The result is [B, Hq, T, D].
func Attention(q, k, v, mask Tensor, causal bool, scale float64) Tensor {
	gqa := q.Dim(1) != k.Dim(1)
	c, err := native.Attention(q.must("attention"), k.must("attention"), v.must("attention"), mask.c, causal, scale, gqa)
	return checked("attention", c, err, q, k, v, mask)
}

// Lincomb overwrites dst with Σ weights[k]·src[k], whatever their float types. Each element is summed in float64
// and rounded once: members that are equal give themselves bit for bit, and their order does not matter. A
// member of weight 0 is not looked at.
func Lincomb(dst Tensor, src []Tensor, weights []float64) {
	const op = "linear combination"
	if len(src) != len(weights) {
		panic(&Error{Op: op, Msg: fmt.Sprintf("%d weights for %d members", len(weights), len(src))})
	}
	if err := native.Lincomb(dst.must(op), handles(op, src), weights); err != nil {
		panic(opError(op, err.Error(), append([]Tensor{dst}, src...)))
	}
}

// Sampler holds the settings of one sampling step. Temperature 0 is greedy; TopK 0, TopP 1 and MinP 0 are off.
type Sampler struct {
	Temperature float64
	TopK        int
	TopP, MinP  float64
}

// Sample draws a token for each row of logits [B, V] from the uniform u of that row, len(u) = B. It returns
// ids [B] int64 and their log-probabilities [B] fp32 under the unfiltered soft-max at this temperature (at
// temperature 0: at temperature 1). A row's result depends on nothing but its logits and its uniform.
func Sample(logits Tensor, u []float64, s Sampler) (ids, logp Tensor) {
	if len(u) == 0 || len(u) != logits.Dim(0) {
		panic(&Error{Op: "sample", Shapes: [][]int{logits.Shape()}, Msg: "want one uniform per row"})
	}
	i, l, err := native.Sample(logits.must("sample"), u, s.Temperature, s.TopK, s.TopP, s.MinP)
	if err != nil {
		panic(opError("sample", err.Error(), []Tensor{logits}))
	}
	return adopt(Tensor{i}), adopt(Tensor{l})
}

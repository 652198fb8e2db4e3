package tensor

// Log-probabilities of targets under a vocabulary head, and losses of them, without logits for all tokens at once.

import (
	"github.com/sugarme/gotch/libtch"

	"salsa/tensor/native"
)

// LogProbChunk is how many tokens share one [chunk, vocabulary] buffer in LinearLogProb.
const LogProbChunk = 256

// TargetScores are what LinearLogProb knows of each target, [N] fp32 each.
type TargetScores struct {
	LogP    Tensor // log-probability
	Entropy Tensor // of the distribution that it came from
	Correct Tensor // 1 where it is the most likely token; a constant
}

// LinearLogProb scores, for hidden states h [N, D] and head weights w [V, D], the int64 targets [N] under
// soft-max(cap(h w^T)/temperature). LogP and Entropy are differentiable with respect to h and w. softcap 0 means
// none. It works chunk by chunk, so no [N, V] tensor exists forward or backward.
func LinearLogProb(h, w, targets Tensor, temperature, softcap float64) TargetScores {
	const op = "linear log-prob"
	c, err := native.LinearLogProb(h.must(op), w.must(op), targets.must(op), 1/temperature, softcap, LogProbChunk)
	if err != nil {
		panic(opError(op, err.Error(), []Tensor{h, w, targets}))
	}
	return TargetScores{adopt(Tensor{c[0]}), adopt(Tensor{c[1]}), adopt(Tensor{c[2]})}
}

// TokenLoss is the loss of the targets from to to, not included, given their scores: a scalar. What it makes lives until
// it returns, unless it is kept.
type TokenLoss func(from, to int, s TargetScores) Tensor

// LinearLogProbLoss returns the sum of loss over all targets, which it sees in parts, from first to last. Where gradients
// are wanted they are taken part by part on the way forward, so that, unlike with LinearLogProb, no logit is computed
// twice; Backward hands them on.
func LinearLogProbLoss(h, w, targets Tensor, temperature, softcap float64, loss TokenLoss) Tensor {
	n := h.Dim(0)
	p := headPass{h: h, w: w, targets: targets, invTemp: 1 / temperature, softcap: softcap}
	if n > 0 && p.early() {
		return p.run(n, loss)
	}
	return Scoped(func() Tensor { return loss(0, n, LinearLogProb(h, w, targets, temperature, softcap)) })
}

// headPass goes once through a head, forward and backward.
type headPass struct {
	h, w, targets    Tensor // [N, D], [V, D], [N]
	invTemp, softcap float64
	dh, dw           Tensor // gradients of h and w; absent where not wanted
	buf              Tensor // [chunk, V]
	learns           bool   // the loss of some part depends on its scores
}

const passOp = "linear log-prob loss"

// early tells whether gradients are wanted, and the kernels that take them on the way forward are there.
func (p *headPass) early() bool {
	if !GradEnabled() || !p.h.RequiresGrad() && !p.w.RequiresGrad() {
		return false
	}
	yes, err := native.LogProbRows(p.h.must(passOp), p.w.must(passOp), p.targets.must(passOp))
	p.check(err)
	return yes
}

func (p *headPass) check(err error) {
	if err != nil {
		panic(opError(passOp, err.Error(), []Tensor{p.h, p.w, p.targets}))
	}
}

func (p *headPass) run(n int, loss TokenLoss) Tensor {
	h, w := p.h, p.w
	p.h, p.w = h.Detach().Contiguous(), w.Detach().Contiguous()
	if h.RequiresGrad() {
		p.dh = p.h.unary(passOp, libtch.AtgEmptyLike)
	}
	if w.RequiresGrad() {
		p.dw = p.w.unary(passOp, libtch.AtgEmptyLike)
	}
	p.buf = empty(p.w.DType(), p.w.Device(), min(n, LogProbChunk), p.w.Dim(0))
	defer p.buf.Free() // before the backward pass needs memory
	sum := Scalar(0)
	for from := 0; from < n; from += LogProbChunk {
		sum = sum.Add(p.part(from, min(n, from+LogProbChunk), loss))
	}
	if !p.learns {
		return sum
	}
	c, err := native.WithGrads(sum.c, h.c, w.c, [2]libtch.Ctensor{p.dh.c, p.dw.c})
	return checked(passOp, c, err, sum, h, w)
}

// part computes the loss of some targets and adds its gradients to dh and dw.
func (p *headPass) part(from, to int, loss TokenLoss) Tensor {
	return Scoped(func() Tensor {
		h, targets := p.h.Narrow(0, from, to-from), p.targets.Narrow(0, from, to-from)
		c, err := native.ScoreChunk(p.buf.c, h.c, p.w.c, targets.c, p.invTemp, p.softcap)
		p.check(err)
		s := TargetScores{adopt(Tensor{c[0]}), adopt(Tensor{c[1]}), adopt(Tensor{c[2]})}
		sums, entropy := adopt(Tensor{c[3]}), s.Entropy.Detach()
		s.LogP.RequireGrad(true)
		s.Entropy.RequireGrad(true)
		y := loss(from, to, s)
		if y.RequiresGrad() {
			p.learns = true
			backward(y, Tensor{})
		}
		var dh Tensor
		if p.dh.c != nil {
			dh = p.dh.Narrow(0, from, to-from)
		}
		p.check(native.SpreadChunk(dh.c, p.dw.c, from == 0, &native.Chunk{Buf: p.buf.c, H: h.c, W: p.w.c, Targets: targets.c, LogSum: sums.c,
			Entropy: entropy.c, GradLogP: s.LogP.Grad().c, GradEntropy: s.Entropy.Grad().c, InvTemp: p.invTemp, Softcap: p.softcap}))
		return y.Detach()
	})
}

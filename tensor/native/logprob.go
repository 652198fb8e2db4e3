package native

// The head's log-probabilities, whole and chunk by chunk.

// #include "native.h"
import "C"

import "github.com/sugarme/gotch/libtch"

// LinearLogProb returns log-probabilities of targets [N], entropies, and 1 where the target is the most likely
// token, [N] each, of the logits h W^T, in chunks of tokens.
func LinearLogProb(h, w, targets libtch.Ctensor, invTemp, softcap float64, chunk int) (out [3]libtch.Ctensor, err error) {
	var c [3]C.sn_tensor
	err = check(C.sn_linear_logprob(&c[0], handle(h), handle(w), handle(targets), C.double(invTemp),
		C.double(softcap), C.int64_t(chunk)))
	for i := range c {
		out[i] = tensorOf(c[i])
	}
	return out, err
}

// LogProbRows tells whether ScoreChunk and SpreadChunk take these operands.
func LogProbRows(h, w, targets libtch.Ctensor) (bool, error) {
	var yes C.int
	err := check(C.sn_logprob_rows(&yes, handle(h), handle(w), handle(targets)))
	return yes != 0, err
}

// ScoreChunk computes the logits of a chunk h [n, D] into buf [n or more, V] and returns log-probabilities, entropies,
// correctness and the logits' log-sums, [n] each.
func ScoreChunk(buf, h, w, targets libtch.Ctensor, invTemp, softcap float64) (out [4]libtch.Ctensor, err error) {
	var c [4]C.sn_tensor
	err = check(C.sn_logprob_score(&c[0], handle(buf), handle(h), handle(w), handle(targets), C.double(invTemp), C.double(softcap)))
	for i := range c {
		out[i] = tensorOf(c[i])
	}
	return out, err
}

// Chunk is what SpreadChunk reads of a chunk after ScoreChunk: Buf, which it overwrites, and the gradients of
// log-probabilities and entropies [n], of which either may be nil.
type Chunk struct {
	Buf, H, W, Targets, LogSum, Entropy libtch.Ctensor
	GradLogP, GradEntropy               libtch.Ctensor
	InvTemp, Softcap                    float64
}

// SpreadChunk writes dh [n, D], and dw [V, D], or adds to it unless first; either may be nil.
func SpreadChunk(dh, dw libtch.Ctensor, first bool, c *Chunk) error {
	return check(C.sn_logprob_spread(handle(dh), handle(dw), flag(first), handle(c.Buf), handle(c.H), handle(c.W), handle(c.Targets),
		handle(c.LogSum), handle(c.Entropy), handle(c.GradLogP), handle(c.GradEntropy), C.double(c.InvTemp), C.double(c.Softcap)))
}

// WithGrads is the scalar y as a function of a and b whose gradients are known; nil where none is asked for. It takes the
// gradients out of their handles, which are empty then.
func WithGrads(y, a, b libtch.Ctensor, grads [2]libtch.Ctensor) (libtch.Ctensor, error) {
	var out C.sn_tensor
	err := check(C.sn_with_grads(&out, handle(y), handle(a), handle(b), handles(grads[:])))
	return tensorOf(out), err
}

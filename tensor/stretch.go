package tensor

// Stretches of weights in Go's memory. They are no tensors: no scope owns them, and any number of goroutines may work
// on different ones at once.

import "salsa/tensor/native"

// Stretch is some consecutive elements of a weight, little-endian as a weights file holds them. DType is a float type.
// Data begins at a multiple of the element size, as all memory that make returns does.
type Stretch struct {
	Data  []byte
	DType DType
}

// Numel is the number of elements.
func (s Stretch) Numel() int {
	if len(s.Data) == 0 {
		return 0
	}
	return len(s.Data) / s.DType.Size()
}

// From is the stretch of n elements from element at on; it shares s's memory.
func (s Stretch) From(at, n int) Stretch {
	size := s.DType.Size()
	return Stretch{s.Data[at*size : (at+n)*size], s.DType}
}

// Finite tells whether no element is NaN or infinite.
func (s Stretch) Finite() bool { return native.MixFinite(s.Data, int(s.DType), s.Numel()) }

// Minus writes s - base in float64 into dst, of s's length; a nil base is zero.
func (s Stretch) Minus(base, dst []float64) {
	if len(dst) != s.Numel() || base != nil && len(base) != len(dst) {
		panic(&Error{Op: "minus", Shapes: [][]int{{s.Numel()}, {len(base)}, {len(dst)}}, Msg: "lengths differ"})
	}
	native.MixWiden(dst, s.Data, int(s.DType), base)
}

// Set rounds values, as many as s has elements, to s's type.
func (s Stretch) Set(values []float64) {
	if len(values) != s.Numel() {
		panic(&Error{Op: "set", Shapes: [][]int{{s.Numel()}, {len(values)}}, Msg: "lengths differ"})
	}
	native.MixNarrow(s.Data, int(s.DType), values)
}

// LincombStretch is Lincomb for stretches.
func LincombStretch(dst Stretch, src []Stretch, weights []float64) {
	const op = "linear combination"
	if len(src) != len(weights) {
		panic(&Error{Op: op, Msg: "members and weights differ in number"})
	}
	data, types := make([][]byte, len(src)), make([]int32, len(src))
	for k, s := range src {
		if s.Numel() != dst.Numel() {
			panic(&Error{Op: op, Shapes: [][]int{{dst.Numel()}, {s.Numel()}}, Msg: "shapes differ"})
		}
		data[k], types[k] = s.Data, int32(s.DType)
	}
	native.MixLincomb(dst.Data, int(dst.DType), data, types, weights, dst.Numel())
}

// Dot is Σ a·b of two slices of one length, summed in four lanes.
func Dot(a, b []float64) float64 {
	if len(a) != len(b) {
		panic(&Error{Op: "dot", Shapes: [][]int{{len(a)}, {len(b)}}, Msg: "lengths differ"})
	}
	return native.MixDot(a, b)
}

// Votes is how AddConsensus treats entries whose signs differ.
type Votes int

// The ways of a consensus.
const (
	AllVotes    Votes = iota // Σ w_k τ_k
	WinningMean              // the mean, weighted by w_k, of the entries with the sign of that sum; a sum of zero is positive
	WinningSum               // their sum
)

// AddConsensus adds lambda times the consensus of task vectors, each of dst's length, to dst.
func AddConsensus(dst []float64, tau [][]float64, weights []float64, how Votes, lambda float64) {
	if len(tau) != len(weights) {
		panic(&Error{Op: "consensus", Msg: "task vectors and weights differ in number"})
	}
	for _, t := range tau {
		if len(t) != len(dst) {
			panic(&Error{Op: "consensus", Shapes: [][]int{{len(dst)}, {len(t)}}, Msg: "lengths differ"})
		}
	}
	native.MixConsensus(dst, tau, weights, int(how), lambda)
}

// Trim clears the entries of tau whose magnitude, the bits of their absolute value in float32, is below least, and those
// of just that magnitude but for what lies before entry equals.
func Trim(tau []float64, least uint32, equals int) { native.MixTrim(tau, least, equals) }

// DropAt keeps entry i of tau, times gain, if the upper 53 bits of Mix(stream, at+i) are below below, and clears it
// otherwise. stream is one word's Mix, not the word itself: DropAt goes on where Mix(word) stopped.
func DropAt(tau []float64, stream uint64, at int, below uint64, gain float64) {
	native.MixDrop(tau, stream, at, below, gain)
}

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

// SetFolded writes elements at to at+n of w + scale·b a, n being s's length: w are just these elements, b [rows, rank] and
// a [rank, cols] are whole, flattened. s is float64 where w is, else float32, and neither shares memory with the other.
// Which stretch an element comes in does not change it.
func (s Stretch) SetFolded(w Stretch, b, a []float32, rank int, scale float64, at int) {
	cols := len(a) / rank
	to := w.DType
	if to.Size() < Float32.Size() {
		to = Float32
	}
	if n := s.Numel(); s.DType != to || w.Numel() != n || len(a) != rank*cols || at < 0 || at+n > len(b)/rank*cols {
		panic(&Error{Op: "fold", Shapes: [][]int{{n}, {w.Numel()}, {len(b)}, {len(a)}}, Msg: "stretches and matrices do not fit"})
	}
	native.MixFold(s.Data, w.Data, int(w.DType), b, a, rank, cols, scale, at, s.Numel())
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

// Two steps count magnitudes, the bits of an absolute value in float32: by their upper bits, which leave out the sign and
// are MagnitudeHigh many, and then by the lower ones of those that agree in the upper.
const (
	MagnitudeHigh = 1 << 16
	MagnitudeLow  = 1 << 15
)

// CountHigh adds to counts, of MagnitudeHigh bins, how many entries of tau have each upper part of a magnitude.
func CountHigh(counts []int, tau []float64) { native.MixCount(counts[:MagnitudeHigh], tau, -1) }

// CountLow adds to counts, of MagnitudeLow bins, how many entries of tau have each lower part of a magnitude whose upper
// part is high.
func CountLow(counts []int, tau []float64, high int) {
	native.MixCount(counts[:MagnitudeLow], tau, high)
}

// CountEqual is how many entries of tau have just that magnitude.
func CountEqual(tau []float64, magnitude uint32) int { return native.MixEquals(tau, magnitude) }

// Trim clears the entries of tau whose magnitude is below least, and those
// of just that magnitude but for what lies before entry equals.
func Trim(tau []float64, least uint32, equals int) { native.MixTrim(tau, least, equals) }

// DropAt keeps entry i of tau, times gain, if the upper 53 bits of Mix(stream, at+i) are below below, and clears it
// otherwise. stream is one word's Mix, not the word itself: DropAt goes on where Mix(word) stopped.
func DropAt(tau []float64, stream uint64, at int, below uint64, gain float64) {
	native.MixDrop(tau, stream, at, below, gain)
}

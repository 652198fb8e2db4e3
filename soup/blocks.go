package soup

// Going through a weight a block at a time, in float64, so that no operator needs a second copy of it.

import "salsa/tensor"

// blockSize is how many elements are looked at together: few enough for a core's cache, enough to forget the calls.
const blockSize = 1 << 16

// block is a stretch of a weight: of the base (zeros if there is none), and of every member the difference from it.
type block struct {
	at   int // of its first element
	base []float64
	tau  [][]float64
}

// blocks hands out the weight from its first element to its last. members names those that are read; nil is all.
func (in Inputs) blocks(members []int, fn func(b block)) {
	if members == nil {
		for k := range in.Members {
			members = append(members, k)
		}
	}
	n := in.Members[0].Numel()
	for at := 0; at < n; at += blockSize {
		size := min(blockSize, n-at)
		b := block{at: at, base: make([]float64, size), tau: make([][]float64, len(in.Members))}
		if in.Base.Defined() {
			b.base = stretch(in.Base, at, size)
		}
		for _, k := range members {
			tau := stretch(in.Members[k], at, size)
			for i := range tau {
				tau[i] -= b.base[i]
			}
			b.tau[k] = tau
		}
		fn(b)
	}
}

// stretch copies size elements from at on.
func stretch(t tensor.Tensor, at, size int) (out []float64) {
	must(tensor.NoGrad(func() error {
		out = t.Reshape(t.Numel()).Narrow(0, at, size).Float64s()
		return nil
	}))
	return out
}

// put overwrites the elements of t from at on; t is contiguous.
func put(t tensor.Tensor, at int, values []float64) {
	must(tensor.NoGrad(func() error {
		t.Reshape(t.Numel()).Narrow(0, at, len(values)).Copy(tensor.Doubles(values, len(values)))
		return nil
	}))
}

// must hands a failed op on to the scope around the recipe, as the op itself would have done.
func must(err error) {
	if err != nil {
		panic(&tensor.Error{Op: "soup", Msg: err.Error()})
	}
}

// dots are the products of all pairs of members' task vectors, or of the members themselves if there is no base.
func (in Inputs) dots() [][]float64 {
	n := len(in.Members)
	out := make([][]float64, n)
	for i := range out {
		out[i] = make([]float64, n)
	}
	in.blocks(nil, func(b block) {
		for i := range n {
			for j := i; j < n; j++ {
				out[i][j] += dot(b.tau[i], b.tau[j])
				out[j][i] = out[i][j]
			}
		}
	})
	return out
}

// dot sums in four lanes: the additions need not wait for one another.
func dot(a, b []float64) float64 {
	var s [4]float64
	i := 0
	for ; i+4 <= len(a); i += 4 {
		for l := range s {
			s[l] += a[i+l] * b[i+l]
		}
	}
	for ; i < len(a); i++ {
		s[0] += a[i] * b[i]
	}
	return s[0] + s[1] + s[2] + s[3]
}

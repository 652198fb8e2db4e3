package tensor

// Reductions, reshaping and indexing.

import (
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

// same asks libtorch for the operand's own dtype.
const same int32 = -1

// Sum adds up all elements, or along the given axes, which disappear.
func (t Tensor) Sum(axes ...int) Tensor {
	if len(axes) == 0 {
		libtch.AtgSum(&out[0], t.must("sum"), same)
	} else {
		libtch.AtgSumDimIntlist(&out[0], t.must("sum"), dims64(axes), len(axes), 0, same)
	}
	return result("sum", t)
}

// Mean averages all elements, or along the given axes, which disappear.
func (t Tensor) Mean(axes ...int) Tensor {
	if len(axes) == 0 {
		libtch.AtgMean(&out[0], t.must("mean"), same)
	} else {
		libtch.AtgMeanDim(&out[0], t.must("mean"), dims64(axes), len(axes), 0, same)
	}
	return result("mean", t)
}

// Max returns the largest element, or the largest along the given axes, which disappear.
func (t Tensor) Max(axes ...int) Tensor {
	if len(axes) == 0 {
		return t.unary("max", libtch.AtgMax)
	}
	libtch.AtgAmax(&out[0], t.must("max"), dims64(axes), len(axes), 0)
	return result("max", t)
}

// Min returns the smallest element.
func (t Tensor) Min() Tensor { return t.unary("min", libtch.AtgMin) }

// Argmax returns the index of the largest element along axis, the first one on a tie.
func (t Tensor) Argmax(axis int) Tensor {
	libtch.AtgArgmax(&out[0], t.must("argmax"), int64(axis), 0, 0)
	return result("argmax", t)
}

// All tells whether every element of a Bool tensor holds.
func (t Tensor) All() bool { return t.unary("all", libtch.AtgAll).Item() != 0 }

// Cumsum adds up along axis.
func (t Tensor) Cumsum(axis int) Tensor {
	libtch.AtgCumsum(&out[0], t.must("cumsum"), int64(axis), same)
	return result("cumsum", t)
}

// Softmax normalises along axis.
func (t Tensor) Softmax(axis int) Tensor {
	libtch.AtgSoftmax(&out[0], t.must("softmax"), int64(axis), same)
	return result("softmax", t)
}

// LogSoftmax is the logarithm of Softmax, computed stably.
func (t Tensor) LogSoftmax(axis int) Tensor {
	libtch.AtgLogSoftmax(&out[0], t.must("log softmax"), int64(axis), same)
	return result("log softmax", t)
}

// LogSumExp reduces along axis.
func (t Tensor) LogSumExp(axis int) Tensor {
	libtch.AtgLogsumexp(&out[0], t.must("logsumexp"), dims64([]int{axis}), 1, 0)
	return result("logsumexp", t)
}

// Reshape gives t the new shape; one size may be -1.
func (t Tensor) Reshape(shape ...int) Tensor {
	libtch.AtgReshape(&out[0], t.must("reshape"), scratch64(shape), len(shape))
	return result("reshape", t)
}

// Transpose swaps two axes.
func (t Tensor) Transpose(a, b int) Tensor {
	libtch.AtgTranspose(&out[0], t.must("transpose"), int64(a), int64(b))
	return result("transpose", t)
}

// Unsqueeze inserts an axis of size 1.
func (t Tensor) Unsqueeze(axis int) Tensor {
	libtch.AtgUnsqueeze(&out[0], t.must("unsqueeze"), int64(axis))
	return result("unsqueeze", t)
}

// Squeeze removes an axis of size 1.
func (t Tensor) Squeeze(axis int) Tensor {
	libtch.AtgSqueezeDim(&out[0], t.must("squeeze"), int64(axis))
	return result("squeeze", t)
}

// Expand repeats axes of size 1 without copying.
func (t Tensor) Expand(shape ...int) Tensor {
	libtch.AtgExpand(&out[0], t.must("expand"), scratch64(shape), len(shape), 0)
	return result("expand", t)
}

// Contiguous lays t out in row-major order.
func (t Tensor) Contiguous() Tensor { return t.unary("contiguous", libtch.AtgContiguous) }

// Narrow views n elements along axis, from start.
func (t Tensor) Narrow(axis, start, n int) Tensor {
	libtch.AtgNarrow(&out[0], t.must("narrow"), int64(axis), int64(start), int64(n))
	return result("narrow", t)
}

// Select views index i of axis, which disappears.
func (t Tensor) Select(axis, i int) Tensor {
	libtch.AtgSelect(&out[0], t.must("select"), int64(axis), int64(i))
	return result("select", t)
}

// IndexSelect copies the entries of axis named by the int64 vector index.
func (t Tensor) IndexSelect(axis int, index Tensor) Tensor {
	libtch.AtgIndexSelect(&out[0], t.must("index select"), int64(axis), index.must("index select"))
	return result("index select", t, index)
}

// Gather picks along axis by an int64 index of t's rank.
func (t Tensor) Gather(axis int, index Tensor) Tensor {
	libtch.AtgGather(&out[0], t.must("gather"), int64(axis), index.must("gather"), 0)
	return result("gather", t, index)
}

// IndexAdd returns t with the rows of src added at the places along axis that index names.
func (t Tensor) IndexAdd(axis int, index, src Tensor) Tensor {
	libtch.AtgIndexAdd(&out[0], t.must("index add"), int64(axis), index.must("index add"), src.must("index add"))
	return result("index add", t, index, src)
}

// handles checks a list of operands and returns their C view.
func handles(op string, ts []Tensor) []libtch.Ctensor {
	if len(ts) == 0 {
		panic(&Error{Op: op, Msg: "no operands"})
	}
	for _, t := range ts {
		t.must(op)
	}
	return unsafe.Slice((*libtch.Ctensor)(unsafe.Pointer(&ts[0])), len(ts)) // Tensor is just the handle
}

// Cat joins tensors along axis.
func Cat(axis int, ts ...Tensor) Tensor {
	libtch.AtgCat(&out[0], handles("cat", ts), len(ts), int64(axis))
	return result("cat", ts...)
}

// Stack joins tensors of one shape along a new axis.
func Stack(axis int, ts ...Tensor) Tensor {
	libtch.AtgStack(&out[0], handles("stack", ts), len(ts), int64(axis))
	return result("stack", ts...)
}

// To converts to another element type; t itself if it has it already.
func (t Tensor) To(d DType) Tensor {
	if t.DType() == d {
		return t
	}
	libtch.AtgToDtype(&out[0], t.must("to"), int32(d), 0, 0)
	return result("to", t)
}

// OnDevice moves to another device; t itself if it is there already.
func (t Tensor) OnDevice(d Device) Tensor {
	if t.Device() == d {
		return t
	}
	libtch.AtgTo(&out[0], t.must("on device"), int32(d))
	return result("on device", t)
}

// Clone copies the elements.
func (t Tensor) Clone() Tensor {
	libtch.AtgToDtype(&out[0], t.must("clone"), int32(t.DType()), 0, 1)
	return result("clone", t)
}

// Copy overwrites t's elements with u's, in place; t must be a leaf under NoGrad.
func (t Tensor) Copy(u Tensor) {
	libtch.AtCopy_(t.must("copy"), u.must("copy"))
	if msg := lastError(); msg != "" {
		panic(opError("copy", msg, []Tensor{t, u}))
	}
}

// Scatter overwrites t's elements in place: along axis, those that index (int64, src's shape) names get src's
// values. t must be a leaf under NoGrad; where index names a place twice, either value may stay.
func (t Tensor) Scatter(axis int, index, src Tensor) {
	libtch.AtgScatter_(&out[0], t.must("scatter"), int64(axis), index.must("scatter"), src.must("scatter"))
	if msg := lastError(); msg != "" {
		panic(opError("scatter", msg, []Tensor{t, index, src}))
	}
	libtch.AtFree(out[0]) // gotch returns a second handle to the same tensor
}

// Equal tells whether t and u have the same shape and elements.
func (t Tensor) Equal(u Tensor) bool {
	eq := libtch.AtgEqual(t.must("equal"), u.must("equal"))
	if msg := lastError(); msg != "" {
		panic(opError("equal", msg, []Tensor{t, u}))
	}
	return eq
}

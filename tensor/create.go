package tensor

// Tensors from Go slices, constants, seeds and files, and back to Go.

import (
	"fmt"
	"unsafe"

	"github.com/sugarme/gotch/libtch"

	"salsa/tensor/native"
)

// dims64 converts a shape into scratch space; at most 16 axes.
var dimScratch [16]int64

func dims64(shape []int) []int64 {
	if len(shape) > len(dimScratch) {
		panic(&Error{Op: "shape", Shapes: [][]int{shape}, Msg: "too many axes"})
	}
	for i, d := range shape {
		dimScratch[i] = int64(d)
	}
	return dimScratch[:len(shape)]
}

// scratch64 is dims64 for gotch's calls, which take the address of element 0 even of an empty list.
func scratch64(shape []int) []int64 {
	dims64(shape)
	return dimScratch[:max(1, len(shape))]
}

func fromSlice[E any](op string, data []E, d DType, shape []int) Tensor {
	n := 1
	for _, s := range shape {
		n *= s
	}
	if n != len(data) {
		panic(&Error{Op: op, Shapes: [][]int{shape}, Msg: fmt.Sprintf("%d elements given for %d", len(data), n)})
	}
	c, err := native.FromData(unsafe.Pointer(unsafe.SliceData(data)), dims64(shape), int(d))
	return checked(op, c, err)
}

// Floats copies data into a float32 CPU tensor of the given shape.
func Floats(data []float32, shape ...int) Tensor { return fromSlice("floats", data, Float32, shape) }

// Doubles copies data into a float64 CPU tensor of the given shape.
func Doubles(data []float64, shape ...int) Tensor { return fromSlice("doubles", data, Float64, shape) }

// Ints copies data into an int64 CPU tensor of the given shape.
func Ints(data []int, shape ...int) Tensor { return fromSlice("ints", data, Int64, shape) }

// Bools copies data into a bool CPU tensor of the given shape.
func Bools(data []bool, shape ...int) Tensor { return fromSlice("bools", data, Bool, shape) }

// Scalar makes a float32 scalar.
func Scalar(v float64) Tensor { return Floats([]float32{float32(v)}) }

// FromBytes copies little-endian elements of type d, as a weights file holds them, into a CPU tensor.
func FromBytes(data []byte, d DType, shape ...int) Tensor {
	n := d.Size()
	for _, s := range shape {
		n *= s
	}
	if n != len(data) {
		panic(&Error{Op: "from bytes", Shapes: [][]int{shape}, Msg: fmt.Sprintf("%d bytes given for %d", len(data), n)})
	}
	c, err := native.FromData(unsafe.Pointer(unsafe.SliceData(data)), dims64(shape), int(d))
	return checked("from bytes", c, err)
}

// empty makes a tensor of whatever lies in memory, for what writes all of it.
func empty(d DType, dev Device, shape ...int) Tensor {
	libtch.AtgEmpty(&out[0], scratch64(shape), len(shape), int32(d), int32(dev))
	return result("empty")
}

// Zeros makes a tensor of zeros.
func Zeros(d DType, dev Device, shape ...int) Tensor {
	libtch.AtgZeros(&out[0], scratch64(shape), len(shape), int32(d), int32(dev))
	return result("zeros")
}

// Ones makes a tensor of ones.
func Ones(d DType, dev Device, shape ...int) Tensor {
	libtch.AtgOnes(&out[0], scratch64(shape), len(shape), int32(d), int32(dev))
	return result("ones")
}

// Full makes a tensor of one value.
func Full(v float64, d DType, dev Device, shape ...int) Tensor {
	s := libtch.AtsFloat(v)
	defer libtch.AtsFree(s)
	libtch.AtgFull(&out[0], scratch64(shape), len(shape), s, int32(d), int32(dev))
	return result("full")
}

// Arange makes the int64 tensor 0, 1, …, n-1.
func Arange(n int, dev Device) Tensor {
	s := libtch.AtsInt(int64(n))
	defer libtch.AtsFree(s)
	libtch.AtgArange(&out[0], s, int32(Int64), int32(dev))
	return result("arange")
}

// Randn draws a standard normal float32 CPU tensor. It is a function of the seed alone: there is no hidden
// generator whose state a resumed run would have to restore.
func Randn(seed uint64, shape ...int) Tensor {
	c, err := native.Randn(dims64(shape), seed, int(Float32))
	return checked("randn", c, err)
}

// Map is a weights file in memory; tensors made from it share its pages and keep them alive.
type Map struct{ m *native.Map }

// OpenMap maps a file privately: an in-place op on one of its tensors copies the page, never the file.
func OpenMap(path string) (*Map, error) {
	m, err := native.OpenMap(path)
	if err != nil {
		return nil, err
	}
	return &Map{m}, nil
}

// Tensor views the elements of type d at a byte offset, which must be a multiple of the element size.
func (m *Map) Tensor(offset int64, d DType, shape ...int) Tensor {
	c, err := m.m.Tensor(offset, dims64(shape), int(d))
	return checked("map", c, err)
}

// Close drops the map's own hold on the pages; tensors stay valid.
func (m *Map) Close() { m.m.Close() }

func toSlice[E any](op string, t Tensor, d DType) []E {
	t.must(op)
	if t.DType() != d {
		t = t.To(d)
	}
	data := make([]E, t.Numel())
	var e E
	if err := native.CopyOut(t.c, unsafe.Pointer(unsafe.SliceData(data)), len(data)*int(unsafe.Sizeof(e))); err != nil {
		panic(opError(op, err.Error(), []Tensor{t}))
	}
	return data
}

// Float32s copies all elements to Go in row-major order, converting to float32.
func (t Tensor) Float32s() []float32 { return toSlice[float32]("float32s", t, Float32) }

// Float64s copies all elements to Go in row-major order, converting to float64.
func (t Tensor) Float64s() []float64 { return toSlice[float64]("float64s", t, Float64) }

// Ints copies all elements to Go in row-major order, converting to int64.
func (t Tensor) Ints() []int { return toSlice[int]("ints", t, Int64) }

// Bools copies all elements to Go in row-major order, converting to bool.
func (t Tensor) Bools() []bool { return toSlice[bool]("bools", t, Bool) }

// Bytes copies the elements, in t's own type, to Go.
func (t Tensor) Bytes() []byte {
	data := make([]byte, t.Numel()*t.DType().Size())
	if err := native.CopyOut(t.must("bytes"), unsafe.Pointer(unsafe.SliceData(data)), len(data)); err != nil {
		panic(opError("bytes", err.Error(), []Tensor{t}))
	}
	return data
}

// Item returns the value of a tensor of one element.
func (t Tensor) Item() float64 {
	v := t.Float64s()
	if len(v) != 1 {
		panic(&Error{Op: "item", Shapes: [][]int{t.Shape()}, Msg: "want one element"})
	}
	return v[0]
}

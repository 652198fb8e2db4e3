package models

// Weights that are read a stretch at a time: what a soup needs is then as small for a large weight as for a small one.

import (
	"cmp"
	"os"
	"slices"
	"sync"

	"salsa/internal/fault"
	"salsa/internal/safetensors"
	"salsa/tensor"
)

// Source is one weight that is read a stretch at a time, by any number of goroutines at once.
type Source interface {
	// DType is the float type of the elements.
	DType() tensor.DType
	// ReadAt fills p with the elements from element at on. The error names a file that cannot be read, or the tensor
	// if a value is not finite.
	ReadAt(p []byte, at int) error
}

// Source returns a weight to be read in stretches, with the precision of ReadExact: from the file when asked for, until
// Close. An adapter's two matrices stay in memory as long as the Source, and are folded into each stretch.
func (c *Checkpoint) Source(name string) (Source, error) {
	file, info, ok := c.lookup(name)
	if !ok {
		return nil, fault.Inputf("%s: holds no weight %q; give a folder of the same architecture", c.Dir, name)
	}
	s, err := c.source(file, info)
	if err != nil {
		return nil, err
	}
	if c.adapter != nil && c.adapter.adapts(name) {
		return c.adapter.source(name, s)
	}
	if name == embedName && c.Config.Tied {
		return s, c.compareTied(s, info)
	}
	return s, nil
}

// source opens the file once for all of its tensors.
func (c *Checkpoint) source(file *safetensors.File, info safetensors.Info) (*fileSource, error) {
	f := c.open[file.Path]
	if f == nil {
		var err error
		if f, err = os.Open(file.Path); err != nil {
			return nil, fault.Inputf("%s: cannot be opened: %w; check the path", file.Path, err)
		}
		c.open[file.Path] = f
	}
	return &fileSource{f, info, fileTypes[info.DType]}, nil
}

// tiedStretch is how many elements of a tied head are compared at once.
const tiedStretch = 1 << 18

// compareTied is checkTied by stretches.
func (c *Checkpoint) compareTied(embed *fileSource, info safetensors.Info) error {
	file, stored, ok := c.files.Lookup(headName)
	if !ok || stored.Name == info.Name {
		return nil
	}
	differs := c.tiedDiffers(file)
	if _, float := fileTypes[stored.DType]; !float || !slices.Equal(stored.Shape, info.Shape) {
		return differs
	}
	head, err := c.source(file, stored)
	if err != nil {
		return err
	}
	n := int(info.Size()) / embed.dtype.Size()
	a, b := make([]byte, tiedStretch*embed.dtype.Size()), make([]byte, tiedStretch*head.dtype.Size())
	for at := 0; at < n; at += tiedStretch {
		m := min(tiedStretch, n-at)
		x, y := a[:m*embed.dtype.Size()], b[:m*head.dtype.Size()]
		if err := cmp.Or(embed.read(x, at), head.read(y, at)); err != nil {
			return err
		}
		equal := false
		err := tensor.NoGrad(func() error {
			equal = tensor.FromBytes(y, head.dtype, m).To(embed.dtype).Equal(tensor.FromBytes(x, embed.dtype, m))
			return nil
		})
		if err != nil {
			return err
		}
		if !equal {
			return differs
		}
	}
	return nil
}

// fileSource is a tensor of a file.
type fileSource struct {
	f     *os.File
	info  safetensors.Info
	dtype tensor.DType
}

// DType implements Source.
func (s *fileSource) DType() tensor.DType { return s.dtype }

// ReadAt implements Source.
func (s *fileSource) ReadAt(p []byte, at int) error {
	if err := s.read(p, at); err != nil {
		return err
	}
	if !(tensor.Stretch{Data: p, DType: s.dtype}).Finite() {
		return notFinite(s.f.Name(), s.info.Name)
	}
	return nil
}

// read is ReadAt without a look at the values.
func (s *fileSource) read(p []byte, at int) error {
	if _, err := s.f.ReadAt(p, s.info.Begin+int64(at*s.dtype.Size())); err != nil {
		return fault.Inputf("%s: tensor %q cannot be read: %w; the file changed or is damaged, so copy it again", s.f.Name(), s.info.Name, err)
	}
	return nil
}

// foldedSource is a tensor of a file with an adapter folded in, as nn.LoRA's Fold does it.
type foldedSource struct {
	base  *fileSource
	b, a  []float32 // [Out, rank] and [rank, In]
	rank  int
	scale float64
}

// stored keeps buffers for what a file holds.
var stored = sync.Pool{New: func() any { return new([]byte) }}

// source reads the matrices of an adapted map, whose weight is w.
func (a *adapterFile) source(name string, w *fileSource) (Source, error) {
	s := &foldedSource{base: w, rank: a.Rank, scale: a.scale()}
	err := tensor.NoGrad(func() error {
		low, high, err := a.matrices(name)
		if err == nil {
			s.a, s.b = low.Float32s(), high.Float32s()
		}
		a.close() // pages of matrices that were copied are not wanted again
		return err
	})
	return s, err
}

// DType implements Source: no half-precision type rounds the sum.
func (s *foldedSource) DType() tensor.DType {
	if s.base.dtype == tensor.Float64 {
		return tensor.Float64
	}
	return tensor.Float32
}

// ReadAt implements Source.
func (s *foldedSource) ReadAt(p []byte, at int) error {
	buf := stored.Get().(*[]byte)
	defer stored.Put(buf)
	n := len(p) / s.DType().Size() * s.base.dtype.Size()
	*buf = slices.Grow((*buf)[:0], n)[:n]
	if err := s.base.ReadAt(*buf, at); err != nil {
		return err
	}
	w := tensor.Stretch{Data: *buf, DType: s.base.dtype}
	tensor.Stretch{Data: p, DType: s.DType()}.SetFolded(w, s.b, s.a, s.rank, s.scale, at)
	return nil
}

// memorySource is a weight in memory.
type memorySource struct{ all tensor.Stretch }

// SourceOf copies a tensor of any float type into a Source.
func SourceOf(t tensor.Tensor) Source {
	return memorySource{tensor.Stretch{Data: t.Bytes(), DType: t.DType()}}
}

// DType implements Source.
func (s memorySource) DType() tensor.DType { return s.all.DType }

// ReadAt implements Source; what is in memory was looked at before.
func (s memorySource) ReadAt(p []byte, at int) error {
	copy(p, s.all.From(at, len(p)/s.all.DType.Size()).Data)
	return nil
}

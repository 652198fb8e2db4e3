// Package safetensors reads and writes weights in the safetensors format: eight bytes of header length,
// a JSON header that gives every tensor's dtype, shape and byte range, then the bytes. It is pure Go,
// trusts no header, and never allocates what a header merely claims. Format:
// https://huggingface.co/docs/safetensors.
//
// This file holds the types, the dtypes and the reading of one tensor.
package safetensors

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"

	"salsa/internal/fault"
)

// Info is one tensor of a file.
type Info struct {
	Name  string
	DType string // as in the file: "F32", "BF16", "F16", "I64", ...
	Shape []int
	Begin int64 // offset of the first byte, from the start of the file
	End   int64 // offset after the last byte
}

// Size is the tensor's length in bytes.
func (i Info) Size() int64 { return i.End - i.Begin }

// File is the header of one safetensors file. Its Infos are sorted by offset and cover all bytes after
// the header, without gaps.
type File struct {
	Path     string
	Infos    []Info
	Metadata map[string]string // "__metadata__", nil when the file has none
}

// Read returns the little-endian bytes of a tensor of f, in buf when it is large enough.
func (f *File) Read(info Info, buf []byte) ([]byte, error) {
	r, err := os.Open(f.Path)
	if err != nil {
		return nil, fault.Inputf("%s: cannot be opened: %w; check the path", f.Path, err)
	}
	defer r.Close()
	buf = slices.Grow(buf[:0], int(info.Size()))[:info.Size()]
	if _, err := r.ReadAt(buf, info.Begin); err != nil && info.Size() > 0 {
		return nil, fault.Inputf("%s: tensor %q cannot be read: %w; the file changed or is damaged, so copy it again", f.Path, info.Name, err)
	}
	return buf, nil
}

// dtypes lists the dtypes with their sizes, ordered as the reference implementation orders them: files
// begin with the tensors whose dtype comes last here, which aligns every tensor to its element size.
var dtypes = []struct {
	name string
	size int64 // bytes per element
}{
	{"BOOL", 1}, {"U8", 1}, {"I8", 1}, {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
	{"I16", 2}, {"U16", 2}, {"F16", 2}, {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},
	{"C64", 8}, {"F64", 8}, {"I64", 8}, {"U64", 8},
}

// dtypeRank is the place of a dtype in dtypes, or -1.
func dtypeRank(name string) int {
	for rank, d := range dtypes {
		if d.name == name {
			return rank
		}
	}
	return -1
}

// byteSize is the size of a tensor, computed so that no claim can overflow it.
func byteSize(dtype string, shape []int) (int64, error) {
	rank := dtypeRank(dtype)
	if rank < 0 {
		return 0, fmt.Errorf("unknown dtype %q; convert it to one of %s", dtype, dtypeNames())
	}
	size := uint64(dtypes[rank].size)
	for _, n := range shape {
		if n < 0 {
			return 0, fmt.Errorf("shape %v has a negative size; give sizes of at least 0", shape)
		}
		high, low := bits.Mul64(size, uint64(n))
		if high != 0 || low > 1<<62 {
			return 0, fmt.Errorf("shape %v is larger than any file; check the sizes", shape)
		}
		size = low
	}
	return int64(size), nil
}

func dtypeNames() string {
	names := make([]string, len(dtypes))
	for i, d := range dtypes {
		names[i] = d.name
	}
	return strings.Join(names, " ")
}

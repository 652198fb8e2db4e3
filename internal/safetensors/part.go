// Weights as a part of a folder: streamed from where they are, or copied first and written later.

package safetensors

import "salsa/internal/checkpoint"

// Source returns a tensor's little-endian bytes by its name.
type Source func(name string) ([]byte, error)

// Part is the part of a folder that write makes of tensors: write is WriteDir or WriteFile with all but folder and
// source decided. data is called once for each of specs, by Write or by Hold, and what it returns must stay as it is.
// A spec without a size is write's to refuse.
func Part(specs []Spec, data Source, write func(dir string, data Source) error) checkpoint.Part {
	p := checkpoint.Part{Write: func(dir string) error { return write(dir, data) }}
	for _, s := range specs {
		if n, err := byteSize(s.DType, s.Shape); err == nil {
			p.Live += n
		}
	}
	p.Hold = func() (func(dir string) error, error) {
		held := make(map[string][]byte, len(specs))
		for _, s := range specs {
			var err error
			if held[s.Name], err = data(s.Name); err != nil {
				return nil, err
			}
		}
		return func(dir string) error {
			return write(dir, func(name string) ([]byte, error) { return held[name], nil })
		}, nil
	}
	return p
}

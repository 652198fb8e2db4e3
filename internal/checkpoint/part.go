// A folder as a list of parts, so that what must be read while the weights stand still can be told from what only
// needs the disk: a training run copies the first and leaves the second to another goroutine.

package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
)

// Part is some of the files of a folder that is to be written.
type Part struct {
	// Write writes the files into dir, which exists.
	Write func(dir string) error
	// Live is how many bytes of weights Write reads as it goes. If it is not 0, Write belongs on the compute goroutine.
	Live int64
	// Hold copies those bytes and returns a Write that needs them no more. It is nil if Live is 0.
	Hold func() (write func(dir string) error, err error)
}

// File is the part that is one file of the given content, replaced whole or not at all.
func File(name string, content []byte) Part {
	return Part{Write: func(dir string) error { return WriteFileAtomic(filepath.Join(dir, name), content) }}
}

// WriteParts writes all parts into dir, in order; dir is made if need be.
func WriteParts(dir string, parts []Part) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("%s: cannot be made: %w; choose a writable place", dir, err)
	}
	for _, p := range parts {
		if err := p.Write(dir); err != nil {
			return err
		}
	}
	return nil
}

// LiveBytes is what HoldParts copies.
func LiveBytes(parts []Part) int64 {
	n := int64(0)
	for _, p := range parts {
		n += p.Live
	}
	return n
}

// HoldParts returns the same parts with the weights as they are now, for another goroutine to write.
func HoldParts(parts []Part) ([]Part, error) {
	held := make([]Part, len(parts))
	for i, p := range parts {
		held[i] = p
		if p.Live == 0 {
			continue
		}
		write, err := p.Hold()
		if err != nil {
			return nil, err
		}
		held[i] = Part{Write: write}
	}
	return held, nil
}

// In puts parts into a folder below the one that is written.
func In(sub string, parts []Part) []Part {
	below := make([]Part, len(parts))
	for i, p := range parts {
		below[i] = Part{Live: p.Live, Write: inside(sub, p.Write)}
		if p.Live == 0 {
			continue
		}
		below[i].Hold = func() (func(dir string) error, error) {
			write, err := p.Hold()
			return inside(sub, write), err
		}
	}
	return below
}

// inside is write for the folder sub of the one that it is given.
func inside(sub string, write func(dir string) error) func(dir string) error {
	return func(dir string) error { return WriteParts(filepath.Join(dir, sub), []Part{{Write: write}}) }
}

// Writing: a tensor or a piece of one in memory at a time, the bytes in the order and form in which the reference
// implementation writes them.

package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"salsa/internal/checkpoint"
)

// Spec is a tensor to be written.
type Spec struct {
	Name  string
	DType string // as in Info
	Shape []int
}

// WriteDir writes model.safetensors into dir, or, when the tensors take more than maxShardBytes in all
// (<= 0: no limit), shards of at most that many bytes (a larger tensor gets one of its own) and the index.
// Tensors go into shards in the order of specs. data returns a tensor's little-endian bytes; it is called
// once per tensor, and its result may be reused at the next call. metadata gains "format": "pt" if it has
// no format, without which transformers refuses the file. dir is made if need be. Everything is synced.
//
// Old weights in dir are replaced. Stopped midway, dir has the old weights or none, never a mixture; to
// replace a whole model folder in one step, call WriteDir inside checkpoint.Commit.
func WriteDir(dir string, specs []Spec, maxShardBytes int64, metadata map[string]string, data func(name string) ([]byte, error)) error {
	return StreamDir(dir, specs, maxShardBytes, metadata, whole(data))
}

// StreamDir is WriteDir for tensors that are larger than what is to be in memory: put writes a tensor's bytes to w, in
// pieces of any size, which it may use again as soon as w has returned.
func StreamDir(dir string, specs []Spec, maxShardBytes int64, metadata map[string]string, put func(name string, w io.Writer) error) error {
	shards, total, err := split(specs, maxShardBytes)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%s: cannot be made: %w; choose a writable place", dir, err)
	}
	if err := remove(dir, IndexName); err != nil {
		return err
	}
	if len(shards) == 1 {
		if err := streamFile(filepath.Join(dir, SingleName), shards[0], metadata, put); err != nil {
			return err
		}
		return removeShards(dir, 0)
	}
	if err := remove(dir, SingleName); err != nil {
		return err
	}
	index := indexFile{Metadata: indexMetadata{TotalSize: total}, WeightMap: map[string]string{}}
	for i, shard := range shards {
		name := shardName(i+1, len(shards))
		if err := streamFile(filepath.Join(dir, name), shard, metadata, put); err != nil {
			return err
		}
		for _, spec := range shard {
			index.WeightMap[spec.Name] = name
		}
	}
	if err := index.write(filepath.Join(dir, IndexName)); err != nil {
		return err
	}
	return removeShards(dir, len(shards))
}

// WriteFile writes one file, which replaces an old one whole or not at all. See WriteDir for data and
// metadata.
func WriteFile(path string, specs []Spec, metadata map[string]string, data func(name string) ([]byte, error)) error {
	return streamFile(path, specs, metadata, whole(data))
}

// whole makes one piece of a tensor.
func whole(data func(name string) ([]byte, error)) func(name string, w io.Writer) error {
	return func(name string, w io.Writer) error {
		raw, err := data(name)
		if err != nil {
			return err
		}
		_, err = w.Write(raw)
		return err
	}
}

func streamFile(path string, specs []Spec, metadata map[string]string, put func(name string, w io.Writer) error) error {
	if _, _, err := split(specs, 0); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	sorted := fileOrder(specs)
	header, err := encodeHeader(sorted, metadata)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return checkpoint.WriteAtomic(path, func(w io.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		for _, spec := range sorted {
			if err := writeTensor(w, spec, put); err != nil {
				return fmt.Errorf("tensor %q: %w", spec.Name, err)
			}
		}
		return nil
	})
}

func writeTensor(w io.Writer, spec Spec, put func(name string, w io.Writer) error) error {
	want, err := byteSize(spec.DType, spec.Shape)
	if err != nil {
		return err
	}
	counted := counter{w: w}
	if err := put(spec.Name, &counted); err != nil {
		return err
	}
	if counted.n != want {
		return fmt.Errorf("%s %v takes %d bytes and %d were given", spec.DType, spec.Shape, want, counted.n)
	}
	return nil
}

// counter counts the bytes of one tensor.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// split checks specs and cuts them into shards; there is at least one shard, if only an empty one.
func split(specs []Spec, limit int64) (shards [][]Spec, total int64, err error) {
	seen := map[string]bool{}
	shards = [][]Spec{nil}
	filled := int64(0)
	for _, spec := range specs {
		size, err := spec.check(seen)
		if err != nil {
			return nil, 0, fmt.Errorf("tensor %q: %w", spec.Name, err)
		}
		if limit > 0 && filled > 0 && filled+size > limit {
			shards, filled = append(shards, nil), 0
		}
		last := len(shards) - 1
		shards[last] = append(shards[last], spec)
		filled += size
		total += size
	}
	return shards, total, nil
}

// check returns the tensor's size and marks its name as seen.
func (s Spec) check(seen map[string]bool) (int64, error) {
	switch {
	case seen[s.Name]:
		return 0, errors.New("stands twice; give every tensor its own name")
	case s.Name == metadataKey:
		return 0, errors.New("is a reserved name; choose another one")
	case !utf8.ValidString(s.Name):
		return 0, errors.New("is not UTF-8; choose another name")
	}
	seen[s.Name] = true
	return byteSize(s.DType, s.Shape)
}

// fileOrder is the order of tensors in a file: large elements first, then by name.
func fileOrder(specs []Spec) []Spec {
	return slices.SortedFunc(slices.Values(specs), func(a, b Spec) int {
		return cmp.Or(cmp.Compare(dtypeRank(b.DType), dtypeRank(a.DType)), strings.Compare(a.Name, b.Name))
	})
}

type headerEntry struct {
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// encodeHeader returns the length and the JSON, padded with spaces so that the data begin at a multiple
// of 8 bytes. Keys keep the order of specs, so it is put together by hand.
func encodeHeader(specs []Spec, metadata map[string]string) ([]byte, error) {
	meta := maps.Clone(metadata)
	if meta == nil {
		meta = map[string]string{}
	}
	if meta["format"] == "" {
		meta["format"] = "pt"
	}
	out := bytes.NewBuffer(make([]byte, lengthBytes))
	out.WriteByte('{')
	if err := appendMember(out, metadataKey, meta); err != nil {
		return nil, err
	}
	end := int64(0)
	for _, spec := range specs {
		size, err := byteSize(spec.DType, spec.Shape)
		if err != nil {
			return nil, err
		}
		entry := headerEntry{spec.DType, append([]int{}, spec.Shape...), [2]int64{end, end + size}}
		out.WriteByte(',')
		if err := appendMember(out, spec.Name, entry); err != nil {
			return nil, err
		}
		end += size
	}
	out.WriteByte('}')
	for out.Len()%8 != 0 {
		out.WriteByte(' ')
	}
	length := out.Len() - lengthBytes
	if length > maxHeader {
		return nil, fmt.Errorf("a header of %d bytes is over the limit of %d; write fewer tensors per file", length, maxHeader)
	}
	binary.LittleEndian.PutUint64(out.Bytes(), uint64(length))
	return out.Bytes(), nil
}

// appendMember writes "key":value without the escapes that are only for HTML.
func appendMember(out *bytes.Buffer, key string, value any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(key); err != nil {
		return err
	}
	out.Truncate(out.Len() - 1) // Encode ends with a line feed
	out.WriteByte(':')
	if err := enc.Encode(value); err != nil {
		return err
	}
	out.Truncate(out.Len() - 1)
	return nil
}

type indexFile struct {
	Metadata  indexMetadata     `json:"metadata"`
	WeightMap map[string]string `json:"weight_map"` // the encoder sorts the keys
}

type indexMetadata struct {
	TotalSize int64 `json:"total_size"` // bytes of all tensors
}

func (x indexFile) write(path string) error {
	text, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return checkpoint.WriteFileAtomic(path, append(text, '\n'))
}

var shardPattern = regexp.MustCompile(`^model-[0-9]{5}-of-[0-9]{5}\.safetensors$`)

func shardName(i, n int) string { return fmt.Sprintf("model-%05d-of-%05d%s", i, n, suffix) }

// removeShards deletes shards in dir that are not of a split into n.
func removeShards(dir string, n int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: cannot be listed: %w; make it readable", dir, err)
	}
	current := fmt.Sprintf("-of-%05d%s", n, suffix)
	for _, e := range entries {
		if !shardPattern.MatchString(e.Name()) || n > 0 && strings.HasSuffix(e.Name(), current) {
			continue
		}
		if err := remove(dir, e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func remove(dir, name string) error {
	err := os.Remove(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: the old weights cannot be removed: %w; choose a writable folder", filepath.Join(dir, name), err)
	}
	return nil
}

// The weights of a model folder: model.safetensors, or shards that model.safetensors.index.json lists.

package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/fault"
)

const (
	// SingleName is the file of a model that is not split.
	SingleName = "model.safetensors"
	// IndexName is the file that maps tensors to shards.
	IndexName = "model.safetensors.index.json"

	suffix = ".safetensors"
)

// Dir is the set of tensors in a model folder.
type Dir struct {
	Path  string
	Files []*File // sorted by path

	places map[string]place
}

type place struct {
	file *File
	info Info
}

// Names returns the names of all tensors, sorted.
func (d *Dir) Names() []string {
	names := make([]string, 0, len(d.places))
	for name := range d.places {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Lookup finds a tensor and the file that holds it.
func (d *Dir) Lookup(name string) (file *File, info Info, ok bool) {
	p, ok := d.places[name]
	return p.file, p.info, ok
}

// OpenDir reads the headers of a folder's weights. With an index it refuses shards that are missing, that
// lack a tensor which the index puts there, or that hold one which it does not. Errors are input errors.
func OpenDir(dir string) (*Dir, error) {
	hasSingle, err := exists(filepath.Join(dir, SingleName))
	if err != nil {
		return nil, err
	}
	hasIndex, err := exists(filepath.Join(dir, IndexName))
	switch {
	case err != nil:
		return nil, err
	case hasIndex:
		return openSharded(dir, hasSingle)
	case hasSingle:
		return openSingle(dir)
	default:
		return nil, noWeights(dir)
	}
}

func openSingle(dir string) (*Dir, error) {
	file, err := ReadHeader(filepath.Join(dir, SingleName))
	if err != nil {
		return nil, err
	}
	d := &Dir{Path: dir, Files: []*File{file}, places: map[string]place{}}
	for _, info := range file.Infos {
		d.places[info.Name] = place{file, info}
	}
	return d, nil
}

// openSharded reads every shard that the index names and compares both sides.
func openSharded(dir string, hasSingle bool) (*Dir, error) {
	index := filepath.Join(dir, IndexName)
	weights, err := readIndex(index)
	if err != nil {
		return nil, err
	}
	shards := shardNames(weights)
	if hasSingle && !slices.Contains(shards, SingleName) {
		return nil, fault.Inputf("%s: holds both %s and %s, which disagree; delete the one that is out of date", dir, SingleName, IndexName)
	}
	d := &Dir{Path: dir, places: map[string]place{}}
	for _, shard := range shards {
		path := filepath.Join(dir, shard)
		if found, err := exists(path); err == nil && !found {
			return nil, fault.Inputf("%s: shard %s is missing; download it or all of the model again", index, shard)
		}
		file, err := ReadHeader(path)
		if err != nil {
			return nil, err
		}
		d.Files = append(d.Files, file)
		if err := d.addShard(file, shard, weights); err != nil {
			return nil, err
		}
	}
	missing := []string{}
	for name := range weights {
		if _, ok := d.places[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, fault.Inputf("%s: lists tensor %q in shard %s, which lacks it (%d such in all); download the model again",
			index, missing[0], weights[missing[0]], len(missing))
	}
	return d, nil
}

// addShard takes in a shard's tensors, each of which the index must put into this shard.
func (d *Dir) addShard(file *File, shard string, weights map[string]string) error {
	for _, info := range file.Infos {
		switch listed, ok := weights[info.Name]; {
		case !ok:
			return fault.Inputf("%s: holds tensor %q, which %s does not list; download the model again", file.Path, info.Name, IndexName)
		case listed != shard:
			return fault.Inputf("%s: holds tensor %q, which %s puts into %s; download the model again", file.Path, info.Name, IndexName, listed)
		}
		d.places[info.Name] = place{file, info}
	}
	return nil
}

// readIndex returns the index's map from tensor to shard.
func readIndex(path string) (map[string]string, error) {
	raw, err := readSmall(path)
	if err != nil {
		return nil, fault.Inputf("%s: %w", path, err)
	}
	var weights map[string]string
	dec := newDecoder(raw)
	err = object(dec, func(key string) (err error) {
		if key == "weight_map" {
			weights, err = stringMap(dec)
			return err
		}
		var ignored json.RawMessage // "metadata" and what later versions add do not say where tensors are
		return dec.Decode(&ignored)
	})
	if err != nil {
		return nil, fault.Inputf("%s: %w", path, err)
	}
	if len(weights) == 0 {
		return nil, fault.Inputf("%s: has no weight_map; download it again", path)
	}
	for _, shard := range shardNames(weights) {
		// A shard elsewhere would let a downloaded index read any file.
		if shard != filepath.Base(shard) || strings.ContainsAny(shard, `/\`) || !strings.HasSuffix(shard, suffix) {
			return nil, fault.Inputf("%s: shard %q is not the name of a %s file in this folder; correct the index", path, shard, suffix)
		}
	}
	return weights, nil
}

// readSmall reads a JSON file of at most maxHeader bytes.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be opened: %w; make it readable", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxHeader+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read: %w; make it readable", err)
	case len(raw) > maxHeader:
		return nil, fmt.Errorf("is larger than %d bytes; %s", maxHeader, again)
	case !json.Valid(raw):
		return nil, fmt.Errorf("is not valid JSON; %s", again)
	}
	return raw, nil
}

func shardNames(weights map[string]string) []string {
	shards := []string{}
	for _, shard := range weights {
		shards = append(shards, shard)
	}
	slices.Sort(shards)
	return slices.Compact(shards)
}

// noWeights says what the folder holds instead, where that tells the remedy.
func noWeights(dir string) error {
	if found, _ := exists(filepath.Join(dir, "adapter_model.safetensors")); found {
		return fault.Inputf("%s: holds a LoRA adapter and no %s; give the model it was trained on and the adapter apart", dir, SingleName)
	}
	for _, name := range []string{"pytorch_model.bin", "pytorch_model.bin.index.json"} {
		if found, _ := exists(filepath.Join(dir, name)); found {
			return fault.Inputf("%s: holds %s and no %s; convert it with transformers' save_pretrained", dir, name, SingleName)
		}
	}
	return fault.Inputf("%s: holds neither %s nor %s; give the folder of a Hugging Face model", dir, SingleName, IndexName)
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fault.Inputf("%s: cannot be looked up: %w; check the path", path, err)
	}
}

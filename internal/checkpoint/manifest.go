// The manifest of a committed folder: every file with its size and SHA-256, sorted by path. A folder is
// intact when all of them are there, as they were written.

package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/fault"
)

// ManifestName is the file that lists all others of a committed folder. It is written last.
const ManifestName = "manifest.json"

const manifestVersion = 1

type manifest struct {
	Version int     `json:"version"`
	Files   []entry `json:"files"`
}

type entry struct {
	Path   string `json:"path"` // relative to the folder, with forward slashes
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// encode returns the one byte form a manifest may have: readManifest compares with it, so that no
// flipped byte goes unseen, not even one between two values.
func (m manifest) encode() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", " ")
	return append(data, '\n'), err
}

// seal syncs everything below dir, writes the manifest and syncs the folders.
func seal(dir string) error {
	m := manifest{Version: manifestVersion, Files: []entry{}}
	folders := []string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			folders = append(folders, path)
			return nil
		}
		e, err := sealFile(dir, path, d)
		m.Files = append(m.Files, e)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: cannot be sealed: %w%s", dir, err, remedy(err))
	}
	slices.SortFunc(m.Files, func(a, b entry) int { return strings.Compare(a.Path, b.Path) })
	data, err := m.encode()
	if err != nil {
		return fmt.Errorf("%s: its manifest cannot be encoded: %w", dir, err)
	}
	if err := WriteFileAtomic(filepath.Join(dir, ManifestName), data); err != nil {
		return err
	}
	slices.Reverse(folders) // children before the folder that names them
	for _, folder := range folders {
		if err := syncDir(folder); err != nil {
			return err
		}
	}
	return nil
}

// sealFile hashes and syncs one file.
func sealFile(dir, path string, d fs.DirEntry) (entry, error) {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return entry{}, err
	}
	if !d.Type().IsRegular() {
		return entry{}, fmt.Errorf("%s is a link or a device; a checkpoint holds plain files only", rel)
	}
	if rel == ManifestName {
		return entry{}, fmt.Errorf("%s is the manifest's own name; give the file another one", rel)
	}
	f, err := os.Open(path)
	if err != nil {
		return entry{}, err
	}
	defer f.Close()
	sum, size, known := recall(path, f)
	if !known {
		if sum, size, err = digest(f); err != nil {
			return entry{}, err
		}
	}
	return entry{Path: filepath.ToSlash(rel), Size: size, SHA256: sum}, syncFile(f)
}

// Verify returns nil when every file that dir's manifest lists is there with its size and SHA-256.
// Otherwise the error, one line, names the first bad file in the order of paths. Files that the manifest
// does not list are no damage and are passed over.
func Verify(dir string) error { return verify(dir, true) }

// verify checks dir against its manifest; without hashes it reads only the manifest and file sizes.
func verify(dir string, hashes bool) error {
	m, err := readManifest(dir)
	if err != nil {
		return err
	}
	for _, e := range m.Files {
		if err := e.check(dir, hashes); err != nil {
			return fault.Inputf("%s: %w; restore it from a copy or use another checkpoint", filepath.Join(dir, e.Path), err)
		}
	}
	return nil
}

func (e entry) check(dir string, hashes bool) error {
	path := filepath.Join(dir, filepath.FromSlash(e.Path))
	stat, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("is missing")
	case err != nil:
		return fmt.Errorf("cannot be read: %w", err)
	case !stat.Mode().IsRegular():
		return errors.New("is not a file")
	case stat.Size() != e.Size:
		return fmt.Errorf("has %d bytes where the manifest says %d", stat.Size(), e.Size)
	case !hashes:
		return nil
	}
	sum, _, err := digestFile(path)
	if err == nil && sum != e.SHA256 {
		err = errors.New("has other bytes than were written (its SHA-256 differs from the manifest's)")
	}
	return err
}

// readManifest reads the manifest of dir and refuses any byte that encode would not have written.
func readManifest(dir string) (manifest, error) {
	path := filepath.Join(dir, ManifestName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, fault.Inputf("%s: is missing, so the folder is no finished checkpoint; use another one", path)
	}
	if err != nil {
		return manifest{}, fault.Inputf("%s: cannot be read: %w; make it readable or use another checkpoint", path, err)
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return manifest{}, fault.Inputf("%s: is damaged: %w; restore it from a copy or use another checkpoint", path, err)
	}
	if m.Version != manifestVersion {
		return manifest{}, fault.Inputf("%s: has version %d and only %d is known; use the salsa that wrote it", path, m.Version, manifestVersion)
	}
	for _, e := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(e.Path)) {
			return manifest{}, fault.Inputf("%s: lists %q, which leads out of the folder; use another checkpoint", path, e.Path)
		}
	}
	if again, err := m.encode(); err != nil || !bytes.Equal(again, data) {
		return manifest{}, fault.Inputf("%s: is damaged: not in the form it was written in; restore it from a copy or use another checkpoint", path)
	}
	return m, nil
}

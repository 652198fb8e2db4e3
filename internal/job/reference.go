package job

// The pinned reference of a PPO run: what it was made of, by content.

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/soup"
)

// pinned is reference.json.
type pinned struct {
	Expression string   `json:"expression"`
	Members    []member `json:"members"`
}

type member struct {
	Dir    string  `json:"dir"`
	Weight float64 `json:"weight"`
	SHA256 string  `json:"sha256"` // of its weight files
}

// pinReference returns what reference.json must hold, and holds a resumed run to the reference it began with: one that
// changed would make the KL of the two halves incomparable.
func pinReference(path string, e soup.Expr) ([]byte, error) {
	now := pinned{Expression: e.String()}
	for i, dir := range e.Dirs {
		sum, err := hashWeights(dir)
		if err != nil {
			return nil, err
		}
		now.Members = append(now.Members, member{Dir: dir, Weight: e.Weights[i], SHA256: sum})
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = json.MarshalIndent(now, "", "  ")
		return append(raw, '\n'), err
	}
	if err != nil {
		return nil, err
	}
	var was pinned
	if err := json.Unmarshal(raw, &was); err != nil {
		return nil, fault.Inputf("%s: %w; delete the run folder and start again", path, err)
	}
	for i, m := range was.Members {
		if i >= len(now.Members) || now.Members[i].SHA256 != m.SHA256 || now.Members[i].Weight != m.Weight {
			return nil, fault.Inputf("%s: the reference %s has changed since the run began (member %s); put the old weights back, or start a new run in another --out", path, was.Expression, m.Dir)
		}
	}
	return raw, nil
}

// hashWeights hashes the weight files of a folder in the order of their names.
func hashWeights(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return "", err
	}
	slices.SortFunc(files, strings.Compare)
	return checkpoint.HashFiles(files...)
}

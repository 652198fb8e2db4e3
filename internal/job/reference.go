package job

// The frozen models of a run, its reference first: what they are made of, by content.

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
)

const ( // in a run folder
	referenceFile = "reference.json"
	rewardFile    = "reward-model.json"
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

// describe hashes the members of a reference.
func describe(e soup.Expr) (pinned, error) {
	now := pinned{Expression: e.String()}
	for i, dir := range e.Dirs {
		sum, err := hashWeights(dir)
		if err != nil {
			return pinned{}, err
		}
		now.Members = append(now.Members, member{Dir: dir, Weight: e.Weights[i], SHA256: sum})
	}
	return now, nil
}

// pin returns what the file at path must hold of the frozen models that a run depends on, and refuses them if they
// changed since it began: the KL to a reference that changed would make the two halves of a run incomparable.
func pin(path, what string, e soup.Expr) ([]byte, error) {
	now, err := describe(e)
	if err != nil {
		return nil, err
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
			return nil, fault.Inputf("%s: the %s %s has changed since the run began (member %s); put the old weights back, or start a new run in another --out", path, what, was.Expression, m.Dir)
		}
	}
	return raw, nil
}

// frozenInput is a model, or several, that a run depends on and does not train: the file of the run folder that tells it
// by content, and what messages call it. One without folders is nothing.
type frozenInput struct {
	file, what string
	models     soup.Expr
}

// pinnedFile is such a file.
type pinnedFile struct {
	name string
	raw  []byte
}

// hold returns what the run folder must hold of its frozen inputs, and holds a resumed run to those it began with.
func (r *runFolder) hold(inputs []frozenInput) error {
	for _, in := range inputs {
		if len(in.models.Dirs) == 0 {
			continue
		}
		raw, err := pin(r.path(in.file), in.what, in.models)
		if err != nil {
			return err
		}
		r.pins = append(r.pins, pinnedFile{in.file, raw})
	}
	return nil
}

// hashWeights hashes the weight files of a folder in the order of their names; those of a PEFT folder and of its base.
func hashWeights(dir string) (string, error) {
	base, err := models.BaseOf(dir)
	if err != nil {
		return "", err
	}
	var all []string
	for _, at := range slices.Compact([]string{base, dir}) {
		files, err := filepath.Glob(filepath.Join(at, "*.safetensors"))
		if err != nil {
			return "", err
		}
		slices.Sort(files)
		all = append(all, files...)
	}
	return checkpoint.HashFiles(all...)
}

// referenceID names all that a reference's log-probabilities depend on but the rows: weights, configs, shares, and the
// arithmetic they are computed in. Folders do not count, so a copy of a model is the same model.
func referenceID(e soup.Expr, opt models.Options) (string, error) {
	now, err := describe(e)
	if err != nil {
		return "", err
	}
	kind, _, _ := strings.Cut(opt.Device.String(), ":") // one GPU is like the next
	id := opt.DType.String() + " " + kind
	for i, m := range now.Members {
		config, err := hashConfig(e.Dirs[i])
		if err != nil {
			return "", err
		}
		id += " " + strconv.FormatFloat(m.Weight, 'g', -1, 64) + "*" + m.SHA256 + "/" + config
	}
	return id, nil
}

// hashConfig hashes what a folder's weights are computed with.
func hashConfig(dir string) (string, error) {
	base, err := models.BaseOf(dir)
	if err != nil {
		return "", err
	}
	sum, err := checkpoint.HashFile(filepath.Join(base, "config.json"))
	if err != nil || base == dir {
		return sum, err
	}
	adapter, err := checkpoint.HashFile(filepath.Join(dir, "adapter_config.json"))
	return sum + "+" + adapter, err
}

// memberDirs lists the folders inside a reference expression; none if it cannot be read, of which Validate says why.
func memberDirs(expression string) []string {
	e, err := soup.ParseExpr(expression, true)
	if err != nil {
		return nil
	}
	return e.Dirs
}

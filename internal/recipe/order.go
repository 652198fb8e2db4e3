package recipe

// Execution order and stage keys: both follow the graph of what needs what.

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"salsa/internal/fault"
)

// order sorts stages so that each comes after those it needs, keeping the order of the file wherever it can. A cycle
// is an error that spells it out.
func order(stages []*Stage) ([]*Stage, error) {
	var out []*Stage
	place := map[string]int{}
	for len(out) < len(stages) {
		next := slices.IndexFunc(stages, func(s *Stage) bool {
			_, done := place[s.Name]
			return !done && !slices.ContainsFunc(s.Needs, func(n string) bool { _, ok := place[n]; return !ok })
		})
		if next < 0 {
			return nil, cycle(stages, place)
		}
		place[stages[next].Name] = len(out)
		out = append(out, stages[next])
	}
	for _, s := range out {
		slices.SortFunc(s.Needs, func(a, b string) int { return place[a] - place[b] })
	}
	return out, nil
}

// cycle follows unmet needs from the first stage that cannot run until a name repeats.
func cycle(stages []*Stage, placed map[string]int) error {
	byName := map[string]*Stage{}
	var at *Stage
	for _, s := range stages {
		byName[s.Name] = s
		if _, done := placed[s.Name]; !done && at == nil {
			at = s
		}
	}
	var path []string
	for !slices.Contains(path, at.Name) {
		path = append(path, at.Name)
		for _, n := range at.Needs {
			if _, done := placed[n]; !done {
				at = byName[n]
				break
			}
		}
	}
	loop := append(path[slices.Index(path, at.Name):], at.Name)
	return fault.Inputf("%s: stages need one another in a circle: %s", at.Where, strings.Join(loop, " needs "))
}

// key returns a stage's key: the hash of its kind, its options, the program's version of the kind, the content of
// the files it reads from outside the run, and the keys of the stages it needs, which stand in r.state. Equal keys mean
// equal results. Of a stage that it needs for a choice alone, the value chosen counts, which is among its options.
func (r *Runner) key(s *Stage) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "kind %s\noptions %s\n", s.Kind, s.hash)
	if r.Version != nil {
		fmt.Fprintf(sum, "version %s\n", r.Version(s.Kind))
	}
	for _, path := range r.external(s) {
		digest, err := r.Digest(path)
		if err != nil {
			return "", fault.Inputf("%s: stage %s: cannot read its input: %w", s.Where, s.Name, err)
		}
		fmt.Fprintf(sum, "input %s\n", digest)
	}
	for _, need := range slices.Sorted(slices.Values(s.Needs)) { // by name: reordering the file changes no key
		if !slices.Contains(s.orderOnly, need) {
			fmt.Fprintf(sum, "needs %s\n", r.state.find(need).Key)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// external lists the stage's input paths outside the run folder; those inside are other stages' results, which their
// keys stand for.
func (r *Runner) external(s *Stage) []string {
	var out []string
	for _, path := range s.inputs {
		if !inside(r.Plan.Out, path) {
			out = append(out, path)
		}
	}
	return out
}

package soup

// Shares: how much of each member goes into a weight, the same everywhere or by layer.

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"salsa/internal/fault"
)

// Shares returns the members' shares of the weight with a name. They add up to 1, and callers leave them as they are.
type Shares func(name string) []float64

// Fixed are the same shares for every weight.
func Fixed(weights ...float64) Shares { return func(string) []float64 { return weights } }

// LayerRule gives the weights that it matches shares of their own.
type LayerRule struct {
	Text    string // as it was written, for messages
	Which   string // its left side
	Weights []float64
	match   func(name string) bool
}

// layerRange is the form layers.FROM-TO or layers.N of a rule's left side.
var layerRange = regexp.MustCompile(`^layers\.(\d+)(?:-(\d+))?$`)

// layerNumber finds the number of the layer that a weight belongs to.
var layerNumber = regexp.MustCompile(`(?:^|\.)layers\.(\d+)\.`)

// ParseLayerRule reads WHICH=w,w… for n members. WHICH is layers.0-15 or layers.3, ends included, or a regular
// expression (RE2) that is looked for in the weight's name, such as mlp or embed_tokens|lm_head.
func ParseLayerRule(text string, n int, extrapolate bool) (LayerRule, error) {
	i := strings.LastIndex(text, "=")
	if i <= 0 {
		return LayerRule{}, fault.Inputf("layer weights %q: want WHICH=w,w such as layers.0-15=0.7,0.3", text)
	}
	which, list := strings.TrimSpace(text[:i]), text[i+1:]
	if !numbers(list) {
		return LayerRule{}, fault.Inputf("layer weights %q: %q is no list of numbers; give one per member, such as 0.7,0.3", text, list)
	}
	var given []float64
	for _, w := range strings.Split(list, ",") {
		v, _ := strconv.ParseFloat(strings.TrimSpace(w), 64)
		given = append(given, v)
	}
	rule := LayerRule{Text: text, Which: which}
	var err error
	if rule.Weights, err = Weights(given, n, extrapolate); err != nil {
		return rule, fault.Inputf("layer weights %q: %w", text, err)
	}
	rule.match, err = matcher(which)
	return rule, err
}

func matcher(which string) (func(name string) bool, error) {
	if m := layerRange.FindStringSubmatch(which); m != nil {
		from, errFrom := strconv.Atoi(m[1])
		to, errTo := from, error(nil)
		if m[2] != "" {
			to, errTo = strconv.Atoi(m[2])
		}
		if errFrom != nil || errTo != nil || to < from {
			return nil, fault.Inputf("layer weights %q: want layers.FROM-TO with FROM <= TO", which)
		}
		return func(name string) bool {
			m := layerNumber.FindStringSubmatch(name)
			if m == nil {
				return false
			}
			layer, err := strconv.Atoi(m[1])
			return err == nil && from <= layer && layer <= to
		}, nil
	}
	re, err := regexp.Compile(which)
	if err != nil {
		return nil, fault.Inputf("layer weights %q: neither layers.FROM-TO nor a regular expression: %w", which, err)
	}
	return re.MatchString, nil
}

// ByLayer gives each weight the shares of the first rule that matches its name, and otherwise those of rest.
func ByLayer(rules []LayerRule, rest []float64) Shares {
	return func(name string) []float64 {
		for _, r := range rules {
			if r.match(name) {
				return r.Weights
			}
		}
		return rest
	}
}

// Decided counts the weights that each rule decides about, the first that matches; the last count is of those that no rule
// matches.
func (m *Members) Decided(rules []LayerRule) []int {
	counts := make([]int, len(rules)+1)
	for _, name := range m.Checkpoints[0].Names() {
		i := slices.IndexFunc(rules, func(r LayerRule) bool { return r.match(name) })
		if i < 0 {
			i = len(rules)
		}
		counts[i]++
	}
	return counts
}

// CheckRules refuses a rule that decides about no weight of the members: its left side is misspelt, or rules before it
// match all that it does.
func (m *Members) CheckRules(rules []LayerRule) error {
	counts := m.Decided(rules)
	for i, r := range rules {
		if counts[i] == 0 {
			return fault.Inputf("layer weights %q decide about no weight of %s, whose weights are named as %s is, or earlier rules come first; see them with salsa inspect",
				r.Text, m.Checkpoints[0].Dir, m.Checkpoints[0].Names()[1])
		}
	}
	return nil
}

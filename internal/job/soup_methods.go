package job

// The operators of salsa soup: which options each reads, and the recipe that the options stand for.

import (
	"context"
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/internal/options"
	"salsa/models"
	"salsa/soup"
)

// MethodOptions are the options of single operators. One that the operator does not read is refused.
type MethodOptions struct {
	BaseModel    string   `yaml:"base" input:"path" arg:"DIR" help:"model that the members were fine-tuned from: task vectors are taken from it (task_arithmetic, ties, dare_*, model_stock; slerp: WARP's, else of raw weights), and --liti goes towards it"`
	T            float64  `yaml:"t" help:"slerp: how far from the first member to the second"`
	Density      float64  `yaml:"density" help:"ties: share of the entries, the largest, that is kept; dare_*: probability of keeping one; needed by both" check:">=0,<=1"`
	Lambda       float64  `yaml:"lambda" help:"task_arithmetic, ties, dare_*: factor of the mixed task vector; shares sum to 1, so n members' sum is --lambda n" check:">=0"`
	Rescale      string   `yaml:"rescale" enum:"density,l1,none" help:"dare_*: kept entries are divided by the density, or brought to the L1 norm from before (mergekit's), or left"`
	Consensus    string   `yaml:"consensus" enum:"mean,sum" help:"ties, dare_ties: mean of the entries whose sign won, or their sum (mergekit's dare_ties)"`
	Mu           float64  `yaml:"mu" help:"ema: step towards each next member, in their order" check:">0,<=1"`
	LayerWeights []string `yaml:"layer_weights" sep:"none" arg:"WHICH=W,W" help:"shares of the weights that WHICH names: layers.0-15, layers.3, or a regular expression in the weight's name; the first that matches counts, --weights the rest"`
	GreedyMetric string   `yaml:"greedy_metric" enum:"loss,reward,gold,accuracy" help:"greedy: held-out loss, reward or gold of samples; accuracy on pairs if the members are reward models"`
	GreedyStrict bool     `yaml:"greedy_strict" help:"greedy: take a member only if the soup gets better; else also if it stays equal"`
	LITI         float64  `yaml:"liti" help:"keep this share of the soup and 1 minus it of --base, WARP's last step; 0: all of the soup" check:">=0"`
}

func defaultMethod() MethodOptions {
	return MethodOptions{T: .5, Lambda: 1, Rescale: "density", Consensus: "mean", Mu: .01, GreedyMetric: "loss"}
}

// soupMethod is one operator.
type soupMethod struct {
	name      string
	reads     []string // its options, by key, beyond those that all read
	needsBase bool
	pair      bool // mixes two members, no more
	recipe    func(o *SoupOptions, s soup.Shares) soup.Recipe
}

var shared = []string{"weights", "layer_weights"}

// soupMethods are the operators in the order of the help; those without a recipe find shares and mix linearly.
var soupMethods = []soupMethod{
	{name: "linear", reads: shared},
	{name: "slerp", reads: []string{"base", "t", "layer_weights"}, pair: true,
		recipe: func(_ *SoupOptions, s soup.Shares) soup.Recipe { return soup.Slerp(s) }},
	{name: "task_arithmetic", reads: append([]string{"base", "lambda"}, shared...), needsBase: true,
		recipe: func(o *SoupOptions, s soup.Shares) soup.Recipe { return soup.TaskArithmetic(s, o.Lambda) }},
	{name: "ties", reads: append([]string{"base", "lambda", "density", "consensus"}, shared...), needsBase: true,
		recipe: func(o *SoupOptions, s soup.Shares) soup.Recipe {
			return soup.TIES(s, o.Density, o.Lambda, o.consensus())
		}},
	{name: "dare_linear", reads: append([]string{"base", "lambda", "density", "rescale", "seed"}, shared...), needsBase: true,
		recipe: func(o *SoupOptions, s soup.Shares) soup.Recipe {
			return soup.DARE(s, o.Density, o.Lambda, soup.AllSigns, o.rescale(), o.Seed)
		}},
	{name: "dare_ties", reads: append([]string{"base", "lambda", "density", "rescale", "seed", "consensus"}, shared...), needsBase: true,
		recipe: func(o *SoupOptions, s soup.Shares) soup.Recipe {
			return soup.DARE(s, o.Density, o.Lambda, o.consensus(), o.rescale(), o.Seed)
		}},
	{name: "model_stock", reads: []string{"base"}, needsBase: true,
		recipe: func(*SoupOptions, soup.Shares) soup.Recipe { return soup.ModelStock() }},
	{name: "greedy", reads: append([]string{"greedy_metric", "greedy_strict"}, measuring...)},
	{name: "ema", reads: []string{"mu"}},
}

// measuring are the keys that are read where soups are measured.
var measuring = []string{"eval_data", "holdout", "max_rows", "reward_model", "gold", "max_new_tokens", "temperature", "top_k",
	"top_p", "min_p", "seed", "batch_size"}

var probing = []string{"probe_alphas", "probe_radii", "probe_directions", "probe_normalize"}

func (o *SoupOptions) consensus() soup.Consensus {
	if o.Consensus == "sum" {
		return soup.AgreeingSum
	}
	return soup.AgreeingMean
}

func (o *SoupOptions) rescale() soup.Rescale {
	return map[string]soup.Rescale{"density": soup.ByDensity, "l1": soup.ByL1, "none": soup.NotRescaled}[o.Rescale]
}

// reads tells whether the operator, or what is measured beside it, reads a key.
func (o *SoupOptions) reads(m *soupMethod, key string) bool {
	switch {
	case slices.Contains(m.reads, key), key == "base" && o.LITI > 0:
		return true
	case slices.Contains(probing, key):
		return o.Probe
	case slices.Contains(measuring, key):
		return o.Sweep != "" || o.Probe
	}
	return false
}

// gated are the keys that not all operators read.
func gated() (keys []string) {
	for _, m := range soupMethods {
		keys = append(keys, m.reads...)
	}
	return slices.Concat(keys, measuring, probing)
}

// Reads tells whether the operator, or what is measured beside it, reads a key.
func (o *SoupOptions) Reads(key string) bool {
	at := slices.IndexFunc(soupMethods, func(m soupMethod) bool { return m.name == o.Method })
	return at < 0 || !slices.Contains(gated(), key) || o.reads(&soupMethods[at], key)
}

// unread refuses options that would change nothing.
func (o *SoupOptions) unread(m *soupMethod) error {
	defaults := DefaultSoup()
	now, was := options.Of(o), options.Of(&defaults)
	for _, key := range gated() {
		a, _ := now.Get(key)
		b, _ := was.Get(key)
		if a == b || o.reads(m, key) {
			continue
		}
		flag := "--" + strings.ReplaceAll(key, "_", "-")
		return fault.Inputf("%s is not read by --method %s; leave it out, or %s", flag, m.name, o.readers(key))
	}
	return nil
}

// readers says what would read a key.
func (o *SoupOptions) readers(key string) string {
	var names, also []string
	for _, m := range soupMethods {
		if slices.Contains(m.reads, key) {
			names = append(names, m.name)
		}
	}
	switch {
	case slices.Contains(probing, key):
		return "add --probe"
	case slices.Contains(measuring, key):
		also = []string{"--sweep", "--probe"}
	case key == "base":
		also = []string{"--liti"}
	}
	text := "choose --method " + strings.Join(names, ", ")
	if len(also) > 0 {
		text += ", or add " + strings.Join(also, " or ")
	}
	return text
}

// soupPlan is what the options ask for, checked.
type soupPlan struct {
	method *soupMethod
	shares []float64 // of every weight that no rule gives others; nil where the operator finds them
	rules  []soup.LayerRule
	grid   []float64 // of the sweep
}

// plan checks everything that needs no file.
func (o *SoupOptions) plan() (*soupPlan, error) {
	at := slices.IndexFunc(soupMethods, func(m soupMethod) bool { return m.name == o.Method })
	p := &soupPlan{method: &soupMethods[at]}
	if err := o.checkMethod(p.method); err != nil {
		return nil, err
	}
	var err error
	switch n := len(o.Members); o.Method {
	case "slerp":
		p.shares = []float64{1 - o.T, o.T}
	case "ema":
		p.shares = soup.EMAWeights(n, o.Mu)
	case "greedy", "model_stock":
	default:
		p.shares, err = soup.Weights(o.Weights, n, o.Extrapolate)
	}
	if err != nil {
		return nil, err
	}
	for _, text := range o.LayerWeights {
		rule, err := soup.ParseLayerRule(text, len(o.Members), o.Extrapolate)
		if err != nil {
			return nil, err
		}
		p.rules = append(p.rules, rule)
	}
	if p.grid, err = o.grid(); err != nil {
		return nil, err
	}
	return p, o.checkProbe()
}

// checkMethod refuses options that do not make sense for the operator.
func (o *SoupOptions) checkMethod(m *soupMethod) error {
	if err := o.unread(m); err != nil {
		return err
	}
	takesDensity := slices.Contains(m.reads, "density")
	switch {
	case m.pair && len(o.Members) != 2:
		return fault.Inputf("--method %s goes from one member to another; %d are given: give two", m.name, len(o.Members))
	case m.needsBase && o.BaseModel == "":
		return fault.Inputf("--method %s needs --base: the folder of the model that the members were fine-tuned from", m.name)
	case o.LITI > 0 && o.BaseModel == "":
		return fault.Inputf("--liti needs --base: the folder of the model to go towards")
	case takesDensity && o.Density == 0:
		return fault.Inputf("--method %s needs --density: the share of each task vector that is kept, such as 0.2", m.name)
	case o.T < 0 && !o.Extrapolate, o.T > 1 && !o.Extrapolate:
		return fault.Inputf("--t %g is outside [0, 1]; add --extrapolate if you mean it", o.T)
	case o.LITI > 1 && !o.Extrapolate:
		return fault.Inputf("--liti %g is outside [0, 1]; add --extrapolate if you mean it", o.LITI)
	case o.Sweep != "" && m.name != "linear" && m.name != "slerp":
		return fault.Inputf("--sweep is not read by --method %s; choose linear or slerp, or leave it out", m.name)
	case m.name == "greedy" && len(o.EvalData) == 0:
		return fault.Inputf("--method greedy needs --eval-data: rows to measure on")
	}
	return nil
}

// recipe is the operator with its options, once greedy has made its choice.
func (o *SoupOptions) recipe(ctx context.Context, p *soupPlan, members *soup.Members, opt models.Options, scalars map[string]float64) (r soup.Recipe, err error) {
	if o.Method == "greedy" {
		if p.shares, err = o.greedy(ctx, members, opt, scalars); err != nil {
			return nil, err
		}
	}
	o.announce(p, members)
	shares := soup.ByLayer(p.rules, p.shares)
	r = soup.Linear(shares)
	if p.method.recipe != nil {
		r = p.method.recipe(o, shares)
	}
	if o.LITI > 0 {
		r = soup.LITI(r, o.LITI)
	}
	return r, nil
}

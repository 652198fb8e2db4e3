package job

// salsa soup: mix checkpoints by one of several operators, and measure what lies between and around them.

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
)

// SoupOptions are the options of `salsa soup`.
type SoupOptions struct {
	Members     []string  `yaml:"members" required:"true" input:"path" arg:"DIRS" help:"folders to mix, language or reward models; also the arguments of the command"`
	Out         string    `yaml:"out" required:"true" arg:"DIR" help:"folder of the soup" hash:"-"`
	Method      string    `yaml:"method" enum:"linear,slerp,task_arithmetic,ties,dare_linear,dare_ties,model_stock,greedy,ema" help:"how weights are combined"`
	Weights     []float64 `yaml:"weights" help:"share of each member, scaled to sum to 1; empty: equal shares"`
	Extrapolate bool      `yaml:"extrapolate" help:"allow shares, --t and --liti outside [0, 1]"`
	StoreDType  string    `yaml:"store_dtype" enum:"member,float32,bfloat16,float16" help:"type of the weights on disk"`
	// The name is that of the commands that train, whose rows are compared too.
	AllowTemplateMismatch bool `yaml:"allow_template_mismatch" help:"mix members although they were trained with different chat templates; the soup carries what lies in the first one's folder" hash:"-"`
	MaxShardMB            int  `yaml:"max_shard_mb" help:"size of a weights file; 0: one file" unit:"MB" check:">=0"`
	MethodOptions         `group:"Methods"`
	SweepOptions          `group:"Measuring"`
	MeasureOptions        `group:"Measuring"`
	ProbeOptions          `group:"Measuring"`
	Base                  `group:"Machine"`
}

// DefaultSoup returns the defaults.
func DefaultSoup() SoupOptions {
	return SoupOptions{Method: "linear", StoreDType: "member", Base: defaultBase(), MethodOptions: defaultMethod(),
		MeasureOptions: MeasureOptions{Gold: "none", Sampling: defaultSampling()}, ProbeOptions: defaultProbe()}
}

// Soup runs the job.
func Soup(ctx context.Context, o *SoupOptions) (scalars map[string]float64, err error) {
	plan, err := o.plan()
	if err != nil {
		return nil, err
	}
	members, err := o.open(plan)
	if err != nil {
		return nil, err
	}
	defer members.Close()
	if err := checkpoint.PrepareOut(o.Out, false); err != nil {
		return nil, err
	}
	scalars = map[string]float64{}
	err = compute(&o.Base, func(opt models.Options) error {
		recipe, err := o.recipe(ctx, plan, members, opt, scalars)
		if err != nil {
			return err
		}
		if plan.grid != nil {
			if err := o.sweep(ctx, plan.grid, members, opt, scalars); err != nil {
				return err
			}
		}
		if o.Probe {
			if err := o.probe(ctx, plan, members, opt, scalars); err != nil {
				return err
			}
		}
		return o.write(ctx, members, recipe)
	})
	return scalars, err
}

// open opens all folders by their headers and refuses what does not fit.
func (o *SoupOptions) open(plan *soupPlan) (members *soup.Members, err error) {
	if o.BaseModel != "" {
		members, err = soup.OpenWithBase(o.BaseModel, o.Members)
	} else {
		members, err = soup.Open(o.Members)
	}
	if err != nil {
		return nil, err
	}
	if err = o.checkTypes(members); err == nil {
		err = o.checkTemplates()
	}
	if err == nil {
		err = members.CheckRules(plan.rules)
	}
	if err == nil {
		err = o.checkMeasured()
	}
	if err != nil {
		members.Close()
		return nil, err
	}
	return members, nil
}

// checkMeasured opens what the soups are measured with, if they are.
func (o *SoupOptions) checkMeasured() error {
	switch {
	case o.Sweep != "" || o.Probe:
		return o.checkMeasures()
	case o.Method == "greedy":
		return o.checkGreedy()
	}
	return nil
}

// announce says what goes into the soup, and where rules give some weights shares of their own, how many they are.
func (o *SoupOptions) announce(p *soupPlan, members *soup.Members) {
	if o.Quiet {
		return
	}
	counts := members.Decided(p.rules)
	for i, r := range p.rules {
		fmt.Fprintf(os.Stderr, "salsa: %s, %d weights:\n", r.Which, counts[i])
		o.announceShares(r.Weights)
	}
	rest := counts[len(p.rules)]
	if rest == 0 {
		return
	}
	if len(p.rules) > 0 {
		fmt.Fprintf(os.Stderr, "salsa: all others, %d weights:\n", rest)
	}
	o.announceShares(p.shares)
}

// announceShares says what share each member has; nil is what the operator finds itself.
func (o *SoupOptions) announceShares(shares []float64) {
	for i, dir := range o.Members {
		if shares == nil {
			fmt.Fprintf(os.Stderr, "salsa: %s of %s\n", o.Method, dir)
			continue
		}
		fmt.Fprintf(os.Stderr, "salsa: %.4f × %s\n", shares[i], dir)
	}
}

// checkTemplates refuses members that learnt different chat templates, of which the soup could carry but one.
func (o *SoupOptions) checkTemplates() error {
	first, firstAt := "", ""
	for _, dir := range o.Members {
		hash, at, err := templateOf(dir)
		if err != nil {
			return err
		}
		if first == "" {
			first, firstAt = hash, at
		}
		if hash == "" || hash == first {
			continue
		}
		differ := fmt.Sprintf("%s has another chat template (SHA-256 %.12s) than %s (%.12s)", at, hash, firstAt, first)
		if !o.AllowTemplateMismatch {
			return fault.Inputf("%s: members that answer to different formats make no soup; mix models that were trained on one, or give --allow-template-mismatch", differ)
		}
		if !o.Quiet {
			fmt.Fprintf(os.Stderr, "salsa: note: %s; the soup carries what lies in %s\n", differ, o.Members[0])
		}
	}
	return nil
}

// keep writes a result into the folder of the soup; write carries it over.
func (o *SoupOptions) keep(name string, result any) error {
	raw, err := json.MarshalIndent(result, "", " ")
	if err != nil {
		return err
	}
	return checkpoint.WriteFileAtomic(filepath.Join(o.Out, name), raw)
}

// write streams the soup to disk; it takes the place of the folder, but for what was measured before.
func (o *SoupOptions) write(ctx context.Context, members *soup.Members, recipe soup.Recipe) error {
	dtype := tensor.DType(0)
	if o.StoreDType != "member" {
		var err error
		if dtype, err = tensor.ParseDType(o.StoreDType); err != nil {
			return err
		}
	}
	results := []string{SweepFile, greedyFile, ProbeFile}
	kept := make([][]byte, len(results))
	for i, name := range results {
		raw, err := os.ReadFile(filepath.Join(o.Out, name))
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		kept[i] = raw
	}
	if err := members.Write(ctx, o.Out, recipe, soup.WriteOptions{DType: dtype, MaxShardBytes: int64(o.MaxShardMB) << 20}); err != nil {
		return err
	}
	for i, name := range results {
		if kept[i] == nil {
			continue
		}
		if err := checkpoint.WriteFileAtomic(filepath.Join(o.Out, name), kept[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkTypes refuses to choose silently how much of the members' precision the soup keeps.
func (o *SoupOptions) checkTypes(members *soup.Members) error {
	first := members.Checkpoints[0]
	for _, c := range members.Checkpoints[1:] {
		if o.StoreDType == "member" && c.DType() != first.DType() {
			return fault.Inputf("%s is stored as %s and %s as %s; choose the soup's type with --store-dtype", first.Dir, first.DType(), c.Dir, c.DType())
		}
	}
	return nil
}

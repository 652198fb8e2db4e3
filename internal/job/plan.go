package job

// salsa plan: how much memory a run will take, said before anything is loaded. This file holds the result and how it
// adds up; plan_memory.go has the formulas and plan_commands.go what each command keeps in memory when.

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"salsa/internal/fault"
	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
)

// Plan predicts the memory of a run, in bytes. Where rows are shorter than assumed, and where the allocator has
// holes, the truth differs; a test holds the prediction to what runs of tiny models really take.
type Plan struct {
	Command   string      `json:"command"`
	DType     string      `json:"dtype"`
	Rows      string      `json:"rows"` // what lengths were assumed
	Roles     []PlanRole  `json:"roles"`
	Phases    []PlanPhase `json:"phases"`
	Process   int64       `json:"process_bytes"` // program, libtorch's tables, Go's runtime: part of every phase
	Peak      int64       `json:"peak_bytes"`
	PeakPhase string      `json:"peak_phase"`
	Free      int64       `json:"free_memory_bytes"` // of this host; 0 if it does not say

	gpu bool // the run computes on one
}

// PlanRole is a network and what its training keeps beside it. Two roles that share a folder are two copies, unless
// the command loads one for both.
type PlanRole struct {
	Role       string `json:"role"`
	Folder     string `json:"folder"`
	Parameters int64  `json:"parameters"`
	Weights    int64  `json:"weights_bytes"`
	Gradients  int64  `json:"gradients_bytes"` // during the backward pass and the optimizer step
	Moments    int64  `json:"moments_bytes"`   // AdamW's two, in float32
	Masters    int64  `json:"masters_bytes"`   // what half-precision weights lack of the float32 ones that are trained
}

// PlanPhase is a stretch of the run.
type PlanPhase struct {
	Phase    string     `json:"phase"`
	Resident int64      `json:"resident_bytes"` // networks and optimizer
	Working  []PlanItem `json:"working"`        // what comes on top
	Total    int64      `json:"total_bytes"`    // with Process
}

// PlanItem is one kind of working memory.
type PlanItem struct {
	What  string `json:"what"`
	Bytes int64  `json:"bytes"`
}

// planner collects the roles and phases of a plan.
type planner struct {
	Plan
	elem int64 // bytes of a weight in memory
	cpu  bool

	measured map[string]any // Base's

	folded int64 // weights that the policy's adapters are folded into while the CPU's kernel draws from it
	stored int64 // largest file of weights that is converted while it is loaded
}

func newPlanner(command string, b *Base) (*planner, error) {
	d, err := tensor.ParseDType(b.DType)
	if err != nil {
		return nil, fault.Inputf("--dtype: %w", err)
	}
	p := &planner{elem: int64(d.Size()), measured: b.measured}
	if !strings.HasPrefix(b.Device, "cuda") { // a plan for a GPU needs none
		dev, err := tensor.OpenDevice(b.Device)
		if err != nil {
			return nil, err
		}
		p.cpu = dev == tensor.CPU
	}
	p.gpu = !p.cpu
	p.Command, p.DType, p.Process, p.Free = command, d.String(), processBytes, lookAround().FreeMemory
	if p.cpu && p.elem != 4 {
		p.Process += halfBytes()
	}
	return p, nil
}

// network adds a role whose weights are declared; a trained one has gradients and an optimizer.
func (p *planner) network(role, folder string, declared []models.WeightInfo, trained bool) {
	r := PlanRole{Role: role, Folder: folder, Parameters: parameters(declared)}
	stored := int64(0)
	for _, w := range declared {
		stored += w.Bytes
	}
	r.Weights = r.Parameters * p.elem
	if trained {
		r.Gradients, r.Moments = r.Weights, 2*4*r.Parameters
		if p.elem != 4 {
			r.Masters = p.masterBytes() * r.Parameters
		}
	}
	if stored != r.Weights {
		p.stored = max(p.stored, stored)
	}
	p.Roles = append(p.Roles, r)
}

// parameters counts the numbers in declared weights.
func parameters(declared []models.WeightInfo) (total int64) {
	for _, w := range declared {
		total += w.Bytes / int64(w.DType.Size())
	}
	return total
}

// average adds a frozen language model that is the weighted mean of e's members, and returns its config.
func (p *planner) average(role string, e soup.Expr) (*models.Config, error) {
	cfg, err := models.ReadConfig(e.Dirs[0])
	if err != nil {
		return nil, err
	}
	p.network(role, e.String(), cfg.Declared(), false)
	return cfg, nil
}

// aside collects the networks that add adds, apart from those of the plan: they live in one phase alone.
func (p *planner) aside(add func() error) (roles []PlanRole, err error) {
	own := p.Roles
	p.Roles = nil
	err = add()
	roles, p.Roles = p.Roles, own
	return roles, err
}

// learner adds a network that learns: all of it, or with l adapters over weights that stay as they are. A view of the
// policy, which is the first role, has adapters of its own over the policy's weights.
func (p *planner) learner(role, folder string, declared []models.WeightInfo, l *LoRA, view bool) {
	p.network(role, folder, declared, l.LoRARank == 0)
	if l.LoRARank == 0 {
		return
	}
	r := &p.Roles[len(p.Roles)-1]
	added := l.parameters(declared)
	if role == "policy" && p.cpu && p.elem == 4 { // in half precision another path draws, and folds nothing
		for _, w := range declared {
			if l.adapts(w) {
				p.folded += w.Bytes / int64(w.DType.Size()) * p.elem
			}
		}
	}
	if view {
		r.Weights = 0
	}
	r.Parameters += added
	r.Weights += added * p.elem
	r.Gradients, r.Moments = added*p.elem, 2*4*added
	if p.elem != 4 {
		r.Masters = p.masterBytes() * added
	}
}

// parameters counts what adapters add to a network: rank·(in + out) for each map, and a scorer's head, which learns too.
func (l *LoRA) parameters(declared []models.WeightInfo) (total int64) {
	for _, w := range declared {
		switch {
		case strings.HasPrefix(w.Name, "score."):
			total += w.Bytes / int64(w.DType.Size())
		case l.adapts(w):
			total += int64(l.LoRARank) * int64(w.Shape[0]+w.Shape[1])
		}
	}
	return total
}

// adapts tells whether a weight is that of a map with an adapter.
func (l *LoRA) adapts(w models.WeightInfo) bool {
	name := strings.TrimSuffix(w.Name, ".weight")
	wanted := func(t string) bool { return t == "all-linear" || strings.HasSuffix(name, "."+t) }
	return strings.HasPrefix(w.Name, "model.layers.") && len(w.Shape) == 2 && (len(l.LoRATargets) == 0 || slices.ContainsFunc(l.LoRATargets, wanted))
}

// sum adds up one column of the roles.
func (p *planner) sum(column func(r PlanRole) int64) (total int64) {
	for _, r := range p.Roles {
		total += column(r)
	}
	return total
}

func (p *planner) weights() int64 { return p.sum(func(r PlanRole) int64 { return r.Weights }) }

// resident is what stays in memory between steps.
func (p *planner) resident() int64 {
	return p.sum(func(r PlanRole) int64 { return r.Weights + r.Moments + r.Masters })
}

// sumOf adds up items.
func sumOf(items []PlanItem) (total int64) {
	for _, item := range items {
		total += item.Bytes
	}
	return total
}

// phase adds a phase; items of no bytes are left out.
func (p *planner) phase(name string, resident int64, working ...PlanItem) {
	ph := PlanPhase{Phase: name, Resident: resident, Working: []PlanItem{}, Total: p.Process + resident}
	for _, item := range working {
		if item.Bytes > 0 {
			ph.Working = append(ph.Working, item)
			ph.Total += item.Bytes
		}
	}
	p.Phases = append(p.Phases, ph)
	if ph.Total > p.Peak {
		p.Peak, p.PeakPhase = ph.Total, name
	}
}

// Summary is the plan in one line.
func (p *Plan) Summary() string {
	return fmt.Sprintf("%s in phase %s, %s, %s", humanBytes(p.Peak), p.PeakPhase, p.DType, p.Rows)
}

// WriteText implements Shown.
func (p *Plan) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "salsa %s in %s, %s\n\n", p.Command, p.DType, p.Rows)
	err := table(w, func(row func(string, ...any)) {
		row("network\tparameters\tweights\tgradients\tmoments\tmasters\tfolder")
		for _, r := range p.Roles {
			row("%s\t%s\t%s\t%s\t%s\t%s\t%s", r.Role, humanCount(r.Parameters), humanBytes(r.Weights), orDash(r.Gradients),
				orDash(r.Moments), orDash(r.Masters), r.Folder)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	err = table(w, func(row func(string, ...any)) {
		row("phase\ttotal\tresident\ton top")
		for _, ph := range p.Phases {
			var items []string
			for _, item := range ph.Working {
				items = append(items, item.What+" "+humanBytes(item.Bytes))
			}
			row("%s\t%s\t%s\t%s", ph.Phase, humanBytes(ph.Total), humanBytes(ph.Resident), strings.Join(items, ", "))
		}
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\npeak %s in phase %s, %s of it the program itself; %s\n", humanBytes(p.Peak), p.PeakPhase, humanBytes(p.Process), p.fits())
	return err
}

// fits compares the peak with the host's memory, where it is the host's that is taken.
func (p *Plan) fits() string {
	switch {
	case p.gpu:
		return "it is the GPU's memory that this takes"
	case p.Free == 0:
		return "this host does not say how much memory is free"
	case p.Peak > p.Free:
		return fmt.Sprintf("this host has %s free: too little; lower --micro-batch-size or --max-length, or use --gradient-checkpointing", humanBytes(p.Free))
	}
	return fmt.Sprintf("this host has %s free", humanBytes(p.Free))
}

func orDash(n int64) string {
	if n == 0 {
		return "–"
	}
	return humanBytes(n)
}

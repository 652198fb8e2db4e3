package job

// --memory-budget: a run is made to fit before it begins. What is planned stands in for what would be measured, so
// nothing is loaded: gradient checkpointing comes on first, then the micro-batch is halved until the plan fits. Neither
// changes the result but by rounding.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/options"
)

// The options that a budget reads and sets.
const (
	budgetKey     = "memory_budget"
	checkpointKey = "gradient_checkpointing"
	microKey      = "micro_batch_size"
)

// FitMemory sets gradient checkpointing and the micro-batch size in a training command's options, a pointer to a struct,
// so that the run's plan is within --memory-budget; without a budget it changes nothing. What the user chose stays: any
// value but the default, and all keys that held names (held may be nil). A resumed run does what it began with. The
// choice is said in one line on standard error. Where nothing fits, the input error tells the least that would.
func FitMemory(ctx context.Context, opts any, held func(key string) bool) error {
	c := options.Of(opts)
	text, _ := c.Get(budgetKey)
	if text == "" {
		return nil
	}
	budget, err := ParseSize(text)
	if err != nil {
		return err
	}
	f := &fitting{Config: c, text: text, budget: budget, plan: planOf(ctx, opts)}
	for _, key := range []string{checkpointKey, microKey} {
		if off := f.value(key) == "false" || f.value(key) == "0"; off && (held == nil || !held(key)) {
			f.free = append(f.free, key)
		}
	}
	if r, ok := opts.(interface{ remember() func() }); ok {
		defer r.remember()()
	}
	if done, err := f.resumed(); done || err != nil {
		return err
	}
	return f.fit()
}

// Perform runs a job, whose options are a pointer to a struct, within its memory budget and with its profile, where it
// asks for them. held is FitMemory's.
func Perform(ctx context.Context, opts any, held func(key string) bool, run func() error) error {
	if err := FitMemory(ctx, opts, held); err != nil {
		return err
	}
	tellOfThreads(opts)
	return Profiled(opts, run)
}

// fitting is a run that is made to fit.
type fitting struct {
	*options.Config
	text   string // the budget as it was given
	budget int64
	plan   func() (*Plan, error)
	free   []string // keys that may be changed
	began  bool     // without a budget: the run goes on as it is
	least  *Plan    // of all that were looked at
	at     string   // what was changed for it
}

func (f *fitting) value(key string) string {
	text, _ := f.Get(key)
	return text
}

func (f *fitting) number(key string) int {
	n, _ := strconv.Atoi(f.value(key)) // no number: an option that the command lacks
	return n
}

func (f *fitting) may(key string) bool { return slices.Contains(f.free, key) }

// resumed takes over what the run in --out began with, if this run goes on with it. done tells whether that was made to
// fit then; otherwise it fits as it is or not at all.
func (f *fitting) resumed() (done bool, err error) {
	path := filepath.Join(f.value("out"), checkpoint.RunFile)
	if _, err := os.Stat(path); err != nil || f.value("resume") != "true" {
		return false, nil // openRun looks at everything else
	}
	node, err := options.ReadYAML(path)
	if err != nil {
		return false, err
	}
	was := options.Of(clone(f.Target()))
	if err := was.Apply(node); err != nil {
		return false, err
	}
	for _, key := range f.free {
		text, _ := was.Get(key)
		if err := f.Set(key, text, path); err != nil {
			return false, err
		}
	}
	if began, _ := was.Get(budgetKey); began != "" {
		return true, nil
	}
	f.free, f.began = nil, true
	return false, nil
}

// fit makes one change after the other until the plan is within the budget.
func (f *fitting) fit() error {
	fits, err := f.look()
	if err != nil {
		return err
	}
	if fits {
		f.say("predicted peak %s", humanBytes(f.least.Peak))
		return nil
	}
	whole := f.least.Peak
	if f.may(checkpointKey) {
		if fits, err = f.try(checkpointKey, "true"); err != nil {
			return err
		}
	}
	batch := 0 // the largest of the sets that micro-batches are parts of
	for _, key := range []string{"batch_size", "demo_batch_size", "preference_batch_size"} {
		batch = max(batch, f.number(key))
	}
	for micro := batch; !fits && micro > 1 && f.may(microKey); {
		micro = (micro + 1) / 2
		if fits, err = f.try(microKey, strconv.Itoa(micro)); err != nil {
			return err
		}
	}
	if !fits {
		return f.tooLittle()
	}
	f.say("predicted peak %s, %s without", humanBytes(f.least.Peak), humanBytes(whole))
	return nil
}

// say tells what was decided and the plan that it led to.
func (f *fitting) say(format string, args ...any) {
	if f.value("quiet") != "true" {
		fmt.Fprintf(os.Stderr, "salsa: --memory-budget %s: %s; %s\n", f.text, f.changed(), fmt.Sprintf(format, args...))
	}
}

// try sets an option and looks at the plan.
func (f *fitting) try(key, text string) (fits bool, err error) {
	if err := f.Set(key, text, "--memory-budget"); err != nil {
		return false, err
	}
	return f.look()
}

// look tells whether the plan is within the budget.
func (f *fitting) look() (bool, error) {
	p, err := f.plan()
	if err != nil {
		return false, err
	}
	if f.least == nil || p.Peak < f.least.Peak {
		f.least, f.at = p, f.changed()
	}
	return p.Peak <= f.budget, nil
}

// changed says what is set now of what may be.
func (f *fitting) changed() string {
	var out []string
	if f.may(checkpointKey) && f.value(checkpointKey) == "true" {
		out = append(out, "--gradient-checkpointing")
	}
	if f.may(microKey) && f.number(microKey) > 0 {
		out = append(out, "--micro-batch-size "+f.value(microKey))
	}
	if len(out) == 0 {
		return "no change"
	}
	return strings.Join(out, " ")
}

// tooLittle is the error of a budget that nothing fits.
func (f *fitting) tooLittle() error {
	phase := f.least.Phases[0]
	for _, ph := range f.least.Phases {
		if ph.Phase == f.least.PeakPhase {
			phase = ph
		}
	}
	most := PlanItem{"networks and optimizer", phase.Resident}
	for _, item := range append([]PlanItem{{"the program itself", f.least.Process}}, phase.Working...) {
		if item.Bytes > most.Bytes {
			most = item
		}
	}
	if f.began {
		return fault.Inputf("--memory-budget %s: the run in %s began without one and is predicted to take %s as it is; give that much, or start anew in another --out",
			f.text, f.value("out"), humanBytes(f.least.Peak))
	}
	remedy := "give that much, or lower --batch-size, --max-length or --dtype, or train adapters with --lora-rank"
	for _, key := range []string{microKey, checkpointKey} {
		if !f.may(key) && (key == microKey && f.number(key) != 1 || f.value(key) == "false") {
			remedy += fmt.Sprintf("; --%s %s was given and is left as it is", strings.ReplaceAll(key, "_", "-"), f.value(key))
		}
	}
	return fault.Inputf("--memory-budget %s: the least that this run is predicted to take is %s, with %s: in phase %s, most of it %s, %s; %s",
		f.text, humanBytes(f.least.Peak), f.at, phase.Phase, most.What, humanBytes(most.Bytes), remedy)
}

// sizeForm is how a size is written; units are powers of 1000, or of 1024 with an i.
var sizeForm = regexp.MustCompile(`(?i)^([0-9]+(?:\.[0-9]+)?) ?([KMGT])(i?)B?$`)

// ParseSize reads a memory budget such as 2GB, 1.5GiB or 800M, in bytes; anything else is an input error.
func ParseSize(text string) (int64, error) {
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, fault.Inputf("--memory-budget %s: is no size; write a number and its unit, such as 2GB or 1.5GiB", text)
	}
	x, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, fault.Inputf("--memory-budget %s: %w; write such as 2GB", text, err)
	}
	base := 1000.0
	if m[3] != "" {
		base = 1024
	}
	for range strings.Index("KMGT", strings.ToUpper(m[2])) + 1 {
		x *= base
	}
	if !(x >= 1 && x < 1<<62) {
		return 0, fault.Inputf("--memory-budget %s: is not between 1 byte and 4 EiB; write such as 2GB", text)
	}
	return int64(x), nil
}

// planOf returns what plans the run of a training command's options.
func planOf(ctx context.Context, opts any) func() (*Plan, error) {
	switch o := opts.(type) {
	case *SFTOptions:
		return func() (*Plan, error) { return PlanSFT(ctx, o) }
	case *RewardOptions:
		return func() (*Plan, error) { return PlanReward(ctx, o) }
	case *PPOOptions:
		return func() (*Plan, error) { return PlanPPO(ctx, o) }
	case *APAOptions:
		return func() (*Plan, error) { return PlanAPA(ctx, o) }
	case *RLOOOptions:
		return func() (*Plan, error) { return PlanRLOO(ctx, o) }
	case *GRPOOptions:
		return func() (*Plan, error) { return PlanGRPO(ctx, o) }
	case *XPOOptions:
		return func() (*Plan, error) { return PlanXPO(ctx, o) }
	case *InverseQOptions:
		return func() (*Plan, error) { return PlanInverseQ(ctx, o) }
	case *DPOOptions:
		return func() (*Plan, error) { return PlanDPO(ctx, o) }
	case *AIHFOptions:
		return func() (*Plan, error) { return PlanAIHF(ctx, o) }
	case *RSOOptions:
		return func() (*Plan, error) { return PlanRSO(ctx, o) }
	case *CANOptions:
		return func() (*Plan, error) { return PlanCAN(ctx, o) }
	}
	return func() (*Plan, error) { return nil, fmt.Errorf("the memory of %T cannot be planned", opts) }
}

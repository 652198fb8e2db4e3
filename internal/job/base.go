package job

// Options that all jobs share, and the frame they run in.

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"

	"salsa/internal/checkpoint"
	"salsa/internal/fault"
	"salsa/internal/options"
	"salsa/internal/runlock"
	"salsa/models"
	"salsa/soup"
	"salsa/tensor"
	"salsa/trainers"
)

// Base are the options of every job that computes.
type Base struct {
	Device  string `yaml:"device" help:"where to compute: auto, cpu, cuda or cuda:N" hash:"-"`
	DType   string `yaml:"dtype" enum:"float32,bfloat16" help:"type of the weights in memory; bfloat16 trains with exact float32 masters, kept as 16 more bits for each weight (32 on a GPU), and moves a log-probability by about 0.02"`
	Threads int    `yaml:"threads" help:"CPU threads of one op; 0: as many as cores" check:">=0" hash:"-"`
	JSON    bool   `yaml:"json" help:"end with one line of JSON on standard output: the final metrics" hash:"-"`
	Quiet   bool   `yaml:"quiet" help:"no progress on standard error" hash:"-"`
	Profile string `yaml:"profile" arg:"DIR" help:"write where the time goes into this folder, such as OUT/profile: phases.md, phases.json, timeline.json for ui.perfetto.dev, and Go's cpu.pprof, heap.pprof and trace.out" hash:"-"`

	gemm     string         // the kernels of fp32 products that a resumed run began with; empty: this process's
	half     string         // and those of bf16
	measured map[string]any // encoded rows of the data that plans have read, while several are made of one run; nil: none is
}

// remember lets plans of these options read each data set once, until forget is called.
func (b *Base) remember() (forget func()) {
	b.measured = map[string]any{}
	return func() { b.measured = nil }
}

func defaultBase() Base { return Base{Device: "auto", DType: "float32"} }

// Training are the options of every job that trains.
type Training struct {
	Base                  `group:"Machine"`
	Out                   string `yaml:"out" required:"true" arg:"DIR" help:"run folder: logs, checkpoints, and the finished model at its top" hash:"-"`
	Resume                bool   `yaml:"resume" help:"go on from the newest intact checkpoint in --out" hash:"-"`
	MaxLength             int    `yaml:"max_length" help:"longest sequence; 0: the model's context" unit:"tokens" check:">=0"`
	Overlong              string `yaml:"overlong" enum:"error,drop,truncate-left,truncate-right" help:"what happens to rows that are longer"`
	Empty                 string `yaml:"empty" enum:"error,drop,keep" help:"what happens to empty completions; keep: their eos alone is the target"`
	GradientCheckpointing bool   `yaml:"gradient_checkpointing" help:"recompute layers in the backward pass: less memory, a third more time"`
	MemoryBudget          string `yaml:"memory_budget" arg:"SIZE" help:"most memory that the run is planned to take, such as 2GB (on a GPU, of it): gradient checkpointing comes on and the micro-batch is halved until the plan fits; neither is touched if you give it" hash:"-"`
	LoRA                  `group:"LoRA"`
}

func defaultTraining() Training {
	return Training{Base: defaultBase(), Overlong: "error", Empty: "error"}
}

// compute opens the device and runs fn on the compute goroutine with the model options that b stands for.
func compute(b *Base, fn func(opt models.Options) error) error {
	dev, err := tensor.OpenDevice(b.Device)
	if err != nil {
		return err
	}
	dtype, err := tensor.ParseDType(b.DType)
	if err != nil {
		return fault.Inputf("--dtype: %w", err)
	}
	return tensor.Run(func() (err error) {
		if b.Threads > 0 {
			defer tensor.SetThreads(tensor.Threads()) // a later stage of this process has its own
			tensor.SetThreads(b.Threads)
		}
		restore, err := chooseKernels(b)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, restore()) }()
		return fn(models.Options{DType: dtype, Device: dev})
	})
}

// loop returns the run around a trainer; name is what progress calls it.
func (t *Training) loop(name string, c *trainers.Common) *trainers.Loop {
	return &trainers.Loop{Options: c, Out: t.Out, Name: name, Resume: t.Resume, Quiet: t.Quiet,
		FreeMemory: func() int64 { return lookAround().FreeMemory }}
}

// trained returns the model options of a network that learns.
func (t *Training) trained(opt models.Options) models.Options {
	opt.Train, opt.Checkpoint = true, t.GradientCheckpointing
	return opt
}

// runFolder is a run folder that this process holds.
type runFolder struct {
	dir  string
	opts any
	base *Base // of opts
	lock *runlock.Lock
	pins []pinnedFile // of its frozen models
}

// openRun takes hold of the run folder: it must be empty, or a run with the same options if resume is set. It writes
// nothing but the lock, so that a command which fails on its other inputs can be given again as it was. A resumed run is
// held to its frozen models, among them, with adapters, the one in dir that they lie on.
func openRun(t *Training, opts any, dir string, frozen ...frozenInput) (*runFolder, error) {
	if err := t.LoRA.check(); err != nil {
		return nil, err
	}
	if err := notInUse(t.Out); err != nil {
		return nil, err
	}
	if err := checkpoint.PrepareOut(t.Out, t.Resume); err != nil {
		return nil, err
	}
	lock, err := runlock.Acquire(t.Out)
	if err != nil {
		return nil, err
	}
	r := &runFolder{dir: t.Out, opts: opts, base: &t.Base, lock: lock}
	if err := errors.Join(sameRun(r.path(checkpoint.RunFile), opts), sameKernels(r.path(kernelsFile), &t.Base)); err != nil {
		r.close()
		return nil, err
	}
	if t.LoRARank > 0 {
		frozen = append([]frozenInput{{baseFile, "base model", soup.Expr{Dirs: []string{dir}, Weights: []float64{1}}}}, frozen...)
	}
	if err := r.hold(frozen); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// notInUse refuses a folder that another process is working in, before that folder is blamed for not being empty.
func notInUse(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, runlock.FileName)); dir == "" || err != nil {
		return nil // nobody ever locked it; openRun looks at everything else
	}
	lock, err := runlock.Acquire(dir)
	if err != nil {
		return err
	}
	return lock.Release()
}

// begin makes the folder a run: run.yaml is the first file in it. Everything that could be wrong with the inputs
// should have shown by then.
func (r *runFolder) begin() error {
	if _, err := checkpoint.CleanStale(r.dir); err != nil {
		return err
	}
	if err := checkpoint.WriteFileAtomic(r.path(checkpoint.RunFile), options.Dump(r.opts)); err != nil {
		return err
	}
	if err := writeKernels(r.path(kernelsFile), r.base); err != nil {
		return err
	}
	for _, f := range r.pins {
		if err := checkpoint.WriteFileAtomic(r.path(f.name), f.raw); err != nil {
			return err
		}
	}
	return nil
}

func (r *runFolder) path(name string) string { return filepath.Join(r.dir, name) }

func (r *runFolder) close() { _ = r.lock.Release() } // the kernel drops the lock with the process anyway

// sameRun refuses to resume a run whose options would give another result.
func sameRun(path string, opts any) error {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return nil
	}
	node, err := options.ReadYAML(path)
	if err != nil {
		return err
	}
	was, now := options.Of(clone(opts)), options.Of(opts)
	if err := was.Apply(node); err != nil {
		return err
	}
	if was.Hash() == now.Hash() {
		return nil
	}
	for _, key := range now.Keys() {
		a, _ := was.Get(key)
		b, _ := now.Get(key)
		mixed := options.Of(clone(opts)) // now, with this one key as it was
		if err := mixed.Set(key, a, path); err != nil || mixed.Hash() != now.Hash() {
			return fault.Inputf("%s: the run was started with %s %s and is now resumed with %s; use the same value, or another --out", path, key, a, b)
		}
	}
	return fault.Inputf("%s: the run was started with other options; use the same, or another --out", path)
}

// clone copies an options struct, given and returned as a pointer.
func clone(opts any) any {
	c := reflect.New(reflect.TypeOf(opts).Elem())
	c.Elem().Set(reflect.ValueOf(opts).Elem())
	return c.Interface()
}

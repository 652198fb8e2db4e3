package trainers

// The options that every trainer shares, and what follows from them.

import (
	"math"

	"salsa/internal/fault"
	"salsa/optim"
)

// Common are the options that every trainer shares; flags, YAML keys and help come from the tags.
type Common struct {
	MaxSteps       int     `yaml:"max_steps" help:"stop after this many steps; 0: as many as --epochs gives" check:">=0"`
	Epochs         float64 `yaml:"epochs" help:"passes over the data" check:">0,<=1000000"`
	BatchSize      int     `yaml:"batch_size" help:"sequences (pairs, prompts) per optimizer step" check:">=1,<=1000000"`
	MicroBatchSize int     `yaml:"micro_batch_size" help:"sequences computed at once; 0: the whole batch" check:">=0"`
	LearningRate   float64 `yaml:"learning_rate" help:"peak learning rate" check:">=0"`
	LRSchedule     string  `yaml:"lr_schedule" enum:"constant,linear,cosine" help:"decay after the warm-up"`
	WarmupRatio    float64 `yaml:"warmup_ratio" help:"share of the steps over which the learning rate rises" check:">=0,<=1"`
	WeightDecay    float64 `yaml:"weight_decay" help:"decoupled weight decay" check:">=0"`
	AdamBeta1      float64 `yaml:"adam_beta1" help:"decay of the first moment" check:">=0,<1"`
	AdamBeta2      float64 `yaml:"adam_beta2" help:"decay of the second moment" check:">=0,<1"`
	AdamEpsilon    float64 `yaml:"adam_epsilon" help:"added to the root of the second moment" check:">0"`
	MaxGradNorm    float64 `yaml:"max_grad_norm" help:"clip the global gradient norm; 0: never" check:">=0"`
	MaxSkipped     int     `yaml:"max_skipped" help:"give up after this many steps in a row with a loss or gradient that is not finite" check:">=0"`
	Seed           uint64  `yaml:"seed" help:"seed of every random stream"`
	Shuffle        bool    `yaml:"shuffle" help:"visit the data in a new random order each epoch"`
	SaveEvery      int     `yaml:"save_every" help:"steps between checkpoints; 0: only on interrupt" check:">=0" hash:"-"`
	SaveMemory     int     `yaml:"save_memory" unit:"MB" help:"a checkpoint is copied into this much memory at most, to be written while training goes on, one at a time; a larger one is written while training waits. -1: a quarter of the free memory" check:">=-1" hash:"-"`
	KeepLast       int     `yaml:"keep_last" help:"checkpoints kept; 0: all" check:">=0" hash:"-"`
	LogEvery       int     `yaml:"log_every" help:"steps between console lines" check:">=1" hash:"-"`
}

// DefaultCommon returns PyTorch's optimizer defaults and one pass over the data.
func DefaultCommon() Common {
	return Common{
		Epochs: 1, BatchSize: 8, LearningRate: 1e-5, LRSchedule: "linear", AdamBeta1: 0.9, AdamBeta2: 0.999,
		AdamEpsilon: 1e-8, MaxGradNorm: 1, MaxSkipped: 3, Shuffle: true, SaveMemory: -1, KeepLast: 2, LogEvery: 10,
	}
}

// micro returns the micro-batch size for a batch of n sequences.
func (c *Common) micro(n int) int {
	if c.MicroBatchSize == 0 || c.MicroBatchSize > n {
		return n
	}
	return c.MicroBatchSize
}

// schedule builds the learning-rate schedule.
func (c *Common) schedule() (optim.Schedule, error) {
	s, err := optim.NewSchedule(c.LRSchedule, c.LearningRate, c.WarmupRatio)
	if err != nil {
		return nil, fault.Inputf("lr_schedule: %w", err)
	}
	return s, nil
}

// StepCount returns the number of steps for n items at perStep items a step: as many as it takes to visit every item
// --epochs times. The last step of a run takes its missing items from the next epoch.
func (c *Common) StepCount(n, perStep int) int {
	if c.MaxSteps > 0 {
		return c.MaxSteps
	}
	return max(1, int(math.Ceil(c.Epochs*float64(n)/float64(perStep)-1e-9))) // 1e-9: 0.1 epochs of 30 are 3
}

// hyper returns the optimizer's settings.
func (c *Common) hyper() optim.Hyper {
	return optim.Hyper{Beta1: c.AdamBeta1, Beta2: c.AdamBeta2, WeightDecay: c.WeightDecay, Eps: c.AdamEpsilon}
}

// split cuts n items into consecutive [from, to) ranges of at most size; size 0 sets no limit.
func split(n, size int) [][2]int {
	if size <= 0 {
		size = max(1, n)
	}
	var parts [][2]int
	for from := 0; from < n; from += size {
		parts = append(parts, [2]int{from, min(from+size, n)})
	}
	return parts
}

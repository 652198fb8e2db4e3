// Package profile tells where a run's time goes: seconds, tokens and memory of each phase of the compute goroutine, how
// long that goroutine waited for data and for disk, and what others did behind it. Phases are marked where they happen
// with Begin or Behind; unless a Recorder runs, a mark is one look at a pointer.
//
// A Recorder writes a folder: phases.md and phases.json, timeline.json (Chrome's trace format, for Perfetto), and, for
// the Go side, cpu.pprof, heap.pprof and trace.out with the phases as regions. What libtorch does is inside cgo calls,
// of which Go's profiles see the duration alone: the phases carry its time.
package profile

import (
	"context"
	"runtime/trace"
	"sync/atomic"
	"time"
)

// Phases of the compute goroutine. A phase begun inside another one takes its time out of it, so that shares add up.
const (
	Data       = "data"       // reading, encoding, collating
	Load       = "load"       // weights from disk
	Generate   = "generate"   // sampling completions
	Score      = "score"      // reward models and other rewards
	LogProbs   = "log-probs"  // of policy, reference and watched models, without gradient
	Values     = "values"     // of the value network, without gradient
	Update     = "update"     // forward and backward passes
	Optimizer  = "optimizer"  // clipping and AdamW
	Evaluate   = "evaluate"   // held-out rows
	Checkpoint = "checkpoint" // copying the weights; writing them where nothing else can go on
	Metrics    = "metrics"    // handing rows over; behind, writing them

	WaitData = "wait for data" // blocked on readers and encoders
	WaitDisk = "wait for disk" // blocked on writers
)

// other is the compute goroutine's time outside all phases.
const other = "other"

// active is the recorder that runs; a process has at most one, as it has one CPU profile.
var active atomic.Pointer[Recorder]

// Span is a phase that has begun. The zero value is that of a run without a profile.
type Span struct {
	r      *Recorder
	region *trace.Region
	phase  string
	depth  int // of the compute goroutine's phases
	lane   int // of those behind it; 0 is the compute goroutine
	began  time.Time
}

// Begin marks the start of a phase of the compute goroutine, or of the goroutine that is going to be it. Every other
// goroutine uses Behind.
func Begin(phase string) Span {
	r := active.Load()
	if r == nil {
		return Span{}
	}
	s := Span{r: r, phase: phase, region: trace.StartRegion(context.Background(), phase)}
	s.depth, s.began = r.push(phase)
	return s
}

// Behind marks the start of work beside the compute goroutine.
func Behind(phase string) Span {
	r := active.Load()
	if r == nil {
		return Span{}
	}
	s := Span{r: r, phase: phase, region: trace.StartRegion(context.Background(), phase)}
	s.lane, s.began = r.enter()
	return s
}

// End marks the end of the phase, and of those begun in it and not ended. The goroutine is the one that began it.
func (s Span) End() {
	if s.r == nil {
		return
	}
	s.region.End()
	if s.lane == 0 {
		s.r.pop(s)
	} else {
		s.r.leave(s)
	}
}

// Tokens counts n tokens for the compute goroutine's current phase.
func Tokens(n int) {
	if r := active.Load(); r != nil {
		r.count(n, false)
	}
}

// Trained counts the n tokens of a finished step, which the run's tokens per second are made of.
func Trained(n int) {
	if r := active.Load(); r != nil {
		r.count(n, true)
	}
}

package profile

// The recorder: a clock with a stack of phases, a look at the resident memory now and then, and Go's own profiles beside.

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"salsa/internal/fault"
)

const (
	lookEvery    = 10 * time.Millisecond // between two looks at the resident memory
	maxTrace     = 256 << 20             // bytes of trace.out: each cgo call adds to it
	maxTimeline  = 500_000               // spans in timeline.json
	pagesInStatm = 1                     // field of /proc/self/statm that is the resident size
)

// tally is what is known of a phase.
type tally struct {
	phase  string
	time   time.Duration
	count  int
	tokens int
	peak   int64 // bytes resident
}

// Recorder takes a profile from Start to Stop.
type Recorder struct {
	dir, tmp   string
	cpu, trace *os.File
	timeline   *timeline
	stop       chan struct{}
	looked     sync.WaitGroup

	mu      sync.Mutex
	began   time.Time
	mark    time.Time // until when the compute goroutine's time is told
	stack   []*tally
	phases  []*tally // of the compute goroutine, in the order of their first time
	behind  []*tally
	lanes   []bool // which lanes behind the compute goroutine are taken; lane 1 is the first
	trained int
}

// Start begins a profile that Stop will write into dir, which need not exist: a run folder may be dir's parent and must
// be empty now. A dir that cannot be written and a profile beside another one are input errors.
func Start(dir string) (*Recorder, error) {
	if err := canMake(dir); err != nil {
		return nil, err
	}
	if active.Load() != nil {
		return nil, fault.Inputf("--profile %s: a profile is being taken already; give --profile to one stage at a time", dir)
	}
	tmp, err := os.MkdirTemp("", "salsa-profile-")
	if err != nil {
		return nil, fmt.Errorf("--profile: %w", err)
	}
	now := time.Now()
	r := &Recorder{dir: dir, tmp: tmp, began: now, mark: now, stop: make(chan struct{})}
	r.phases = []*tally{{phase: other}}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(tmp))
	}
	active.Store(r)
	r.looked.Add(1)
	go r.look()
	return r, nil
}

// canMake refuses a folder that could not be written at the end of the run.
func canMake(dir string) error {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		stat, err := os.Stat(at)
		switch {
		case errors.Is(err, os.ErrNotExist) && filepath.Dir(at) != at:
			continue
		case err != nil:
			return fault.Inputf("--profile %s: %w; choose another folder", dir, err)
		case !stat.IsDir():
			return fault.Inputf("--profile %s: %s is a file; choose another folder", dir, at)
		}
		probe, err := os.MkdirTemp(at, ".salsa-probe-*") // access(2) says yes to root where even root cannot
		if err == nil {
			err = os.Remove(probe)
		}
		if err != nil {
			return fault.Inputf("--profile %s: %s cannot be written; choose another folder", dir, at)
		}
		return nil
	}
}

// open starts Go's profiles and the timeline.
func (r *Recorder) open() (err error) {
	if r.timeline, err = newTimeline(filepath.Join(r.tmp, timelineFile), r.began); err != nil {
		return err
	}
	if r.cpu, err = os.Create(filepath.Join(r.tmp, "cpu.pprof")); err != nil {
		return err
	}
	if r.trace, err = os.Create(filepath.Join(r.tmp, "trace.out")); err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(r.cpu); err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	if err := trace.Start(r.trace); err != nil {
		pprof.StopCPUProfile()
		return fmt.Errorf("--profile: %w", err)
	}
	return nil
}

// look samples the memory until Stop, and ends the trace when it is large enough.
func (r *Recorder) look() {
	defer r.looked.Done()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		r.mu.Lock()
		r.noteMemory()
		r.mu.Unlock()
		if stat, err := r.trace.Stat(); err == nil && stat.Size() > maxTrace && trace.IsEnabled() {
			trace.Stop()
		}
	}
}

// noteMemory puts the resident size down to the current phase. The caller holds the lock.
func (r *Recorder) noteMemory() {
	t := r.top()
	t.peak = max(t.peak, resident())
}

// resident is the process's resident size in bytes; 0 where /proc does not tell.
func resident() int64 {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(raw))
	if len(fields) <= pagesInStatm {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[pagesInStatm], 10, 64)
	return pages * int64(os.Getpagesize())
}

// top is the tally of the current phase of the compute goroutine.
func (r *Recorder) top() *tally {
	if n := len(r.stack); n > 0 {
		return r.stack[n-1]
	}
	return r.phases[0]
}

// settle puts the time since the last mark down to the current phase.
func (r *Recorder) settle() time.Time {
	now := time.Now()
	r.top().time += now.Sub(r.mark)
	r.mark = now
	r.noteMemory()
	return now
}

// find returns the tally of a phase in list, which it may lengthen.
func find(list *[]*tally, phase string) *tally {
	i := slices.IndexFunc(*list, func(t *tally) bool { return t.phase == phase })
	if i < 0 {
		i = len(*list)
		*list = append(*list, &tally{phase: phase})
	}
	return (*list)[i]
}

func (r *Recorder) push(phase string) (depth int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now = r.settle()
	t := find(&r.phases, phase)
	t.count++
	r.stack = append(r.stack, t)
	r.noteMemory()
	return len(r.stack), now
}

func (r *Recorder) pop(s Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.settle()
	if s.depth <= len(r.stack) { // else an outer phase has ended, and this one with it
		r.stack = r.stack[:s.depth-1]
	}
	r.timeline.add(s, now)
}

func (r *Recorder) enter() (lane int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.lanes, false)
	if i < 0 {
		i = len(r.lanes)
		r.lanes = append(r.lanes, false)
	}
	r.lanes[i] = true
	return i + 1, time.Now()
}

func (r *Recorder) leave(s Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	t := find(&r.behind, s.phase)
	t.time += now.Sub(s.began)
	t.count++
	r.lanes[s.lane-1] = false
	r.timeline.add(s, now)
}

func (r *Recorder) count(n int, trained bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if trained {
		r.trained += n
		return
	}
	r.top().tokens += n
}

// Stop ends the profile and writes its folder, replacing files of an earlier profile there. Without a recorder it does
// nothing. An error names the file.
func (r *Recorder) Stop() error {
	if r == nil {
		return nil
	}
	return r.end(true)
}

// Discard ends the profile and writes nothing: a run that never began leaves no folder.
func (r *Recorder) Discard() error { return r.end(false) }

func (r *Recorder) end(keep bool) error {
	active.Store(nil)
	close(r.stop)
	r.looked.Wait()
	whole := trace.IsEnabled()
	if whole {
		trace.Stop()
	}
	pprof.StopCPUProfile()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settle()
	err := errors.Join(r.cpu.Close(), r.trace.Close(), r.timeline.close(), r.writeHeap(), r.writeReport(whole))
	if err == nil && keep {
		err = r.move()
	}
	if err = errors.Join(err, os.RemoveAll(r.tmp)); err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	return nil
}

func (r *Recorder) writeHeap() error {
	f, err := os.Create(filepath.Join(r.tmp, "heap.pprof"))
	if err != nil {
		return err
	}
	runtime.GC() // the profile is of the last collection
	w := bufio.NewWriter(f)
	return errors.Join(pprof.WriteHeapProfile(w), w.Flush(), f.Close())
}

// move brings the files from where they were gathered, perhaps on another disk, to where they were asked for.
func (r *Recorder) move() error {
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(r.tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(r.tmp, e.Name()), filepath.Join(r.dir, e.Name())
		if os.Rename(from, to) == nil {
			continue
		}
		if err := copyFile(to, from); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(in)
	return errors.Join(err, out.Close())
}

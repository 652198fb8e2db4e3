package trainers

// Everything a run writes while it goes on: metrics.jsonl, TensorBoard events, the console line, progress.

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"salsa/internal/behind"
	"salsa/internal/metrics"
	"salsa/internal/profile"
	"salsa/tensor"
)

// maxBehind is how many steps' lines may wait to be written.
const maxBehind = 64

// logs are the open logs of a run. Lines are written by a goroutine of their own, in the order of the steps; the first
// error ends that and comes back from the next call.
type logs struct {
	lines    *behind.Queue
	disk     disk
	file     *metrics.File
	events   *metrics.Events
	console  *metrics.Console
	progress *metrics.Progress
	stderr   *os.File // where progress goes
}

// openLogs opens the logs of l's run; rows after the step that l resumes from are dropped.
func openLogs(l *Loop, total int) (*logs, error) {
	from := l.step
	if from == 0 {
		from = metrics.Fresh
	}
	file, err := metrics.Open(filepath.Join(l.Out, "metrics.jsonl"), from)
	if err != nil {
		return nil, err
	}
	events, err := metrics.OpenEvents(l.Out, from)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	stderr := os.Stderr
	if l.Quiet {
		if stderr, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return nil, errors.Join(err, file.Close(), events.Close())
		}
	}
	progress := metrics.NewProgress(stderr, l.Name, l.step, total)
	rich, width := metrics.Terminal(stderr)
	console := metrics.NewConsole(progress, metrics.ConsoleOptions{Every: l.Options.LogEvery, Total: total, Rich: rich, Width: width})
	return &logs{lines: behind.New(profile.Metrics, maxBehind), disk: l.disk,
		file: file, events: events, console: console, progress: progress, stderr: stderr}, nil
}

// log has one row written everywhere, after what else the step has to write.
func (l *logs) log(step int, scalars map[string]float64, res Result) error {
	defer profile.Begin(profile.Metrics).End()
	l.progress.Tokens(res.Tokens)
	l.progress.Step(step)
	row := maps.Clone(scalars)
	return l.lines.Do(func() error {
		if res.Write != nil {
			if err := res.Write(); err != nil {
				return withRemedy(err)
			}
		}
		return withRemedy(l.disk.Log(metrics.Multi(l.file, l.events, l.console), step, row))
	})
}

// withRemedy says what to do about a full disk.
func withRemedy(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w; free some space, and the same command with --resume goes on from the last checkpoint", err)
	}
	return err
}

// sync forces what is written to the disk.
func (l *logs) sync() error { return l.file.Sync() }

// close closes all but the queue of lines, which has ended.
func (l *logs) close() error {
	l.progress.Done()
	err := errors.Join(l.file.Close(), l.events.Close())
	if l.stderr != os.Stderr {
		err = errors.Join(err, l.stderr.Close())
	}
	return err
}

// addTimings adds the measures of a step that depend on the clock.
func addTimings(scalars map[string]float64, took time.Duration, tokens int) {
	scalars["s_per_step"] = took.Seconds()
	if tokens > 0 {
		scalars["tokens_per_s"] = float64(tokens) / took.Seconds()
	}
	scalars["peak_rss_mb"] = PeakRSS()
}

// stopwatch measures the phases of a step, under verl's names.
type stopwatch struct {
	last time.Time
	laps map[string]float64
}

func newStopwatch() *stopwatch { return &stopwatch{last: time.Now(), laps: map[string]float64{}} }

// lap ends the phase called name.
func (s *stopwatch) lap(name string) {
	now := time.Now()
	s.laps["timing_s/"+name] += now.Sub(s.last).Seconds()
	s.last = now
}

// into adds the phases to a step's scalars.
func (s *stopwatch) into(scalars map[string]float64) {
	for name, seconds := range s.laps {
		scalars[name] = seconds
	}
}

// settle gives memory that nobody uses back to the system where a run turns from one occupation to another, so that what
// the one has left behind does not stand beside what the other needs.
func settle() {
	tensor.ReleaseMemory()
	debug.FreeOSMemory()
}

// PeakRSS returns the process's largest resident size so far, in MB; 0 where /proc does not tell.
func PeakRSS() float64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kb / 1024
		}
	}
	return 0
}

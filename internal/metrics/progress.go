// Progress on standard error: a bar on a terminal, plain lines elsewhere, so that a log file of a
// batch job stays readable. Long phases inside a step (a rollout) report tokens, so that the first sign
// of life comes within seconds.

package metrics

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// plainEvery is the least time between two plain progress lines.
const plainEvery = 5 * time.Second

// Progress shows how far a job is, its speed and the time it still needs. All methods are safe for
// concurrent use, and none but Done waits for the stream. Text written to it appears above the bar.
type Progress struct {
	lines lines
	mu    sync.Mutex
	out   io.Writer
	name  string
	phase string
	meter meter
	shown time.Time // of the last plain line
	now   func() time.Time
	box   *mpb.Progress // nil without a terminal
	bar   *mpb.Bar
	done  bool // Done was called
	ended bool // the bar is drawn for the last time
}

// NewProgress starts a progress display on f (standard error) for a job of total steps of which start,
// those before a resumed checkpoint, are done already and count neither for speed nor for the ETA.
func NewProgress(f *os.File, name string, start, total int) *Progress {
	p := newProgress(f, name, start, total, time.Now)
	if rich, _ := Terminal(f); rich {
		p.box = mpb.New(mpb.WithOutput(f), mpb.WithWidth(40), mpb.WithRefreshRate(200*time.Millisecond))
		// A bar that completes by itself makes mpb drop text written after its last frame, so it is made
		// without a total, which turns that off; Done ends it and waits for one more frame.
		p.bar = p.box.AddBar(0,
			mpb.PrependDecorators(decor.Name(name+" ")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + p.status() })))
		p.bar.SetTotal(int64(total), false)
		p.bar.SetCurrent(int64(start))
	}
	return p
}

func newProgress(out io.Writer, name string, start, total int, now func() time.Time) *Progress {
	t := now()
	p := &Progress{out: out, name: name, now: now, shown: t,
		meter: meter{step: start, first: start, total: total, began: t}}
	p.lines.out = above{p}
	return p
}

// Step reports that so many steps in all are done.
func (p *Progress) Step(done int) {
	p.mu.Lock()
	p.meter.setStep(done, p.now())
	p.phase = ""
	p.plain(false)
	p.mu.Unlock()
	if p.bar != nil {
		p.bar.SetCurrent(int64(done))
	}
}

// Tokens reports n more tokens sampled or trained on.
func (p *Progress) Tokens(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meter.tokens += n
	p.plain(false)
}

// Phase names what goes on inside the current step, such as "rollout 24/64"; the next Step clears it.
func (p *Progress) Phase(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase = text
	p.plain(false)
}

// Write has whole lines printed without disturbing the bar. It never fails.
func (p *Progress) Write(text []byte) (int, error) {
	p.lines.put(bytes.Clone(text), false)
	return len(text), nil
}

// above is where a Progress's lines go: above the bar while there is one. mpb takes no more text once the terminal has
// refused some, or its size: then the lines go on without a bar.
type above struct{ *Progress }

func (a above) Write(text []byte) (int, error) {
	a.mu.Lock()
	bar := a.box != nil && !a.ended
	a.mu.Unlock() // the bar's goroutine may want the lock for status before it takes the text
	if bar {
		if n, err := a.box.Write(text); err == nil {
			return n, nil
		}
	}
	return a.out.Write(text)
}

// Done ends the display: the bar is left as it stands, or a last plain line is written. It waits for what was written, but
// not forever for a stream that stands still. Later calls do nothing.
func (p *Progress) Done() {
	p.mu.Lock()
	again := p.done
	p.done = true
	if !again {
		p.plain(true)
	}
	p.mu.Unlock()
	if again || !p.lines.flush(patience) || p.bar == nil {
		return
	}
	drawn := make(chan struct{})
	go func() {
		defer close(drawn)
		p.bar.Abort(false)
		p.box.Wait() // draws once more and calls status: not under the lock
	}()
	within(patience, drawn)
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
}

// plain writes a progress line when no terminal shows a bar and the last line is old enough.
// The caller holds the lock.
func (p *Progress) plain(last bool) {
	now := p.now()
	if p.box != nil || (!last && (p.done || now.Sub(p.shown) < plainEvery)) {
		return
	}
	p.shown = now
	p.lines.put(fmt.Appendf(nil, "%s %s\n", p.name, p.meter.text(now, p.phase)), true)
}

func (p *Progress) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.meter.text(p.now(), p.phase)
}

// Rates returns the job's mean seconds per step and tokens per second so far; 0 before the first step.
func (p *Progress) Rates() (secondsPerStep, tokensPerSecond float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.meter.rates(p.now())
}

// meter turns counts and times into speed and remaining time.
type meter struct {
	step, first, total int // done, done at the start, in all
	tokens             int // since the start
	began, stepped     time.Time
}

func (m *meter) setStep(done int, now time.Time) { m.step, m.stepped = done, now }

func (m *meter) rates(now time.Time) (secondsPerStep, tokensPerSecond float64) {
	if steps := m.step - m.first; steps > 0 {
		secondsPerStep = m.stepped.Sub(m.began).Seconds() / float64(steps)
	}
	if elapsed := now.Sub(m.began).Seconds(); elapsed > 0 {
		tokensPerSecond = float64(m.tokens) / elapsed
	}
	return secondsPerStep, tokensPerSecond
}

// text is "120/1000  1.52 s/step  3.4k tok/s  ETA 22m18s  rollout 24/64", parts not yet known left out.
func (m *meter) text(now time.Time, phase string) string {
	out := fmt.Sprintf("%d/%d", m.step, m.total)
	perStep, perSecond := m.rates(now)
	if perStep > 0 {
		out += "  " + pace(perStep)
	}
	if perSecond > 0 {
		out += "  " + thousands(perSecond) + " tok/s"
	}
	if left := m.total - m.step; perStep > 0 && left > 0 {
		step := time.Duration(perStep * float64(time.Second))
		under := min(now.Sub(m.stepped), step) // the step that is under way has taken no more from the rest than itself
		out += "  ETA " + (step*time.Duration(left) - under).Round(time.Second).String()
	} else if left <= 0 {
		out += "  in " + now.Sub(m.began).Round(time.Second).String()
	}
	if phase != "" {
		out += "  " + phase
	}
	return out
}

// pace is the time of a step, in milliseconds where it is below a hundredth of a second.
func pace(seconds float64) string {
	if seconds < 0.01 {
		return fmt.Sprintf("%.3g ms/step", seconds*1e3)
	}
	return fmt.Sprintf("%.3g s/step", seconds)
}

func thousands(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.1fk", v/1e3)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}
